"""Forms with files (`multipart/form-data`, RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from urllib3 import encode_multipart_formdata

from backmarket.client.arguments import Attachment

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")


def encode_form(parts: Sequence[tuple[str, str | Attachment]]) -> tuple[bytes, str]:
    """Encode a form.

    Args:
        parts: names of fields, and values; a field with several files has several parts.

    Returns:
        The body, and its content type.

    Raises:
        ValueError: if a content type is invalid.
    """
    return encode_multipart_formdata([(name, _field(value)) for name, value in parts])


def _field(value: str | Attachment) -> str | tuple[str, bytes, str]:
    if isinstance(value, str):
        return value
    if not _TYPE.fullmatch(value.content_type):
        raise ValueError("has a content type that is not like application/pdf")
    filename = value.filename.encode("utf-8", "replace").decode()  # of lone surrogates, which UTF-8 cannot hold
    return filename, value.content, value.content_type
