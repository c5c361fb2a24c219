"""The files at labels' addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_PIECE: Final = 1024 * 1024
_BEGIN: Final = b"%PDF-1.4\n%"
_END: Final = b"\n%%EOF\n"
_PDF: Final = (
    b"%%PDF-1.4\n%% label of shipment %d\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%b\ntrailer<</Root 1 0 R>>\n%%%%EOF\n"
)


def label_pdf(shipment_id: int, least_bytes: int) -> bytes:
    """The label of a shipment: a small PDF, padded with comments."""
    plain = _PDF % (shipment_id, b"")
    filling = b"%" + b"x" * max(0, least_bytes - len(plain) - 1)
    return _PDF % (shipment_id, filling)


def large_pdf(size: int) -> Iterator[bytes]:
    """A PDF of the given size (20 bytes or more), in chunks."""
    yield _BEGIN
    left = size - len(_BEGIN) - len(_END)
    while left > 0:
        yield b"x" * min(left, _PIECE)
        left -= _PIECE
    yield _END
