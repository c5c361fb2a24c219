"""Store rows set-wise: new, changed and unchanged ones are told apart by content; their events commit with them.

An unchanged row is not even sent: one query for the stored hashes tells which rows differ. Those go by COPY
into a temporary table, and one statement inserts, updates and writes the events (docs/decisions/0005).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import is_
from typing import Any, NamedTuple

from psycopg import sql

from backmarket.database import Transaction, savepoint
from backmarket.errors import InvalidArgument
from backmarket.resources import Column, Lines, Resource, Row
from backmarket.resources.signed_links import without_signatures
from backmarket.sync.erased_rows import keep_erased, mark_erased
from backmarket.sync.label_register import InitialLabelState, note_labels
from backmarket.sync.upsert_statements import CONTENT, incoming_name, incoming_table, statements_of


@dataclass(slots=True)
class UpsertCounts:
    """What storing did: rows by outcome; a rejected one has a value that PostgreSQL cannot store."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __iadd__(self, other: UpsertCounts) -> UpsertCounts:
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.rejected += other.rejected
        return self


@dataclass(slots=True)
class Compared:
    """Fetched rows, compared with the stored ones.

    Attributes:
        differing: rows to be written.
        known: keys of the stored rows.
        erased: keys of the rows stored without their personal data.
        unchanged: number of rows that need not be written.
    """

    differing: list[Row]
    known: Container[Any]
    erased: set[Any]
    unchanged: int


def compare(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    rows: Iterable[Row],
    *,
    asked_at: datetime | None = None,
    links: bool = False,
) -> Compared:
    """Tell which rows differ from the stored ones; one query.

    A row that comes twice counts once; the later version wins. A row that was stored after `asked_at` may come from
    a newer answer: then the version with the later modification date wins. A row that was stored before it is replaced
    whatever its date. A row that is marked as gone differs.

    Args:
        transaction: an open one; if the rows are written afterwards, it already holds the lease, so that no
            other worker changes them.
        rows: as fetched.
        asked_at: when the oldest of these answers was requested, by PostgreSQL's clock; None: not known.
        links: a row with signed links differs, too: the caller wants fresh links.
    """
    newest = _newest(rows)
    known = _known(transaction, resource, organization_id, newest)
    differing = [
        row for row in newest.values() if _differs(resource, row, known.get(row.key), asked_at=asked_at, links=links)
    ]
    erased = {key for key, stored in known.items() if stored.erased}
    return Compared(differing, known, erased, len(newest) - len(differing))


def store(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    rows: Iterable[Row],
    *,
    labels: InitialLabelState = "wanted",
    links: bool = False,
) -> UpsertCounts:
    """Write the rows that differ from the stored ones; see `compare` and `write`."""
    compared = compare(transaction, resource, organization_id, rows, links=links)
    return write(transaction, resource, organization_id, compared, labels=labels)


def stage(transaction: Transaction, resource: Resource, compared: Compared) -> list[Row]:
    """Send rows that differ to PostgreSQL, before `write` is called in the same transaction. Needs no lease.

    Returns:
        The rows that were sent; none, if PostgreSQL cannot store one of them.
    """
    try:
        with savepoint(transaction):
            _copy_rows(transaction, resource, compared.differing)
    except InvalidArgument:
        return []
    return compared.differing


def write(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    compared: Compared,
    *,
    labels: InitialLabelState = "wanted",
    initial: bool = False,
    staged: Sequence[Row] = (),
) -> UpsertCounts:
    """Write the rows that differ. One that PostgreSQL cannot store is rejected; the others are stored.

    Rows whose personal data was erased are written without it.

    Args:
        transaction: the rows and their events commit with it.
        compared: in the same transaction.
        labels: initial state of the shipping labels that they name.
        initial: their events are of the organization's first walk of this resource.
        staged: what `stage` has sent; other rows than these are sent now.
    """
    written = UpsertCounts(unchanged=compared.unchanged)
    if compared.differing:
        batch = _Batch(transaction, resource, organization_id, compared.known, labels, initial)
        rows, erased = keep_erased(transaction, resource, organization_id, compared.differing, compared.erased)
        written += _write_fitting(batch, rows, staged)
        mark_erased(transaction, resource, organization_id, erased)
    return written


@dataclass(frozen=True, slots=True)
class _Batch:
    """What all parts of a batch share."""

    transaction: Transaction
    resource: Resource
    organization_id: str
    known: Container[Any]
    labels: InitialLabelState
    initial: bool


