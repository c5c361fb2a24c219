"""Store rows set-wise: new, changed and unchanged ones are told apart by content; their events commit with them.

An unchanged row is not even sent: one query for the stored hashes tells which rows differ. Those go by COPY
into a temporary table, and one statement inserts, updates and writes the events (docs/decisions/0005).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from psycopg import sql

from backmarket.database import SCHEMA_VERSION, Transaction, savepoint
from backmarket.errors import InvalidArgument
from backmarket.resources import Column, Lines, Resource, Row
from backmarket.resources.signed_links import without_signatures
from backmarket.sync.erased_rows import keep_erased, mark_erased
from backmarket.sync.label_register import InitialLabelState, note_labels


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
        resource: whose rows they are.
        organization_id: whose rows they would become.
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


def write(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    compared: Compared,
    *,
    labels: InitialLabelState = "wanted",
) -> UpsertCounts:
    """Write the rows that differ. One that PostgreSQL cannot store is rejected; the others are stored.

    Rows whose personal data was erased are written without it.

    Args:
        transaction: the rows and their events commit with it.
        resource: whose rows they are.
        organization_id: whose rows they become.
        compared: in the same transaction.
        labels: initial state of the shipping labels that they name.
    """
    written = UpsertCounts(unchanged=compared.unchanged)
    if compared.differing:
        batch = _Batch(transaction, resource, organization_id, compared.known, labels)
        rows, erased = keep_erased(transaction, resource, organization_id, compared.differing, compared.erased)
        written += _write_fitting(batch, rows)
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


def _write_fitting(batch: _Batch, rows: list[Row]) -> UpsertCounts:
    """Write what PostgreSQL can store; what it refuses is halved until each row that it cannot store stands alone."""
    try:
        with savepoint(batch.transaction):
            return _write(batch, rows)
    except InvalidArgument:
        if len(rows) == 1:
            return UpsertCounts(rejected=1)
    middle = len(rows) // 2
    written = _write_fitting(batch, rows[:middle])
    written += _write_fitting(batch, rows[middle:])
    return written


def _write(batch: _Batch, rows: list[Row]) -> UpsertCounts:
    transaction, resource, organization_id = batch.transaction, batch.resource, batch.organization_id
    _copy(transaction, resource, _CONTENT, ((*row.values, row.raw, row.content) for row in rows))
    if resource.lines is not None:
        _copy(transaction, resource.lines, resource.key, _line_rows(rows))
    known = [row.key for row in rows if row.key in batch.known]
    created, updated = transaction.execute(
        _statements(resource).write, {"organization": organization_id, "resource": resource.name, "known": known}
    ).fetchone() or (0, 0)
    if resource.lines is not None:
        _write_lines(transaction, resource, organization_id, known)
    if resource.label:
        incoming = sql.Identifier(_incoming_name(resource))
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
    values = {"organization": organization_id, "resource": resource.name, "keys": list(rows)}
    found = transaction.execute(_statements(resource).known, values).fetchall()
    return {key: _Stored(*stored) for key, *stored in found}


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
    statements = _statements(resource)
    transaction.execute(statements.write_lines, {"organization": organization_id})
    if known:
        transaction.execute(statements.remove_lines, {"organization": organization_id, "keys": known})


def _copy(transaction: Transaction, table: Lines, extra: Column, rows: Iterable[tuple[Any, ...]]) -> None:
    create, copy = _incoming(table, extra)
    transaction.execute(create)
    with transaction.cursor() as cursor, cursor.copy(copy) as stream:
        write = stream.write_row
        for row in rows:
            write(row)


@dataclass(frozen=True)
class _Statements:
    known: bytes
    write: bytes
    write_lines: bytes
    remove_lines: bytes


@cache
def _incoming(table: Lines, extra: Column) -> tuple[bytes, bytes]:
    """The statements that create and fill the temporary table of a database connection."""
    name = sql.Identifier(_incoming_name(table))
    columns = [*((column.name, column.kind) for column in table.sent), ("raw", "jsonb"), (extra.name, extra.kind)]
    create = sql.SQL(_CREATE_INCOMING).format(
        name,
        sql.SQL(", ").join(sql.Identifier(column) + sql.SQL(f" {kind}") for column, kind in columns),
        name,
    )
    return create.as_bytes(), sql.SQL("COPY {} FROM STDIN").format(name).as_bytes()


def _incoming_name(table: Lines) -> str:
    """Its name for one schema version: behind a pooler, a connection may have tables of another version."""
    return f"incoming_{table.table}_{SCHEMA_VERSION}"


@cache
def _statements(resource: Resource) -> _Statements:
    key = resource.key.name
    parts = {
        "table": sql.Identifier("backmarket", resource.table),
        "incoming": sql.Identifier(_incoming_name(resource)),
        "key": sql.Identifier(key),
        "kind": sql.SQL(resource.key.kind),
        **_upsert_parts(resource, "raw, content"),
        "state": sql.Identifier("state") if "state" in resource.positions else sql.SQL("NULL::integer"),
        "erased": sql.SQL("erased_at IS NOT NULL" if resource.personal else "false"),
        "link": sql.SQL(_WANTED_LINK).format(sql.Identifier(resource.table, key))
        if resource.label
        else sql.SQL("NULL"),
        "modified": sql.Identifier(resource.modified) if resource.modified else sql.SQL("NULL::timestamptz"),
    }
    lines = resource.lines
    inner: dict[str, sql.Composable] = {}
    if lines is not None:
        inner = {
            "table": sql.Identifier("backmarket", lines.table),
            "incoming": sql.Identifier(_incoming_name(lines)),
            "owners": parts["incoming"],
            "key": sql.Identifier(lines.key.name),
            "owner": sql.Identifier(key),
            **_upsert_parts(lines, f"raw, {key}"),
        }
    return _Statements(
        known=sql.SQL(_KNOWN).format(**parts).as_bytes(),
        write=sql.SQL(_WRITE).format(**parts).as_bytes(),
        write_lines=sql.SQL(_WRITE_LINES if lines else "").format(**inner).as_bytes(),
        remove_lines=sql.SQL(_REMOVE_LINES if lines else "").format(**inner).as_bytes(),
    )


def _upsert_parts(table: Lines, extra: str) -> dict[str, sql.Composable]:
    """The column lists of an upsert: all columns; their sources; what is set; what is compared."""
    names = [column.name for column in (table.key, *table.columns)] + extra.split(", ")
    cut = {column.name: column.source for column in table.columns if column.kind == "jsonb"}
    sources = [
        sql.SQL("NULLIF(i.raw->{}, 'null')").format(sql.Literal(cut[name]))
        if name in cut
        else sql.Identifier("i", name)
        for name in names
    ]
    settable = [sql.Identifier(name) for name in names if name != table.key.name]
    compared = [name for name in names if name not in {table.key.name, "content"}]
    comma = sql.SQL(", ")
    return {
        "columns": comma.join(map(sql.Identifier, names)),
        "sources": comma.join(sources),
        "assignments": comma.join(sql.SQL("{0} = excluded.{0}").format(name) for name in settable),
        "stored": comma.join(sql.Identifier("o", name) for name in compared),
        "coming": comma.join(sql.Identifier("excluded", name) for name in compared),
    }


_CONTENT = Column("content", "bigint")

# Emptied at each commit, and created only if a connection has none: no catalogue rows for each batch.
# Times without an offset count as UTC, the zone of each of our transactions (`database/connection.py`).
_CREATE_INCOMING = """
SET LOCAL client_min_messages = warning;
CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS; DELETE FROM {}
"""

_WANTED_LINK = """
(SELECT l.url FROM backmarket.labels l WHERE l.organization_id = %(organization)s AND l.resource = %(resource)s
    AND l.shipment_id = {} AND l.state = 'wanted')
