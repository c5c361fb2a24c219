"""Check a PDF while it is written, so that a wrong file is refused at its first bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO

from backmarket.errors import BrokenAnswer, NotAPdf, TooLarge

_MARK = b"%PDF-"
_END = b"%%EOF"
_BLANK = b"\xef\xbb\xbf \t\r\n\f\0"
"""A byte order mark and white space, which may stand before a PDF; readers of PDF allow any 1024 bytes there, but then
an error page that quotes one would pass, and a browser could take the file for something else."""
_SLACK = 1024
"""Bytes at either end that are searched for the marks; at the end, readers of PDF do the same."""
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and hash of a written file.

    Attributes:
        size: in bytes.
        sha256: hexadecimal.
    """

    size: int
    sha256: str


class PdfWriter:
    """Writes a PDF into a file, and checks, counts and hashes its bytes.

    Args:
        into: receives the bytes; after an error, its content is worthless.
        max_bytes: maximum size.
        content_type: as the host sent it, for the error.
    """

    def __init__(self, into: BinaryIO, *, max_bytes: int, content_type: str | None = None) -> None:
        self._into = into
        self._max_bytes = max_bytes
        self._content_type = content_type
        self._hash = hashlib.sha256(usedforsecurity=False)
        self._size = 0
        self._head: bytes | None = b""
        self._tail = b""

    def write(self, piece: bytes) -> None:
        """Write the next bytes.

        Raises:
            TooLarge: if there are too many.
            NotAPdf: if they do not begin like a PDF.
        """
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        if self._head is not None:
            self._check_head(piece)
        self._tail = piece[-_SLACK:] if len(piece) >= _SLACK else (self._tail + piece)[-_SLACK:]
        self._hash.update(piece)
        self._into.write(piece)

    def end(self) -> FileDigest:
        """End the file: all bytes were written.

        Raises:
            BrokenAnswer: if there were none, or the PDF's end is missing.
            NotAPdf: if there were too few for a PDF.
        """
        if not self._size:
            raise BrokenAnswer("The file is empty.")
        if self._head is not None:
            raise self._not_a_pdf()
        if _END not in self._tail:
            raise BrokenAnswer("The file is a PDF that was cut: its end is missing.")
        return FileDigest(self._size, self._hash.hexdigest())

    def _check_head(self, piece: bytes) -> None:
        head = (self._head or b"") + piece[:_SLACK]
        begin = head.lstrip(_BLANK)
        if begin.startswith(_MARK):
            self._head = None
        elif _MARK.startswith(begin) and len(head) < _SLACK:
            self._head = head
        else:
            raise self._not_a_pdf()

    def _not_a_pdf(self) -> NotAPdf:
        said = known_type(self._content_type)
        return NotAPdf(f"The file is not a PDF; it came as {said}." if said else "The file is not a PDF.")


def too_large(max_bytes: int) -> TooLarge:
    """The error for a file with more bytes than allowed."""
    return TooLarge(f"The file is larger than {max_bytes} bytes, the maximum.")


def known_type(content_type: str | None) -> str | None:
    """A content type without its parameters; None if it is invalid."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind if _CONTENT_TYPE.fullmatch(kind) else None
