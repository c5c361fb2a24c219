"""Invoices: copied from the caller's source into the bucket, from where the worker sends them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from backmarket.bucket.keys import PREFIXES, invoice_key, invoices_prefix, labels_prefix
from backmarket.client import Origins
from backmarket.client.pdf import PdfWriter
from backmarket.database import Transaction
from backmarket.errors import BrokenAnswer, InvalidArgument, NotAPdf
from backmarket.services import Services
from backmarket.writes.handle import WriteHandle
from backmarket.writes.request import validation
from backmarket.writes.request.models import WriteRequest
from backmarket.writes.request.stored_rows import check_order_stored
from backmarket.writes.submit import Asked, Call, find, record
from backmarket.writes.targets import invoice_lane

IN_MEMORY = 1024 * 1024
"""Bytes of an invoice that are kept in memory; a larger one goes through an unnamed temporary file."""

_CHUNK = 256 * 1024
_PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an invoice: exactly one of these.

    Args:
        content: its bytes.
        file: a path, or an open binary file, read from its current position.
        object_key: key of an object in our bucket.
        url: a URL at one of `INVOICE_ORIGINS`.
    """

    content: bytes | None = field(default=None, repr=False)
    file: Path | str | BinaryIO | None = None
    object_key: str | None = None
    url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        given = [self.content, self.file, self.object_key, self.url]
        if sum(each is not None for each in given) != 1:
            raise InvalidArgument("Give the invoice in exactly one way: as content, file, object_key or url.")

    def name(self, order_id: object) -> str:
        """The default file name: the source's own name if it ends in `.pdf`."""
        found = ""
        if isinstance(self.file, str | Path):
            found = Path(self.file).name
        elif self.object_key is not None:
            found = unquote(PurePosixPath(self.object_key).name)
        elif self.url is not None:
            found = unquote(PurePosixPath(urlsplit(self.url).path).name)
        return found if found.lower().endswith(".pdf") else f"invoice-{order_id}.pdf"

    @property
    def lasting(self) -> str:
        """What identifies a repeated call before the file is read; empty: only the file's bytes do."""
        return self.url or self.object_key or ""


def upload_order_invoice(
    services: Services, call: Call, order_id: int, source: Source, filename: str | None
) -> WriteHandle:
    """Queue the upload of an order's invoice; see `BackMarket.upload_order_invoice`."""
    request = validation.upload_order_invoice(order_id, source.name(order_id) if filename is None else filename)
    lane = invoice_lane(request.order_id)

    def check(transaction: Transaction) -> WriteRequest:
        check_order_stored(transaction, call.organization_id, request.order_id)
        return request

    def asked(content: str, key: str | None = None) -> Asked:
        return Asked(request, str(request.order_id), lane, check, key, content)

    earlier = find(services, call, asked(source.lasting)) if source.lasting else None
    if earlier is not None:
        return earlier
    with _read(services, call, source) as (file, size, sha256):
        told = asked(source.lasting or sha256)
        earlier = find(services, call, told)
        if earlier is not None:
            return earlier
        key = invoice_key(call.organization_id, request.order_id, secrets.token_hex(8))
        services.bucket.put(key, file, size=size, content_type=_PDF, sha256=sha256)
    # if `record` fails, no row refers to the object, and the sweep deletes it
    return record(services, call, lambda _, __: asked(told.content, key))


@contextmanager
def _read(services: Services, call: Call, source: Source) -> Iterator[tuple[BinaryIO, int, str]]:
    """The checked invoice as a seekable file, with its size and its hash.

    Raises:
        InvalidArgument: if it is not a PDF, or is unreadable.
        TooLarge: if it has too many bytes.
        BackMarketError: if its URL or its object could not be read.
    """
    max_bytes = services.settings.invoice_max_bytes
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
        file = cast(BinaryIO, spooled)
        if source.url is not None:
            origins = Origins.of_invoices(services.settings)
            came = services.downloads.fetch(source.url, file, origins=origins, max_bytes=max_bytes)
            yield file, came.size, came.sha256
            return
        writer = PdfWriter(file, max_bytes=max_bytes)
        try:
            for piece in _pieces(services, call, source):
                writer.write(piece)
            written = writer.end()
        except (NotAPdf, BrokenAnswer) as error:
            raise InvalidArgument(f"This cannot be sent as an invoice: {error.message}") from None
        yield file, written.size, written.sha256


def _pieces(services: Services, call: Call, source: Source) -> Iterator[bytes]:
    if source.content is not None:
        yield source.content
    elif source.object_key is not None:
        _check_own(call.organization_id, source.object_key)
        with services.bucket.get(source.object_key) as stored:
            yield from stored.chunks
    elif isinstance(source.file, str | Path):
        try:
            with Path(source.file).open("rb") as opened:
                yield from _chunks(opened)
        except OSError as error:
            raise InvalidArgument(f"The invoice's file cannot be read: {error.strerror}.") from None
        except ValueError:  # a NUL
            raise InvalidArgument("The path of the invoice's file is invalid. Give another one.") from None
    elif source.file is not None:
        yield from _chunks(source.file)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        if not isinstance(piece, bytes):
            raise InvalidArgument("The invoice's file returns text. Open it in binary mode.")
        yield piece


def _check_own(organization_id: str, key: str) -> None:
    """Refuse a bucket object that belongs to another organization."""
    own = (labels_prefix(organization_id), invoices_prefix(organization_id))
    if key.startswith(PREFIXES) and not key.startswith(own):
        raise InvalidArgument("This object of the bucket belongs to another organization.")
