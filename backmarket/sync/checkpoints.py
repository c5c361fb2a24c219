"""Checkpoints: the progress of a walk, written in the transaction that stores its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backmarket.database import Transaction
from backmarket.errors import BackMarketError, IncompleteWalk, LeaseLost, RequestRefused
from backmarket.resources import RESOURCES
from backmarket.sync import seen_ids
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk
from backmarket.sync.upsert import UpsertCounts

REFUSED_RUNS = 3
"""Failed runs in a row, after which a walk whose next page the API refuses starts over."""


@dataclass
class Progress:
    """Progress of a walk since its last checkpoint.

    Attributes:
        requests: sent, answered or not.
        written: rows by outcome.
        removed: rows that turned out to be gone.
        rejected: rows without a usable id.
    """

    requests: int = 0
    written: UpsertCounts = field(default_factory=UpsertCounts)
    removed: int = 0
    rejected: int = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing new was found."""
        return not (self.written.created or self.written.updated or self.removed or self.rejected)


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended.

    Attributes:
        quiet: it found nothing new.
        rejected: rows that could not be stored.
    """

    quiet: bool
    rejected: int


def save(transaction: Transaction, lease: Lease, walk: Walk, progress: Progress, *, since: tuple[int, int]) -> None:
    """Write the walk's progress, and the ids that it saw since the last checkpoint.

    Args:
        transaction: the one that stores the rows.
        lease: of the walk; the caller has checked it.
        walk: its present state.
        progress: since the last checkpoint.
        since: pass and page of the last checkpoint, to which the new ids belong.

    Raises:
        LeaseLost: if the last checkpoint is not in the database, which failed over to a server without it.
    """
    saved = transaction.execute(
        _SAVE,
        {
            "organization": lease.organization_id,
            "resource": lease.resource,
            "market": lease.market,
            "kind": walk.kind,
            "started_at": walk.started_at,
            "began_at": walk.began_at,
            "since": walk.since,
            "pass": walk.pass_,
            "pass_began_at": walk.pass_began_at,
            "next_page": walk.next_page,
            "page_size": walk.page_size,
            "expected": walk.expected,
            "highest": walk.highest,
            "counted": walk.counted,
            "steady": walk.steady,
            "serving": walk.serving,
            "saves": walk.saves,
            **_counts(progress),
        },
    ).fetchone()
    _refuse_rolled_back(saved, walk.saves + 1)
    walk.saves += 1
    seen_ids.save(transaction, lease, walk, since=since)


def close(
    transaction: Transaction,
    lease: Lease,
    walk: Walk,
    progress: Progress,
    error: BackMarketError | None = None,
    *,
    failed: bool = False,
) -> Run:
    """End a run: its row in `sync_runs`, unless it succeeded and found nothing new.

    A walk that succeeded leaves no checkpoint, a full one none of an incremental walk that began before it; one that
    failed keeps it and resets its counters. One that never saw its whole list starts over, as does one whose next page
    the API has refused in three runs in a row: the list may have become shorter.

    Args:
        transaction: the one that ends the lease.
        lease: of the run.
        walk: its present state.
        progress: since the last checkpoint.
        error: why it failed; or, of a run that succeeded, what an operator should look at.
        failed: it did not succeed.

    Raises:
        LeaseLost: if the last checkpoint is not in the database.
    """
    row = "WHERE organization_id = %s AND resource = %s AND market = %s AND kind = %s"
    key = (lease.organization_id, lease.resource, lease.market, walk.kind)
    stored = (
        transaction.execute(
            "SELECT saves, requests, rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected"
            f" FROM backmarket.walks {row}",
            key,
        ).fetchone()
        if walk.saves
        else None
    )
    if walk.saves:
        _refuse_rolled_back(stored, walk.saves)
    counts = _counts(progress)
    if stored is not None:
        counts = {name: value + before for (name, value), before in zip(counts.items(), stored[1:], strict=True)}
    quiet = error is None and not any(counts[name] for name in _NEWS)
    if not quiet:
        transaction.execute(
            _RUN,
            {
                **counts,
                "organization": lease.organization_id,
                "resource": lease.resource,
                "market": lease.market,
                "kind": walk.kind,
                "outcome": "failed" if failed else "done",
                "started_at": walk.started_at,
                "serving": walk.serving,
                "code": error.code if error else None,
                "message": error.message if error else None,
                "request_id": error.request_id if error else None,
                "cf_ray": error.cf_ray if error else None,
            },
        )
    if stored is not None:
        transaction.execute(
            f"DELETE FROM backmarket.walks {row}"
            if not failed or _starts_over(error, lease.failures)
            else "UPDATE backmarket.walks SET requests = 0, rows_created = 0, rows_updated = 0, rows_unchanged = 0,"
            f" rows_removed = 0, rows_rejected = 0 {row}",
            key,
        )
    if walk.kind == "full" and not failed and RESOURCES[lease.resource].since:
        transaction.execute(_DELETE_OVERTAKEN, (*key[:3], walk.started_at))
    return Run(quiet, counts["rows_rejected"])


def _refuse_rolled_back(stored: tuple[Any, ...] | None, saves: int) -> None:
    if stored is None or stored[0] != saves:
        raise LeaseLost(_ROLLED_BACK)


def _starts_over(error: BackMarketError | None, failures: int) -> bool:
    return isinstance(error, IncompleteWalk) or (isinstance(error, RequestRefused) and failures >= REFUSED_RUNS - 1)


def _counts(progress: Progress) -> dict[str, int]:
    return {
        "requests": progress.requests,
        "rows_created": progress.written.created,
        "rows_updated": progress.written.updated,
        "rows_unchanged": progress.written.unchanged,
        "rows_removed": progress.removed,
        "rows_rejected": progress.rejected,
    }


_ROLLED_BACK = "The database has lost this walk's last checkpoint: the next slice continues from the one before."

_NEWS = ("rows_created", "rows_updated", "rows_removed", "rows_rejected")

_SAVE = """
INSERT INTO backmarket.walks AS w (organization_id, resource, kind, started_at, began_at, since, pass, pass_began_at,
    next_page, page_size, expected, highest, serving, saves,
    requests, rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected, counted, steady, market)
