"""Signed links: the same object behind another signature in every answer of the API. The signature is not content.

Back Market signs its links to S3 again in each answer (`delivery_note`, and labels as well may be such links). Only the
parameters of a known signing scheme are left out, and only from a link that carries its signature: another path,
another parameter, or `Expires` in an unsigned link is content. `schema.sql` has the same rule for stored rows
(`backmarket.without_signatures`); a test checks that both agree.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

SCHEMES: tuple[tuple[bytes, frozenset[bytes]], ...] = (
    (
        b"signature",
        frozenset(
            {
                b"awsaccesskeyid",
                b"googleaccessid",
                b"key-pair-id",
                b"policy",
                b"expires",
                b"signature",
                b"x-amz-security-token",
            }
        ),
    ),
    (
        b"x-amz-signature",
        frozenset(
            {
                b"x-amz-algorithm",
                b"x-amz-credential",
                b"x-amz-date",
                b"x-amz-expires",
                b"x-amz-signedheaders",
                b"x-amz-security-token",
                b"x-amz-signature",
            }
        ),
    ),
    (
        b"x-goog-signature",
        frozenset(
            {
                b"x-goog-algorithm",
                b"x-goog-credential",
                b"x-goog-date",
                b"x-goog-expires",
                b"x-goog-signedheaders",
                b"x-goog-signature",
            }
        ),
    ),
)
"""The parameter that carries the signature, and all parameters that a signer sets, in lower case: S3 (version 2) and
CloudFront, S3 (version 4), Google Cloud Storage."""

_QUERY = re.compile(rb'\?[^"\s<>]*')


def without_signatures(text: bytes) -> bytes:
    """The same text with the signatures of its links left out.

    Args:
        text: JSON, or a URL.
    """
    return _QUERY.sub(_unsigned, text) if b"?" in text and b"ignature=" in text else text


def unsigned(document: Any) -> Any:
    """A JSON document with the signatures of its links left out, to compare two of them."""
    return msgspec.json.decode(without_signatures(msgspec.json.encode(document)))


def expires_at(url: str | None) -> datetime | None:
    """When a signed link expires, if it can be read; None: it is not signed, or does not say."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url or "").query)}
        if "x-amz-signature" in query:
            signed = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed + timedelta(seconds=int(query["x-amz-expires"]))
        return datetime.fromtimestamp(int(query["expires"]), UTC) if "signature" in query else None
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _unsigned(query: re.Match[bytes]) -> bytes:
    parts = query[0][1:].replace(b"\\u0026", b"&").split(b"&")
    names = [part.partition(b"=")[0].lower() for part in parts]
    for signature, parameters in SCHEMES:
        if signature in names:
            kept = [part for part, name in zip(parts, names, strict=True) if name not in parameters]
            return b"?" + b"&".join(kept) if kept else b""
    return query[0]