def _write_fitting(batch: _Batch, rows: list[Row], staged: Sequence[Row] = ()) -> UpsertCounts:
    """Write what PostgreSQL can store; what it refuses is halved until each row that it cannot store stands alone."""
    try:
        with savepoint(batch.transaction):
            return _write(batch, rows, staged)
    except InvalidArgument:
        if len(rows) == 1:
            return UpsertCounts(rejected=1)
    middle = len(rows) // 2
    written = _write_fitting(batch, rows[:middle])
    written += _write_fitting(batch, rows[middle:])
    return written


def _write(batch: _Batch, rows: list[Row], staged: Sequence[Row]) -> UpsertCounts:
    transaction, resource, organization_id = batch.transaction, batch.resource, batch.organization_id
    if len(rows) != len(staged) or not all(map(is_, rows, staged)):
        _copy_rows(transaction, resource, rows)
    known = [row.key for row in rows if row.key in batch.known]
    values = _where(resource, organization_id) | {"known": known, "initial": batch.initial}
    created, updated = transaction.execute(statements_of(resource).write, values).fetchone() or (0, 0)
    if resource.lines is not None:
        _write_lines(transaction, resource, organization_id, known)
    if resource.label:
        incoming = sql.Identifier(incoming_name(resource))
        note_labels(transaction, resource, organization_id, incoming, batch.labels)
    return UpsertCounts(created, updated, len(rows) - created - updated)


class _Stored(NamedTuple):
    """What is known of a stored row; a row that is gone has neither content nor modification."""

    content: int | None
    modified: datetime | None
    state: int | None
    stored_at: datetime
    erased: bool
    link: str | None
    """Link of its label, if that is wanted."""


def _known(
    transaction: Transaction, resource: Resource, organization_id: str, rows: dict[Any, Row]
) -> dict[Any, _Stored]:
    """The rows that are stored."""
    if not rows:
        return {}
    values = _where(resource, organization_id) | {"keys": list(rows)}
    found = transaction.execute(statements_of(resource).known, values).fetchall()
    return {key: _Stored(*stored) for key, *stored in found}


def _where(resource: Resource, organization_id: str) -> dict[str, Any]:
    return {"organization": organization_id, "resource": resource.name, "market": resource.market}


def _differs(resource: Resource, row: Row, stored: _Stored | None, *, asked_at: datetime | None, links: bool) -> bool:
    """Whether a row must be written: it differs from the stored one, and does not come from an older answer.

    The link of a label that is still to be fetched is kept fresh; other links only if the caller wants it.
    """
    if stored is None or stored.content is None:
        return True
    at = resource.positions.get("state")
    state = None if at is None else row.values[at]
    if (stored.content, stored.modified, stored.state) == (row.content, row.modified, state):
        if links:
            return without_signatures(row.raw.encode()) != row.raw.encode()
        return stored.link is not None and stored.link != row.values[resource.positions[resource.label]]
    if asked_at is not None and stored.stored_at < asked_at:
        return True
    return stored.modified is None or row.modified is None or row.modified >= stored.modified


def _newest(rows: Iterable[Row]) -> dict[Any, Row]:
    newest: dict[Any, Row] = {}
    for row in rows:
        other = newest.get(row.key)
        if other is None or row.modified is None or other.modified is None or row.modified >= other.modified:
            newest[row.key] = row
    return newest


def _line_rows(rows: Sequence[Row]) -> Iterator[tuple[Any, ...]]:
    """Every line with its owner's key; a repeated one only once: an upsert must not meet a row twice."""
    sent: set[Any] = set()
    for row in rows:
        for values, raw in row.lines:
            if values[0] not in sent:
                sent.add(values[0])
                yield (*values, raw, row.key)


def _write_lines(transaction: Transaction, resource: Resource, organization_id: str, known: list[Any]) -> None:
    statements = statements_of(resource)
    transaction.execute(statements.write_lines, {"organization": organization_id})
    if known:
        transaction.execute(statements.remove_lines, {"organization": organization_id, "keys": known})


def _copy_rows(transaction: Transaction, resource: Resource, rows: Sequence[Row]) -> None:
    """Fill the temporary tables with rows and their lines, and with nothing else."""
    _copy(transaction, resource, CONTENT, ((*row.values, row.raw, row.content) for row in rows))
    if resource.lines is not None:
        _copy(transaction, resource.lines, resource.key, _line_rows(rows))


def _copy(transaction: Transaction, table: Lines, extra: Column, rows: Iterable[tuple[Any, ...]]) -> None:
    create, copy = incoming_table(table, extra)
    transaction.execute(create)
    with transaction.cursor() as cursor, cursor.copy(copy) as stream:
        write = stream.write_row
        for row in rows:
            write(row)
