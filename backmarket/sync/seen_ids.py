"""The ids that a walk has seen: kept in PostgreSQL, counted and compared there, never read back into a process.

An organization may have millions of rows. A process holds the ids since the walk's last checkpoint, at most those of
one slice; they go along as parameters where a statement needs all of them.
"""

from __future__ import annotations

from typing import Any

from backmarket.database import Transaction
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import SeenCounts, Walk

SEEN = """
SELECT unnest(ids), CASE WHEN pass = %(pass)s THEN 1 ELSE 8 END FROM backmarket.walk_seen
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s AND kind = %(kind)s
UNION ALL
SELECT unnest(modified), CASE WHEN pass = %(pass)s THEN 2 ELSE 8 END FROM backmarket.walk_seen
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s AND kind = %(kind)s
UNION ALL
SELECT unnest(newcomers), CASE WHEN pass = %(pass)s THEN 4 ELSE 8 END FROM backmarket.walk_seen
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s AND kind = %(kind)s
UNION ALL SELECT unnest(%(ids)s::text[]), 1
UNION ALL SELECT unnest(%(modified)s::text[]), 2
UNION ALL SELECT unnest(%(newcomers)s::text[]), 4
"""
"""Every id that a walk has seen, with repetitions, and a bit that says how: 1 there when this pass began, 2 modified
since, 4 a newcomer, 8 by an earlier pass. Its parameters are `parameters`."""


def parameters(organization_id: str, resource: str, market: str, walk: Walk) -> dict[str, Any]:
    """The parameters of `SEEN`."""
    return {
        "organization": organization_id,
        "resource": resource,
        "market": market,
        "kind": walk.kind,
        "pass": walk.pass_,
        "ids": list(walk.unsaved.ids),
        "modified": list(walk.unsaved.modified),
        "newcomers": list(walk.unsaved.newcomers),
    }


def count(transaction: Transaction, lease: Lease, walk: Walk) -> SeenCounts:
    """Count the distinct ids that a walk has seen.

    Args:
        transaction: an open one.
        lease: of the walk.
        walk: its present state.
    """
    if not walk.saves:
        return walk.unsaved.counts()
    values = parameters(lease.organization_id, lease.resource, lease.market, walk)
    row = transaction.execute(_COUNT, values).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    return SeenCounts(*row)


def save(transaction: Transaction, lease: Lease, walk: Walk, *, since: tuple[int, int]) -> None:
    """Store the ids seen since the last checkpoint.

    Args:
        transaction: the one that stores the rows.
        lease: of the walk; the caller has checked it.
        walk: its present state; its checkpoint is in the same transaction.
        since: pass and page of the last checkpoint, to which the new ids belong.
    """
    unsaved = walk.unsaved
    if not unsaved:
        return
    ids = (list(unsaved.ids), list(unsaved.newcomers), list(unsaved.modified))
    transaction.execute(_SAVE, (*_key(lease, walk), *since, *ids))
    unsaved.clear()


def leave(transaction: Transaction, lease: Lease, walk: Walk, key: str) -> None:
    """Store a row that the walk did not show and that could not be requested: it counts as seen.

    Args:
        transaction: the caller has checked the lease in it.
        lease: of the walk.
        walk: its present state; it has a checkpoint.
        key: the row's id.
    """
    transaction.execute(_SAVE, (*_key(lease, walk), walk.pass_, _LEFT, [key], [], []))


def left(transaction: Transaction, lease: Lease, walk: Walk) -> int:
    """Count the rows that were left by `leave`."""
    row = transaction.execute(_COUNT_LEFT, (*_key(lease, walk), _LEFT)).fetchone()
    return row[0] if row else 0


def _key(lease: Lease, walk: Walk) -> tuple[str, str, str, str]:
    return lease.organization_id, lease.resource, lease.market, walk.kind


_LEFT = 0
"""In place of a page: ids that no page showed."""

# Grouped, not joined: PostgreSQL has no statistics on a running walk, and the plan must not depend on them.
_COUNT = f"""
SELECT count(*) FILTER (WHERE how & 1 > 0), count(*) FILTER (WHERE how & 3 > 0), count(*) FILTER (WHERE how & 7 > 0),
    count(*) FILTER (WHERE how & 9 > 0)
FROM (SELECT bit_or(how) FROM ({SEEN}) AS seen (id, how) GROUP BY id) AS each (how)
"""

_COUNT_LEFT = """
SELECT COALESCE(sum(cardinality(ids)), 0)::int FROM backmarket.walk_seen
WHERE organization_id = %s AND resource = %s AND market = %s AND kind = %s AND first_page = %s
"""

_SAVE = """
INSERT INTO backmarket.walk_seen AS w
    (organization_id, resource, market, kind, pass, first_page, ids, newcomers, modified)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (organization_id, resource, market, kind, pass, first_page) DO UPDATE
SET ids = w.ids || excluded.ids, newcomers = w.newcomers || excluded.newcomers,
    modified = w.modified || excluded.modified
"""
