"""Taking over what the Convex component has stored, and proving that nothing of it is missing.

Rows come from Back Market, by the first sync of each organization: what the component stored of them may be old. Taken
over is what Back Market does not tell: connections, which syncs run, when invoices were uploaded, files of labels.
Everything may be done again: an organization whose syncs have not ended is left to the next run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from backmarket.client import DEFAULT_LOCALES, LOCALES
from backmarket.connections.account import Account
from backmarket.errors import BackMarketError, ConnectionDisabled, InvalidArgument, NotFound
from backmarket.labels.download import Wanted
from backmarket.labels.engine import run_slice
from backmarket.organizations.convex_export import ConvexExport, opened_export
from backmarket.organizations.import_file import AccountRow, ImportReport, connect_rows, fault_of
from backmarket.resources import RESOURCES
from backmarket.services import Services
from backmarket.sync.fetch_one import FetchScope, fetch_delivery, fetch_listing, fetch_order, fetch_return
from backmarket.sync.schedule import update_schedule

BATCH_ROWS = 1000
"""Documents that are looked up in one statement."""

MAX_NUMBER = 2**53
"""Limit of the whole numbers that Convex stores exactly."""

MAX_MILLISECONDS = 4_102_444_800_000
"""Limit of times, in milliseconds since 1970: the year 2100."""

SCHEDULED = {"orders": "syncOrdersCronEnabled", "listings": "syncListingsCronEnabled"}
"""The component's switches; it syncs nothing else by itself."""

KEYS = {"orders": "orderId", "listings": "listingId", "deliveries": "shipmentId", "returns": "shipmentId"}

_FETCH: dict[str, Callable[..., object]] = {
    "orders": fetch_order,
    "listings": fetch_listing,
    "deliveries": partial(fetch_delivery, labels="wanted"),
    "returns": partial(fetch_return, labels="wanted"),
}


class _Row(NamedTuple):
    organization_id: str
    key: str
    document: dict[str, Any]


@dataclass(slots=True)
class Compared:
    """The rows of one resource in the export.

    Attributes:
        exported: number of rows.
        stored: rows that are stored here.
        gone: rows that Back Market does not know any more, asked for by their ids.
        waiting: rows of organizations that are not connected, or whose first sync has not ended.
        missing: the other rows: Back Market did not answer for them, or they have no id.
    """

    exported: int = 0
    stored: int = 0
    gone: int = 0
    waiting: int = 0
    missing: int = 0


@dataclass(slots=True)
class ConvexReport:
    """The outcome of an import.

    Attributes:
        connections: of the component's connections; rows are the lines of its table.
        resources: of each resource, what is stored here of the export.
        invoices: number of orders whose time of upload was taken over.
        labels: number of files that were taken over.
    """

    connections: ImportReport
    resources: dict[str, Compared] = field(default_factory=dict)
    invoices: int = 0
    labels: int = 0

    @property
    def complete(self) -> bool:
        """Whether every connection was taken over and every row is stored, or gone."""
        rows = self.resources.values()
        return bool(rows) and not self.connections.refused and not any(each.waiting or each.missing for each in rows)


def import_convex(services: Services, path: Path, *, region: str, dry_run: bool = False) -> ConvexReport:
    """Take over an export; see `BackMarket.import_convex`."""
    if region not in LOCALES:
        raise InvalidArgument(f"There is no such region; the regions are {', '.join(LOCALES)}.")
    with opened_export(path) as export:
        report = ConvexReport(connect_rows(services, _accounts(services, export, region), dry_run=dry_run))
        if dry_run:
            return report
        if report.connections.connected:
            _take_schedule(services, export)
        labels = _LabelFiles(export)
        for resource in KEYS:
            report.resources[resource] = compared = Compared()
            rows = _rows(export, resource, compared)
            while batch := list(islice(rows, BATCH_ROWS)):
                stored = _stored(services, resource, batch, compared)
                if resource == "orders":
                    report.invoices += _take_invoices(services, stored)
                labels.add(resource, stored)
        report.labels = labels.take(services)
    return report


def _accounts(services: Services, export: ConvexExport, region: str) -> Iterator[AccountRow]:
    seen: set[str] = set()
    for number, document in export.documents("connections"):
        given = {name: document.get(name) or "" for name in ("organizationId", "apiKey", "locale", "environment")}
        texts = {name: value if isinstance(value, str) else "" for name, value in given.items()}
        locale = texts["locale"].lower()
        account = Account(
            texts["organizationId"],
            texts["apiKey"],
            texts["environment"] or "production",
            region,
            locale if locale in LOCALES[region] else DEFAULT_LOCALES[region],
            document.get("baseUrl") or None,
        )
        off = document.get("enabled") is not True
        disabled = ConnectionDisabled("It is disabled there: enable it there, or connect it by hand.") if off else None
        yield AccountRow(number, account, disabled or fault_of(services, account, seen))
        seen.add(account.organization_id)


def _take_schedule(services: Services, export: ConvexExport) -> None:
    for _, document in export.documents("settings"):
        for resource, switch in SCHEDULED.items():
            update_schedule(services.database, resource, enabled=document.get(switch) is not False)


