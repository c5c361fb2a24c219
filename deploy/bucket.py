"""Make the bucket, and a user who can use it and nothing else: `python deploy/bucket.py`, once, harmless to repeat.

It works with the root keys of MinIO (or its continuation, Silo), which no worker gets. Where the bucket and its user
are made by other means, such as Terraform, this is not needed.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException, S3Error
from minio.minioadmin import MinioAdmin

NEEDED = (
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "BACKMARKET_S3_ENDPOINT_URL",
    "BACKMARKET_S3_ACCESS_KEY",
    "BACKMARKET_S3_SECRET_KEY",
)

MIN_ACCESS_KEY_CHARS, MIN_SECRET_KEY_CHARS = 3, 8
"""MinIO's rules for a user."""

_ROOT = "Set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD to its root keys"
_REGION = "Set BACKMARKET_S3_REGION to its region"
_SHORT = f"BACKMARKET_S3_ACCESS_KEY needs {MIN_ACCESS_KEY_CHARS} characters or more"
_WEAK = f"BACKMARKET_S3_SECRET_KEY needs {MIN_SECRET_KEY_CHARS} characters or more"
_SAME = "BACKMARKET_S3_ACCESS_KEY must not be MINIO_ROOT_USER: the workers get a user of their own"

ADVICE = {
    "AccessDenied": _ROOT,
    "InvalidAccessKeyId": _ROOT,
    "SignatureDoesNotMatch": _ROOT,
    "AuthorizationHeaderMalformed": _REGION,
    "XMinioAdminInvalidAccessKey": _SHORT,
    "XMinioAdminInvalidSecretKey": _WEAK,
    "XMinioInvalidIAMCredentials": _SAME,
    "InvalidBucketName": "Choose another name in BACKMARKET_S3_BUCKET",
    "RequestTimeTooSkewed": "Set this machine's clock",
}
"""What to do about MinIO's refusals, by their codes."""


def main(environment: Mapping[str, str]) -> str | None:
    """Make both.

    Args:
        environment: who is root, where MinIO is, and what the workers are told of bucket and user.

    Returns:
        What is wrong; None: nothing.
    """
    if missing := [name for name in NEEDED if not environment.get(name)]:
        return f"Set {', '.join(missing)}."
    if wrong := _wrong_user(environment):
        return f"{wrong}."
    bucket = environment.get("BACKMARKET_S3_BUCKET") or "backmarket"
    try:
        _make_bucket(environment, bucket)
        _make_user(environment, bucket)
    except (MinioException, MinioAdminException, urllib3.exceptions.HTTPError, ValueError) as error:
        return f"MinIO at {environment['BACKMARKET_S3_ENDPOINT_URL']} did not do it: {_reason(error)}."
    print(f"The bucket {bucket} is there, and its user may read, write and list in it.")
    return None


def policy(bucket: str) -> dict[str, Any]:
    """What the user may do; docs/operations/labels.md says what for."""
    of_bucket = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketPolicy"]
    of_bucket += ["s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"]
    of_objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    statements = [(of_bucket, f"arn:aws:s3:::{bucket}"), (of_objects, f"arn:aws:s3:::{bucket}/*")]
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": [on]} for actions, on in statements],
    }


def _wrong_user(environment: Mapping[str, str]) -> str | None:
    user, secret = environment["BACKMARKET_S3_ACCESS_KEY"], environment["BACKMARKET_S3_SECRET_KEY"]
    if user == environment["MINIO_ROOT_USER"]:
        return _SAME
    if len(user) < MIN_ACCESS_KEY_CHARS:
        return _SHORT
    return _WEAK if len(secret) < MIN_SECRET_KEY_CHARS else None


def _make_bucket(environment: Mapping[str, str], bucket: str) -> None:
    address, secure, region, http = _server(environment)
    keys = (environment["MINIO_ROOT_USER"], environment["MINIO_ROOT_PASSWORD"])
    client = Minio(address, *keys, secure=secure, region=region, http_client=http)
    try:
        any(client.list_objects(bucket, "%/"))  # unlike the answer to HEAD, its refusal says why
    except S3Error as error:
        if error.code != "NoSuchBucket":
            raise
        client.make_bucket(bucket)


def _make_user(environment: Mapping[str, str], bucket: str) -> None:
    address, secure, region, http = _server(environment)
    root = StaticProvider(environment["MINIO_ROOT_USER"], environment["MINIO_ROOT_PASSWORD"])
    admin = MinioAdmin(endpoint=address, credentials=root, region=region, secure=secure, http_client=http)
    user = environment["BACKMARKET_S3_ACCESS_KEY"]
    name = f"backmarket-{bucket}"  # never that of another's policy: a bucket may be called like MinIO's own `readonly`
    admin.policy_add(name, policy=policy(bucket))
    admin.user_add(user, environment["BACKMARKET_S3_SECRET_KEY"])
    admin.policy_set(name, user=user)  # sets rather than attaches: attaching twice is an error


def _server(environment: Mapping[str, str]) -> tuple[str, bool, str, urllib3.PoolManager]:
    """Address, whether it speaks TLS, region, and connections that trust the system's authorities."""
    url = urlsplit(environment["BACKMARKET_S3_ENDPOINT_URL"])
    secure = url.scheme == "https"
    trust: dict[str, Any] = {"ssl_context": ssl.create_default_context()} if secure else {}
    http = urllib3.PoolManager(timeout=30.0, retries=urllib3.Retry(2, backoff_factor=0.2), **trust)
    return url.netloc, secure, environment.get("BACKMARKET_S3_REGION") or "us-east-1", http


def _reason(error: Exception) -> str:
    """The error's code and what to do; its own text may quote keys."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            "its certificate is not trusted. Add its authority to the system's, or name a file with it in SSL_CERT_FILE"
        )
    code = _code(error)
    return f"{code}. {ADVICE[code]}" if code in ADVICE else code


def _code(error: Exception) -> str:
    if isinstance(error, MinioAdminException):
        try:
            return str(json.loads(error._body)["Code"])
        except (ValueError, KeyError, TypeError):
            return f"status {error._code}"
    return str(getattr(error, "code", "") or type(error).__name__)


if __name__ == "__main__":
    sys.exit(main(os.environ))