"""

_KNOWN = """
SELECT {key}, CASE WHEN removed_at IS NULL THEN content END, CASE WHEN removed_at IS NULL THEN {modified} END, {state},
    last_synced_at, {erased}, {link}
FROM {table} WHERE organization_id = %(organization)s AND {key} = ANY(%(keys)s)
"""

# `before` sees the rows as they were: every part of one statement sees the same snapshot. Each is looked up by its key:
# with a join, every batch of a first walk read all rows of the organization, as PostgreSQL has no statistics yet.
_WRITE = """
WITH before AS MATERIALIZED (
    SELECT b.* FROM unnest(%(known)s::{kind}[]) AS k (key) CROSS JOIN LATERAL (
        SELECT o.{key}, o.raw, o.content, o.removed_at
        FROM {table} o WHERE o.organization_id = %(organization)s AND o.{key} = k.key OFFSET 0
    ) AS b
), written AS (
    INSERT INTO {table} AS o (organization_id, {columns})
    SELECT %(organization)s, {sources} FROM {incoming} i ORDER BY i.{key}
    ON CONFLICT (organization_id, {key}) DO UPDATE
    SET {assignments}, removed_at = NULL, last_synced_at = now()
    WHERE ({stored}, o.removed_at) IS DISTINCT FROM ({coming}, NULL)
    RETURNING o.{key}
), events AS (
    INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)
    SELECT %(organization)s, %(resource)s, w.{key}::text,
        CASE WHEN b.{key} IS NULL OR b.removed_at IS NOT NULL THEN 'created' ELSE 'updated' END,
        CASE WHEN b.{key} IS NULL OR b.removed_at IS NOT NULL THEN '{{}}' ELSE ARRAY(
            SELECT name FROM jsonb_object_keys(b.raw || i.raw) AS name
            WHERE b.raw->name IS DISTINCT FROM i.raw->name
              AND backmarket.without_signatures((b.raw->name)::text)
                IS DISTINCT FROM backmarket.without_signatures((i.raw->name)::text) ORDER BY name
        ) END
    FROM written w JOIN {incoming} i USING ({key}) LEFT JOIN before b USING ({key})
    WHERE b.{key} IS NULL OR b.removed_at IS NOT NULL OR b.content IS DISTINCT FROM i.content
    RETURNING kind
)
SELECT count(*) FILTER (WHERE kind = 'created'), count(*) FILTER (WHERE kind = 'updated') FROM events
"""

_WRITE_LINES = """
INSERT INTO {table} AS o (organization_id, {columns})
SELECT %(organization)s, {sources} FROM {incoming} i ORDER BY i.{key}
ON CONFLICT (organization_id, {key}) DO UPDATE
SET {assignments}, removed_at = NULL, last_synced_at = now()
WHERE ({stored}, o.removed_at) IS DISTINCT FROM ({coming}, NULL)
"""

_REMOVE_LINES = """
UPDATE {table} AS o SET removed_at = now(), last_synced_at = now()
WHERE o.organization_id = %(organization)s AND o.{owner} = ANY(%(keys)s) AND o.removed_at IS NULL
  AND NOT EXISTS (SELECT FROM {incoming} i WHERE i.{key} = o.{key})
"""
