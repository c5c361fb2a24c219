"""Rows that a complete full walk did not show: requested one by one, since a list can leave out existing rows.

An order that reaches state 8 leaves the list; that is a change, not a removal. Only a row whose id answers 404 is
marked as gone. When very many are missing at once, something else is wrong: nothing is marked, and an operator is
warned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from backmarket.database import Transaction
from backmarket.errors import BackMarketError
from backmarket.resources import Resource
from backmarket.sync import seen_ids
from backmarket.sync.page_walk import Walk

ALARM_SHARE = 0.05
"""Maximum share of the stored rows that may be missing; above it, none is marked as gone."""

ALARM_ROWS = 20
"""Missing rows that are always requested, however few are stored."""


class ManyMissing(BackMarketError):
    """A full walk did not show too many of the stored rows; none was marked as gone."""

    code = "many_missing"


@dataclass(frozen=True, slots=True)
class Missing:
    """Stored rows that a full walk did not show.

    Attributes:
        keys: of the rows to request.
        alarm: the error, if there are too many to request.
        count: their number, if there are too many.
        marked: those of the keys that an earlier walk marked as gone.
    """

    keys: tuple[Any, ...] = ()
    alarm: ManyMissing | None = None
    count: int = 0
    marked: frozenset[Any] = frozenset()


def find(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    walk: Walk,
    *,
    accept_many: bool = False,
    besides: Collection[Any] = (),
    limit: int = 50,
    order: int = 0,
) -> Missing:
    """The stored rows that a complete full walk did not show, though the list does not leave them out by its rules.

    Rows that the previous walk marked as gone are requested again, if the list leaves out existing rows. Marking and
    confirming set `last_synced_at`; only a row that is marked and not confirmed has it equal to `removed_at`.

    Args:
        walk: complete.
        accept_many: an operator has accepted that very many are missing.
        besides: keys of rows that count as shown.
        limit: maximum number of rows returned; once they are settled, the next call returns others.
        order: which come first, the same for the same number: another one for each slice, so that rows whose requests
            fail hold up no others.
    """
    values = seen_ids.parameters(organization_id, resource.name, resource.market, walk)
    values |= {"ids": [*values["ids"], *map(str, besides)], "began": walk.started_at}
    values |= {"limit": limit, "order": order}
    count, keys, marked = transaction.execute(_find(resource), values).fetchone() or (0, [], [])
    if not accept_many and count > ALARM_ROWS:
        (stored,) = transaction.execute(f"SELECT count(*) {_listed(resource)}", values).fetchone() or (0,)
        if count > ALARM_SHARE * stored:
            return Missing(alarm=ManyMissing(_alarm_text(resource, count, stored)), count=count)
    return Missing(tuple(keys), marked=frozenset(marked))


def _listed(resource: Resource) -> str:
    """The stored rows that a walk should show."""
    return (
        f"FROM backmarket.{resource.table} WHERE organization_id = %(organization)s{resource.in_market}"
        f" AND removed_at IS NULL AND first_seen_at < %(began)s AND ({resource.hidden}) IS NOT TRUE"
    )


def _find(resource: Resource) -> str:
    key, kind = resource.key.name, resource.key.kind
    marked = (
        f"FROM backmarket.{resource.table} WHERE organization_id = %(organization)s{resource.in_market}"
        f" AND removed_at = last_synced_at AND removed_at < %(began)s AND {resource.hides}"
    )
    return f"""
        WITH missing AS MATERIALIZED (
            SELECT id, max(how) AS how FROM (
                SELECT {key}::text, {_LISTED} {_listed(resource)}
                UNION ALL SELECT {key}::text, {_MARKED} {marked}
                UNION ALL SELECT id, {_SEEN} FROM ({seen_ids.SEEN}) AS seen (id)
            ) AS rows (id, how) GROUP BY id HAVING max(how) < {_SEEN}
        ), drawn AS MATERIALIZED (
            SELECT id::{kind}, how FROM missing
            ORDER BY hashtextextended(id, %(order)s) LIMIT %(limit)s
        )
        SELECT (SELECT count(*) FROM missing WHERE how = {_LISTED}),
            ARRAY(SELECT id FROM drawn), ARRAY(SELECT id FROM drawn WHERE how = {_MARKED})
    """


def mark_removed(transaction: Transaction, resource: Resource, organization_id: str, key: Any) -> int:
    """Mark a row and its lines as gone, with its event. A row that is marked already is confirmed.

    Returns:
        Rows marked: 1 or 0.
    """
    values = {"organization": organization_id, "key": key, "market": resource.market}
    row = f"organization_id = %(organization)s{resource.in_market} AND {resource.key.name} = %(key)s"
    marked = transaction.execute(
        f"UPDATE backmarket.{resource.table} SET removed_at = now(), last_synced_at = now()"
        f" WHERE {row} AND removed_at IS NULL",
        values,
    ).rowcount
    if marked and resource.lines is not None:
        transaction.execute(
            f"UPDATE backmarket.{resource.lines.table} SET removed_at = now(), last_synced_at = now()"
            f" WHERE {row} AND removed_at IS NULL",
            values,
        )
    if not marked:
        transaction.execute(
            f"UPDATE backmarket.{resource.table} SET last_synced_at = now()"
            f" WHERE {row} AND removed_at = last_synced_at",
            values,
        )
    else:
        transaction.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, market)"
            " VALUES (%s, %s, %s, 'removed', %s)",
            (organization_id, resource.name, str(key), resource.market),
        )
    return marked


_LISTED, _MARKED, _SEEN = 1, 2, 3
"""Why a row is compared: the walk should have shown it; an earlier walk marked it as gone; this one has shown it."""


def _alarm_text(resource: Resource, missing: int, stored: int) -> str:
    of = f" of the market {resource.market}" if resource.market else ""
    return (
        f"{missing} of {stored} stored {resource.name}{of} were not listed at once: none was marked as gone."
        " Check the account at Back Market; the next full walk looks again. If they are gone, say so (`sync` with"
        f" `accept_missing`, `backmarket sync ORG --resource {resource.name} --accept-missing`): each of them is asked"
        " for by its id."
    )
