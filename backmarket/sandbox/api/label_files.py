"""The files at labels' addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_PIECE: Final = 1024 * 1024
_BEGIN: Final = b"%PDF-1.4\n%"
_END: Final = b"\n%%EOF\n"
_OBJECTS: Final = (
    b"<</Type/Catalog/Pages 2 0 R>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 288 432]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R>>",
    b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
)
"""A document of one page, without what the page says."""


def label_pdf(shipment_id: int, least_bytes: int) -> bytes:
    """The label of a shipment: a small PDF of one page, padded with a comment."""
    plain = _document(shipment_id, b"")
    return _document(shipment_id, b"%" + b"x" * max(0, least_bytes - len(plain) - 2) + b"\n")


def _document(shipment_id: int, padding: bytes) -> bytes:
    text = b"BT /F 24 Tf 30 380 Td (Shipment %d) Tj ET" % shipment_id
    content = b"<</Length %d>>stream\n%b\nendstream" % (len(text), text)
    written, places = b"%PDF-1.4\n" + padding, []
    for number, body in enumerate((*_OBJECTS, content), start=1):
        places.append(b"%010d 00000 n \n" % len(written))
        written += b"%d 0 obj%b\nendobj\n" % (number, body)
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(places)
    return b"%b%btrailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (written, table, len(written))


def large_pdf(size: int) -> Iterator[bytes]:
    """A PDF of the given size (20 bytes or more), in chunks."""
    yield _BEGIN
    left = size - len(_BEGIN) - len(_END)
    while left > 0:
        yield b"x" * min(left, _PIECE)
        left -= _PIECE
    yield _END
