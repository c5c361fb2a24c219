"""Failures of S3 as our own errors: each says what to do, and never quotes the server.

The server's texts contain keys and signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import MinioException, S3Error

from backmarket.errors import BackMarketError, BucketRefused, BucketUnavailable, ObjectNotFound

_PASSING = {
    "BadDigest", "IncompleteBody", "OperationAborted", "RequestTimeout", "SlowDown", "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}  # fmt: skip
"""Refusals below 500 that a retry may solve: bytes arrived damaged, or the server is overloaded."""

_REGION = "set BACKMARKET_S3_REGION and BACKMARKET_S3_ENDPOINT_URL to those of the bucket."
_KEYS = "set BACKMARKET_S3_ACCESS_KEY and BACKMARKET_S3_SECRET_KEY to keys that it knows."
_ADVICE = {
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "AccessDenied": "allow BACKMARKET_S3_ACCESS_KEY to list the bucket of BACKMARKET_S3_BUCKET, and to read, store and"
    " delete its objects. If it may not create the bucket, create it. Another account may own this name.",
    "AllAccessDisabled": "the account of BACKMARKET_S3_ACCESS_KEY is switched off.",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "Redirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidBucketName": "choose another name in BACKMARKET_S3_BUCKET.",
    "TooManyBuckets": "create the bucket of BACKMARKET_S3_BUCKET by hand, or have the limit raised.",
    "RequestTimeTooSkewed": "set this machine's clock.",
}
"""What an operator must do about a refusal that no retry solves."""


class StrangeAnswer(Exception):
    """An answer without a word."""


class BucketGone(BucketUnavailable):
    """The bucket was removed; the next use creates it again."""


@contextmanager
def refusals_told(bucket: str, key: str | None = None) -> Iterator[None]:
    """Raise what minio-py and urllib3 raise in the `with` block as our own errors.

    Args:
        bucket: its name.
        key: of the requested object; None: the request is not about a single one.

    Raises:
        ObjectNotFound, BucketUnavailable, BucketGone, BucketRefused: see `error_for`.
    """
    try:
        yield
    except S3Error as error:
        raise error_for(bucket, key, error.code or "", error.response.status) from None
    except (MinioException, ParseError, ValueError, StrangeAnswer):
        raise BucketUnavailable(
            "The answer does not come from an S3 server. If this persists, correct BACKMARKET_S3_ENDPOINT_URL."
        ) from None
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(error) from None


def error_for(bucket: str, key: str | None, code: str, status: int) -> BackMarketError:
    """What a refusal of the S3 server means.

    Args:
        bucket: its name.
        key: of the requested object, if the request was about one.
        code: of the refusal, such as `NoSuchKey`.
        status: of the answer.

    Returns:
        `ObjectNotFound`, `BucketGone`, `BucketUnavailable` where a retry may help, or `BucketRefused`, which names
        the setting to look at.
    """
    if code == "NoSuchKey" and key:
        return ObjectNotFound(f"The bucket {bucket} has no object {key}.")
    if code == "NoSuchBucket":
        return BucketGone(f"The bucket {bucket} was removed. The next use creates it again.")
    if code in _ADVICE:
        return BucketRefused(f"The S3 server answered {code}: {_ADVICE[code]}")
    if status >= 500 or code in _PASSING:
        return BucketUnavailable(f"The S3 server cannot take the work now: {code} (status {status}).")
    return BucketRefused(
        f"The S3 server answered {code} (status {status}). Check the settings BACKMARKET_S3_*, and what their"
        f" keys may do with the bucket {bucket}."
    )


def _unreachable(error: urllib3.exceptions.HTTPError) -> BackMarketError:
    reason = getattr(error, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(reason):
        return BucketRefused(
            "The S3 server's certificate is not trusted. Add its authority to the system's, name a file with it in"
            " SSL_CERT_FILE, or correct BACKMARKET_S3_ENDPOINT_URL."
        )
    kind = type(reason if isinstance(reason, Exception) else error).__name__
    return BucketUnavailable(f"The S3 server of BACKMARKET_S3_ENDPOINT_URL is unreachable: {kind}.")
