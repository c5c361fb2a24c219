"""Forms with files (`multipart/form-data`, RFC 7578)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

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
    boundary = secrets.token_hex(16)
    pieces = [b"--%s\r\n%s\r\n" % (boundary.encode(), _part(name, value)) for name, value in parts]
    return b"".join([*pieces, b"--%s--\r\n" % boundary.encode()]), f"multipart/form-data; boundary={boundary}"


def _part(name: str, value: str | Attachment) -> bytes:
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if isinstance(value, str):
        return f"{head}\r\n\r\n{value}".encode()
    if not _TYPE.fullmatch(value.content_type):
        raise ValueError("has a content type that is not like application/pdf")
    head = f'{head}; filename="{_quoted(value.filename)}"\r\nContent-Type: {value.content_type}\r\n\r\n'
    return head.encode("utf-8", "replace") + value.content


def _quoted(text: str) -> str:
    """Quote a name, with the escapes of browsers, so that no character of it ends the quotes."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
