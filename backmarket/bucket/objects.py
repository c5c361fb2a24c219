"""Objects of the bucket: metadata and content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

SHA256 = "x-amz-meta-sha256"
"""The header that keeps an object's hash with it."""


NEVER_OLD = datetime.max.replace(tzinfo=UTC)
"""A time of storing that no clock has reached."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Metadata of an object.

    Attributes:
        key: its name.
        size: in bytes.
        etag: the server's identifier of this content; other content has another.
        modified: when it was stored, by the server's clock; `NEVER_OLD`, where the server does not say.
        sha256: hexadecimal; None in a list, or when it was not given with the object.
        content_type: None in a list.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    sha256: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """An object that is being read.

    Attributes:
        stored: its metadata.
        chunks: its bytes; can be iterated once. Raises `BucketUnavailable` when they end too early.
    """

    stored: StoredObject
    chunks: Iterator[bytes]


def described(key: str, headers: Any) -> StoredObject:
    """Metadata of an object from the headers of an answer.

    Args:
        key: its name.
        headers: of the answer.
    """
    return StoredObject(
        key,
        int(headers.get("content-length", 0)),
        etag_of(headers),
        parsedate_to_datetime(headers["last-modified"]) if "last-modified" in headers else NEVER_OLD,
        headers.get(SHA256),
        headers.get("content-type"),
    )


def etag_of(headers: Any) -> str:
    """The server's name for a content."""
    return str(headers.get("etag", "")).strip('"')
