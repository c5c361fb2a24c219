"""A requested sync, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from psycopg.rows import dict_row

from backmarket.connections import check_usable, get
from backmarket.database import Database
from backmarket.errors import ConnectionNotFound, error_for
from backmarket.status.sync_status import SyncStatus, get_sync_status, status_key
from backmarket.sync.requests import SyncRequest
from backmarket.work.wait import Poll, poll, wait_for


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """Outcome of a requested sync.

    Attributes:
        rows_created: new rows.
        rows_updated: changed rows.
        rows_unchanged: fetched rows that were already stored; always 0 for a run without news.
        rows_removed: rows that are gone.
        rows_rejected: rows without a usable id, or with a value that PostgreSQL cannot store.
        requests: number sent to the API.
    """

    rows_created: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    rows_removed: int = 0
    rows_rejected: int = 0
    requests: int = 0

    def __add__(self, other: SyncOutcome) -> SyncOutcome:
        return SyncOutcome(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class SyncHandle:
    """A requested sync, of listings in all markets or in one. It runs in the workers; waiting is optional.

    Attributes:
        request: the request that it answers, with those for further markets.
        nudged: whether its messages were sent; False: the broker is unreachable, and the sync waits for the dispatcher.
    """

    organization_id: str
    resource: str
    request: SyncRequest
    nudged: bool
    _database: Database = field(repr=False)

    @property
    def number(self) -> int:
        """Of the request."""
        return self.request.number

    def done(self) -> SyncOutcome | None:
        """The outcome; None: the sync has not ended.

        Raises:
            BackMarketError: if it failed; the class says what to do. It is retried automatically.
        """
        outcomes = [self._done(request) for request in self.request.each]
        return None if None in outcomes else sum(filter(None, outcomes), SyncOutcome())

    def _done(self, request: SyncRequest) -> SyncOutcome | None:
        values = {
            **self._row(request),
            "number": request.number,
            "slices": request.slices,
            "failures": request.failures,
        }
        with self._database.transaction() as transaction, transaction.cursor(row_factory=dict_row) as cursor:
            state = cursor.execute(_STATE, values).fetchone()
            run = cursor.execute(_RUN, values).fetchone() if state and state["answered"] else None
        connection = get(self._database, self.organization_id)
        if state is None or not state["known"]:
            raise ConnectionNotFound(
                "The connection, or its market, was removed since the sync was requested. Request it again."
            )
        if state["answered"]:
            return SyncOutcome(**run) if run else SyncOutcome()
        check_usable(connection, even_if_refused=True)
        if state["failed"]:
            marks = {"request_id": state["error_request_id"], "cf_ray": state["error_cf_ray"]}
            raise error_for(state["error_code"], state["error"], **marks)
        check_usable(connection)
        return None

    def _row(self, request: SyncRequest) -> Mapping[str, Any]:
        return {"organization": self.organization_id, "resource": self.resource, "market": request.market}

    def status(self) -> SyncStatus:
        """Its present state; of several markets, that of the connection's locale."""
        return self._status(self.request)

    def _status(self, request: SyncRequest) -> SyncStatus:
        return get_sync_status(self._database, self.organization_id)[status_key(self.resource, request.market)]

    def _waiting(self) -> SyncRequest:
        """The first request that is not answered; the first one of all, if each is."""
        if not self.request.further:
            return self.request
        return next((request for request in self.request.each if self._done(request) is None), self.request)

    def _begun(self, request: SyncRequest) -> bool:
        """Whether a worker has begun a slice of it."""
        values = {**self._row(request), "slices": request.slices}
        with self._database.transaction() as transaction:
            return transaction.execute(_BEGUN, values).fetchone() == (True,)

    def _why_not_done(self, timeout: float) -> str:
        request = self._waiting()
        return _why_not_done(self._status(request), self._begun(request), timeout)

    def wait(self, timeout: float = 60.0) -> SyncOutcome:
        """Wait until a walk that began after the request has ended.

        Args:
            timeout: seconds.

        Raises:
            WaitTimeout: if it has not ended yet; the workers continue it.
            BackMarketError: if it failed; see `done`.
        """
        return wait_for(self.poll(timeout))

    def poll(self, timeout: float = 60.0) -> Poll[SyncOutcome]:
        """`wait` read by read, for an event loop: yields the seconds to pause, and returns the outcome."""
        return poll(self.done, timeout, lambda: self._why_not_done(timeout))


def _why_not_done(status: SyncStatus, begun: bool, timeout: float) -> str:
    progress = f", {status.rows_done} of {status.rows_expected} rows" if status.rows_expected else ""
    if status.running_since is not None:
        return f"The sync is running{progress}, and has not ended within {timeout:g} s; it continues by itself."
    if status.failures and status.error_code is not None and status.next_due_at is not None:
        return (
            f"The sync has not ended within {timeout:g} s, and fails ({status.error_code}): {status.error}"
            f" It is tried again after {status.next_due_at:%Y-%m-%d %H:%M:%S %Z}."
        )
    if progress or begun:
        return (
            f"The sync waits for its next slice{progress}, and has not ended within {timeout:g} s. The dispatcher sends"
            " that: are beat and a worker with the queue 'dispatch' running? The request is kept."
        )
    return (
        f"No worker has claimed the sync within {timeout:g} s. Is a worker with the queue {status.resource!r} running,"
        " and does it use the same broker? The request is kept."
    )


# Failed: a slice failed after the request. A running slice holds the lease; one that stores something and hands on, or
# succeeds, sets the failures to 0. Slices that were answered 429 count before there is an error.
_STATE = """
SELECT served >= %(number)s AS answered, requested >= %(number)s AS known,
    lease_until IS NULL AND failures > 0 AND error_code IS NOT NULL AND lease_number > %(slices)s
        AND failures <> %(failures)s AS failed,
    error_code, error, error_request_id, error_cf_ray
FROM backmarket.sync_state
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s
"""


_BEGUN = """
SELECT lease_number > %(slices)s FROM backmarket.sync_state
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s
"""

# The oldest run since the request; a run without news has no row.
_RUN = """
SELECT rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected, requests
FROM (
    SELECT * FROM backmarket.sync_runs
    WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s
    ORDER BY id DESC LIMIT 100
) AS newest
WHERE serving >= %(number)s AND outcome = 'done' ORDER BY id LIMIT 1
"""
