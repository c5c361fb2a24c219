"""Rows that a complete full walk did not show: requested one by one, since a list can leave out existing rows.

An order that reaches state 8 leaves the list; that is a change, not a removal. Only a row whose id answers 404 is
marked as gone. When very many are missing at once, something else is wrong: nothing is marked, and an operator is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backmarket.database import Transaction
from backmarket.errors import BackMarketError
from backmarket.resources import Resource
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
    transaction: Transaction, resource: Resource, organization_id: str, walk: Walk, *, accept_many: bool = False
) -> Missing:
    """The stored rows that a complete full walk did not show, though the list does not leave them out by its rules.

    Args:
        resource: whose rows.
        walk: complete.
        accept_many: an operator has accepted that very many are missing.
    """
    stored = transaction.execute(
        f"SELECT {resource.key.name} FROM backmarket.{resource.table} WHERE organization_id = %s"
        f" AND removed_at IS NULL AND first_seen_at < %s AND ({resource.hidden}) IS NOT TRUE",
        (organization_id, walk.started_at),
    ).fetchall()
    seen = walk.all_seen()
    keys = tuple(key for (key,) in stored if str(key) not in seen)
    if not accept_many and len(keys) > max(ALARM_ROWS, ALARM_SHARE * len(stored)):
        return Missing(alarm=ManyMissing(_alarm_text(resource, len(keys), len(stored))), count=len(keys))
    marked = _to_confirm(transaction, resource, organization_id, walk, seen)
    return Missing(keys + marked, marked=frozenset(marked))


def _to_confirm(
    transaction: Transaction, resource: Resource, organization_id: str, walk: Walk, seen: set[str]
) -> tuple[Any, ...]:
    """Rows that the previous walk marked as gone, if the list leaves out existing rows: they are requested again.

    Marking and confirming set `last_synced_at`; only a row that is marked and not confirmed has it equal to
    `removed_at`.
    """
    if not resource.hides:
        return ()
    rows = transaction.execute(
        f"SELECT {resource.key.name} FROM backmarket.{resource.table} WHERE organization_id = %s"
        " AND removed_at = last_synced_at AND removed_at < %s",
        (organization_id, walk.started_at),
    ).fetchall()
    return tuple(key for (key,) in rows if str(key) not in seen)


def mark_removed(transaction: Transaction, resource: Resource, organization_id: str, key: Any) -> int:
    """Mark a row and its lines as gone, with its event. A row that is marked already is confirmed.

    Returns:
        Rows marked: 1 or 0.
    """
    marked = transaction.execute(
        f"UPDATE backmarket.{resource.table} SET removed_at = now(), last_synced_at = now()"
        f" WHERE organization_id = %s AND {resource.key.name} = %s AND removed_at IS NULL",
        (organization_id, key),
    ).rowcount
    if marked and resource.lines is not None:
        transaction.execute(
            f"UPDATE backmarket.{resource.lines.table} SET removed_at = now(), last_synced_at = now()"
            f" WHERE organization_id = %s AND {resource.key.name} = %s AND removed_at IS NULL",
            (organization_id, key),
        )
    if not marked:
        transaction.execute(
            f"UPDATE backmarket.{resource.table} SET last_synced_at = now()"
            f" WHERE organization_id = %s AND {resource.key.name} = %s AND removed_at = last_synced_at",
            (organization_id, key),
        )
    else:
        transaction.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
            " VALUES (%s, %s, %s, 'removed')",
            (organization_id, resource.name, str(key)),
        )
    return marked


def _alarm_text(resource: Resource, missing: int, stored: int) -> str:
    return (
        f"{missing} of {stored} stored {resource.name} were not listed at once: none was marked as gone."
        " Check the account at Back Market; the next full walk looks again. If they are gone, say so:"
        f" `backmarket sync ORG --resource {resource.name} --accept-missing` asks for each of them by its id."
    )