VALUES (%(organization)s, %(resource)s, %(kind)s, %(started_at)s, %(began_at)s, %(since)s, %(pass)s, %(pass_began_at)s,
    %(next_page)s, %(page_size)s, %(expected)s, %(highest)s, %(serving)s, 1,
    %(requests)s, %(rows_created)s, %(rows_updated)s, %(rows_unchanged)s, %(rows_removed)s, %(rows_rejected)s,
    %(counted)s, %(steady)s, %(market)s)
ON CONFLICT (organization_id, resource, market, kind) DO UPDATE SET
    pass = excluded.pass, pass_began_at = excluded.pass_began_at, next_page = excluded.next_page,
    page_size = excluded.page_size, expected = excluded.expected, highest = excluded.highest,
    requests = w.requests + excluded.requests, rows_created = w.rows_created + excluded.rows_created,
    rows_updated = w.rows_updated + excluded.rows_updated, rows_unchanged = w.rows_unchanged + excluded.rows_unchanged,
    rows_removed = w.rows_removed + excluded.rows_removed, rows_rejected = w.rows_rejected + excluded.rows_rejected,
    saves = w.saves + 1, counted = excluded.counted, steady = excluded.steady
WHERE w.saves = %(saves)s
RETURNING saves
"""

# It has read all that an incremental walk which began before it would.
_DELETE_OVERTAKEN = """
DELETE FROM backmarket.walks
WHERE organization_id = %s AND resource = %s AND market = %s AND kind = 'incremental' AND started_at < %s
"""

_RUN = """
INSERT INTO backmarket.sync_runs (organization_id, resource, kind, outcome, started_at, serving,
    requests, rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected,
    error_code, error, error_request_id, error_cf_ray, behind, market)
SELECT organization_id, resource, %(kind)s, %(outcome)s, %(started_at)s, %(serving)s,
    %(requests)s, %(rows_created)s, %(rows_updated)s, %(rows_unchanged)s, %(rows_removed)s, %(rows_rejected)s,
    %(code)s, %(message)s, %(request_id)s, %(cf_ray)s, extract(epoch FROM now() - last_success_at), market
FROM backmarket.sync_state
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s
"""