def _rows(export: ConvexExport, resource: str, compared: Compared) -> Iterator[_Row]:
    for _, document in export.documents(resource):
        compared.exported += 1
        organization_id, key = str(document.get("organizationId")), _key(resource, document.get(KEYS[resource]))
        if key is None or not organization_id.isprintable():
            compared.missing += 1
        else:
            yield _Row(organization_id, key, document)


def _key(resource: str, value: object) -> str | None:
    """An id as PostgreSQL reads it; Convex writes whole numbers with a decimal point."""
    try:
        if resource == "listings":
            return str(UUID(str(value)))
        number = float(str(value))
    except ValueError:
        return None
    return str(int(number)) if 0 < number < MAX_NUMBER else None


def _stored(services: Services, resource: str, batch: Sequence[_Row], compared: Compared) -> list[_Row]:
    """The rows that are stored; those that are not are asked for."""
    key = RESOURCES[resource].key
    statement = _LOOK_UP.format(key=key.name, type=key.kind, table=RESOURCES[resource].table)
    values = {
        "organizations": [row.organization_id for row in batch],
        "keys": [row.key for row in batch],
        "resource": resource,
    }
    with services.database.transaction() as transaction:
        states = [state for (state,) in transaction.execute(statement.encode(), values)]
    stored = []
    for row, found in zip(batch, states, strict=True):
        state = _asked_for(services, resource, row) if found == "missing" else found
        setattr(compared, state, getattr(compared, state) + 1)
        if state == "stored":
            stored.append(row)
    return stored


def _asked_for(services: Services, resource: str, row: _Row) -> str:
    try:
        _FETCH[resource](services, FetchScope(row.organization_id), row.key if resource == "listings" else int(row.key))
    except NotFound:
        return "gone"
    except BackMarketError:
        return "missing"
    return "stored"


def _take_invoices(services: Services, stored: Sequence[_Row]) -> int:
    taken = 0
    grouped = defaultdict(list)
    for row in stored:
        at = row.document.get("invoiceUploadedAt")
        if isinstance(at, int | float) and 0 < at < MAX_MILLISECONDS:
            grouped[row.organization_id].append(row)
    for organization_id, rows in grouped.items():
        values = {
            "organization": organization_id,
            "orders": [int(row.key) for row in rows],
            "times": [row.document["invoiceUploadedAt"] / 1000 for row in rows],
        }
        with services.database.transaction() as transaction:
            transaction.execute(_LOCK_ORDERS, values)
            taken += transaction.execute(_SET_INVOICES, values).rowcount
    return taken


class _LabelFiles:
    """The files of labels in an export."""

    def __init__(self, export: ConvexExport) -> None:
        self._export = export
        self._ids: dict[str, dict[tuple[str, int], str]] = defaultdict(dict)
        self._taken: set[tuple[str, tuple[str, int]]] = set()

    def add(self, resource: str, stored: Sequence[_Row]) -> None:
        for row in stored:
            if storage_id := row.document.get("labelStorageId"):
                self._ids[row.organization_id][resource, int(row.key)] = str(storage_id)

    def take(self, services: Services) -> int:
        """Do the due label work of these organizations, as a worker does, but with the files that are here.

        Returns:
            Number of files that were put into the bucket.
        """
        for organization_id in self._ids:
            while run_slice(services, organization_id, partial(self._pdf, organization_id)).end == "handed_on":
                pass
        return len(self._taken)

    def _pdf(self, organization_id: str, label: Wanted) -> bytes | None:
        """The component also stored error pages as labels: such a label is fetched."""
        storage_id = self._ids[organization_id].get(label.key)
        content = self._export.file(storage_id) if storage_id else None
        if content is None or not content.startswith(b"%PDF-"):
            return None
        self._taken.add((organization_id, label.key))
        return content


_LOOK_UP = """
SELECT CASE WHEN s.last_success_at IS NULL THEN 'waiting' WHEN r.{key} IS NULL THEN 'missing' ELSE 'stored' END
FROM unnest(%(organizations)s::text[], %(keys)s::{type}[]) WITH ORDINALITY AS given (organization_id, key, number)
LEFT JOIN backmarket.sync_state s
    ON s.organization_id = given.organization_id AND s.resource = %(resource)s AND s.market = ''
LEFT JOIN backmarket.{table} r ON r.organization_id = given.organization_id AND r.{key} = given.key
ORDER BY number
"""

# Waits for a sync that writes the orders.
_LOCK_ORDERS = """
SELECT FROM backmarket.sync_state WHERE organization_id = %(organization)s AND resource = 'orders' FOR UPDATE
"""

_SET_INVOICES = """
WITH uploaded AS (
    UPDATE backmarket.orders AS o SET invoice_uploaded_at = to_timestamp(given.at), last_synced_at = now()
    FROM unnest(%(orders)s::bigint[], %(times)s::float8[]) AS given (order_id, at)
    WHERE o.organization_id = %(organization)s AND o.order_id = given.order_id AND o.invoice_uploaded_at IS NULL
    RETURNING o.order_id
)
INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)
SELECT %(organization)s, 'orders', order_id::text, 'updated', '{invoice_uploaded_at}' FROM uploaded
"""
