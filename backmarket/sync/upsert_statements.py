"""The statements that `upsert` runs, made once for each resource from the columns of its table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from psycopg import sql

from backmarket.database import SCHEMA_VERSION
from backmarket.resources import Column, Lines, Resource

CONTENT = Column("content", "bigint")
"""The hash of a row's content."""

MAX_VALUES_CHARS = 400
"""Maximum length of the old and the new value of a field that an event tells, together, as JSON."""


@dataclass(frozen=True)
class Statements:
    """The statements of one resource.

    Attributes:
        known: select what is stored of the rows with given keys.
        write: insert and update the rows in the temporary table, and write their events.
        write_lines: the same for their lines, without events.
        remove_lines: mark the lines that are no longer in the temporary table as removed.
    """

    known: bytes
    write: bytes
    write_lines: bytes
    remove_lines: bytes


@cache
def incoming_table(table: Lines, extra: Column) -> tuple[bytes, bytes]:
    """The statements that create and fill the temporary table of a database connection."""
    name = sql.Identifier(incoming_name(table))
    columns = [*((column.name, column.kind) for column in table.sent), ("raw", "jsonb"), (extra.name, extra.kind)]
    create = sql.SQL(_CREATE_INCOMING).format(
        name,
        sql.SQL(", ").join(sql.Identifier(column) + sql.SQL(f" {kind}") for column, kind in columns),
        name,
    )
    return create.as_bytes(), sql.SQL("COPY {} FROM STDIN").format(name).as_bytes()


def incoming_name(table: Lines) -> str:
    """Name of the temporary table of one schema version: behind a pooler, a connection may have several."""
    return f"incoming_{table.table}_{SCHEMA_VERSION}"


@cache
def statements_of(resource: Resource) -> Statements:
    """The statements of one resource."""
    key = resource.key.name
    parts = {
        "table": sql.Identifier("backmarket", resource.table),
        "incoming": sql.Identifier(incoming_name(resource)),
        "key": sql.Identifier(key),
        "kind": sql.SQL(resource.key.kind),
        **_upsert_parts(resource, "raw, content"),
        "state": sql.Identifier("state") if "state" in resource.positions else sql.SQL("NULL::integer"),
        "erased": sql.SQL("erased_at IS NOT NULL" if resource.personal else "false"),
        "link": sql.SQL(_WANTED_LINK).format(sql.Identifier(resource.table, key))
        if resource.label
        else sql.SQL("NULL"),
        "modified": sql.Identifier(resource.modified) if resource.modified else sql.SQL("NULL::timestamptz"),
        "told": sql.Literal(told_fields(resource)),
        "max_chars": sql.Literal(MAX_VALUES_CHARS),
        "in_market": sql.SQL(resource.in_market),
        "identity": sql.SQL(f"organization_id, market, {key}" if resource.market else f"organization_id, {key}"),
        "owner_columns": sql.SQL("organization_id, market" if resource.market else "organization_id"),
        "owner_values": sql.SQL("%(organization)s, %(market)s" if resource.market else "%(organization)s"),
    }
    lines = resource.lines
    inner: dict[str, sql.Composable] = {}
    if lines is not None:
        inner = {
            "table": sql.Identifier("backmarket", lines.table),
            "incoming": sql.Identifier(incoming_name(lines)),
            "owners": parts["incoming"],
            "key": sql.Identifier(lines.key.name),
            "owner": sql.Identifier(key),
            **_upsert_parts(lines, f"raw, {key}"),
        }
    return Statements(
        known=sql.SQL(_KNOWN).format(**parts).as_bytes(),
        write=sql.SQL(_WRITE).format(**parts).as_bytes(),
        write_lines=sql.SQL(_WRITE_LINES if lines else "").format(**inner).as_bytes(),
        remove_lines=sql.SQL(_REMOVE_LINES if lines else "").format(**inner).as_bytes(),
    )


def told_fields(table: Lines) -> list[str]:
    """The API's names of the fields whose values events tell: columns that are neither personal nor objects."""
    return sorted(
        column.source for column in table.columns if column.name not in table.personal and column.kind != "jsonb"
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
    kept = {column.name for column in table.columns if column.kept}
    coming = {
        name: sql.SQL("COALESCE(excluded.{0}, o.{0})" if name in kept else "excluded.{0}").format(sql.Identifier(name))
        for name in names
    }
    settable = [name for name in names if name != table.key.name]
    compared = [name for name in settable if name != "content"]
    comma = sql.SQL(", ")
    return {
        "columns": comma.join(map(sql.Identifier, names)),
        "sources": comma.join(sources),
        "assignments": comma.join(sql.SQL("{} = {}").format(sql.Identifier(name), coming[name]) for name in settable),
        "stored": comma.join(sql.Identifier("o", name) for name in compared),
        "coming": comma.join(coming[name] for name in compared),
    }


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
FROM {table} WHERE organization_id = %(organization)s{in_market} AND {key} = ANY(%(keys)s)
"""

# `before` sees the rows as they were: every part of one statement sees the same snapshot. Each is looked up by its key:
# with a join, every batch of a first walk read all rows of the organization, as PostgreSQL has no statistics yet.
_WRITE = """
WITH before AS MATERIALIZED (
    SELECT b.* FROM unnest(%(known)s::{kind}[]) AS k (key) CROSS JOIN LATERAL (
        SELECT o.{key}, o.raw, o.content, o.removed_at
        FROM {table} o WHERE o.organization_id = %(organization)s{in_market} AND o.{key} = k.key OFFSET 0
    ) AS b
), written AS (
    INSERT INTO {table} AS o ({owner_columns}, {columns})
    SELECT {owner_values}, {sources} FROM {incoming} i ORDER BY i.{key}
    ON CONFLICT ({identity}) DO UPDATE
    SET {assignments}, removed_at = NULL, last_synced_at = now()
    WHERE ({stored}, o.removed_at) IS DISTINCT FROM ({coming}, NULL)
    RETURNING o.{key}
), events AS (
    INSERT INTO backmarket.changes
        (organization_id, resource, external_id, kind, fields, initial, field_values, market)
    SELECT %(organization)s, %(resource)s, w.{key}::text,
        CASE WHEN b.{key} IS NULL OR b.removed_at IS NOT NULL THEN 'created' ELSE 'updated' END,
        d.fields, %(initial)s, d.field_values, %(market)s
    FROM written w JOIN {incoming} i USING ({key}) LEFT JOIN before b USING ({key}) CROSS JOIN LATERAL (
        SELECT COALESCE(array_agg(name ORDER BY name), '{{}}') AS fields,
            jsonb_object_agg(name, jsonb_build_array(b.raw->name, i.raw->name)) FILTER (
                WHERE name = ANY({told}) AND length(concat(b.raw->name, i.raw->name)) <= {max_chars}) AS field_values
        FROM jsonb_object_keys(CASE WHEN b.removed_at IS NULL THEN b.raw || i.raw END) AS name
        WHERE b.raw->name IS DISTINCT FROM i.raw->name
          AND backmarket.without_signatures((b.raw->name)::text)
            IS DISTINCT FROM backmarket.without_signatures((i.raw->name)::text)
    ) d
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
