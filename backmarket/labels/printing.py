"""Print many labels at once: the pages of stored labels in one PDF, in the given order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from psycopg.rows import class_row

from backmarket.errors import BackMarketError, InvalidArgument, SettingsError
from backmarket.labels.queries import COLUMNS, Label, Shipments, check_resource, need_stored
from backmarket.labels.requests import copy_stored
from backmarket.services import Services

if TYPE_CHECKING:
    from pypdf import PdfWriter

MAX_LABELS = 500
"""Maximum number of labels in one PDF."""

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size of the labels in one PDF together, in bytes: they are in memory while it is made."""

_AT_ONCE = 8
"""Labels that are read from the bucket at once."""


class LabelKey(NamedTuple):
    """Names a label.

    Attributes:
        organization_id: the organization's id.
        resource: `deliveries` or `returns`.
        shipment_id: of the delivery or return.
    """

    organization_id: str
    resource: Shipments
    shipment_id: int


@dataclass(frozen=True, slots=True)
class MissingLabel:
    """A label that is not in the PDF.

    Attributes:
        key: names it.
        why: the reason, as a sentence.
    """

    key: LabelKey
    why: str


@dataclass(frozen=True, slots=True)
class PrintedLabels:
    """What was written.

    Attributes:
        printed: the labels in the PDF, in the order of their pages.
        pages: number of pages.
        missing: the labels that are not in it.
    """

    printed: list[LabelKey]
    pages: int
    missing: list[MissingLabel]


def print_labels(services: Services, keys: Sequence[LabelKey], to: BinaryIO) -> PrintedLabels:
    """Write stored labels as one PDF; see `BackMarket.print_labels`."""
    if len(keys) > MAX_LABELS:
        raise InvalidArgument(f"One PDF takes at most {MAX_LABELS} labels, not {len(keys)}. Print fewer at once.")
    writer = _writer()
    labels = _labels(services, keys)
    if sum(label.size or 0 for label in labels.values()) > MAX_BYTES:
        raise InvalidArgument(f"These labels have more than {MAX_BYTES // 2**20} MB together. Print fewer at once.")
    printed, missing = [], []
    for key, content in _contents(services, keys, labels):
        fault = content if isinstance(content, str) else _append(writer, content)
        if fault is None:
            printed.append(key)
        else:
            missing.append(MissingLabel(key, fault))
    pages = len(writer.pages)
    if pages:
        writer.write(to)
    return PrintedLabels(printed, pages, missing)


def _writer() -> PdfWriter:
    try:
        from pypdf import PdfWriter
    except ImportError:
        raise SettingsError(
            "Printing labels needs pypdf, which is not installed. Run `pip install 'backmarket[console]'`."
        ) from None
    return PdfWriter()


def _append(writer: PdfWriter, content: BytesIO) -> str | None:
    """Add a label's pages; returns why it could not be added."""
    from pypdf import PdfReader

    try:
        pages = [*PdfReader(content).pages]
        for page in pages:
            writer.add_page(page)
    except Exception:  # noqa: BLE001 - a damaged file fails in many ways, and must not keep the other labels back
        return "Its file cannot be read as a PDF. Open the label to see it."
    return None if pages else "Its file has no page."


def _labels(services: Services, keys: Sequence[LabelKey]) -> dict[LabelKey, Label]:
    values = {
        "organizations": [key.organization_id for key in keys],
        "resources": [check_resource(key.resource) for key in keys],
        "shipments": [key.shipment_id for key in keys],
    }
    with services.database.transaction() as transaction, transaction.cursor(row_factory=class_row(Label)) as cursor:
        rows = cursor.execute(_SELECT, values).fetchall()
    found = {(row.organization_id, row.resource, row.shipment_id): row for row in rows}
    return {key: found[key] for key in keys if key in found}


def _contents(
    services: Services, keys: Sequence[LabelKey], labels: dict[LabelKey, Label]
) -> Iterator[tuple[LabelKey, BytesIO | str]]:
    """The file of each label, or why it is missing, in the order of the keys."""

    def read(key: LabelKey) -> BytesIO | str:
        label = labels.get(key)
        if label is None:
            return "No label of it is known. Sync the deliveries, then print again."
        content = BytesIO()
        try:
            need_stored(label)
            copy_stored(services, label, content)
        except BackMarketError as error:
            return error.message
        return content

    with ThreadPoolExecutor(_AT_ONCE, "backmarket-print") as threads:
        yield from zip(keys, threads.map(read, keys), strict=True)


_SELECT = f"""
SELECT {COLUMNS} FROM backmarket.labels
WHERE (organization_id, resource, shipment_id) IN (
    SELECT * FROM unnest(%(organizations)s::text[], %(resources)s::text[], %(shipments)s::bigint[]))
""".encode()
