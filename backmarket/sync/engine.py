"""The sync algorithm: a slice takes the lease, continues from the checkpoint, stores what differs, hands on or ends.

Fetching, storing and deciding are separate: `page_walk.py` knows which page comes next and when all was seen,
`page_fetcher.py` keeps pages in flight, `storing.py` writes rows and checkpoints. This module joins them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic, sleep
from typing import Literal

from backmarket import connections
from backmarket.client import Credentials
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS
from backmarket.errors import (
    BackMarketError,
    Crashed,
    DatabaseUnavailable,
    LeaseLost,
    LimiterUnavailable,
    SettingsError,
    UsageError,
)
from backmarket.observability.logs import Logger, bound, error_location
from backmarket.resources import Resource, resource_in
from backmarket.services import Services
from backmarket.services.admission import RETRY_WHEN_FULL_SECONDS
from backmarket.sync import leases, refusals
from backmarket.sync.leases import Lease
from backmarket.sync.lookback import new_walk
from backmarket.sync.missing_rows import MissingRows
from backmarket.sync.page_fetcher import Fetched, Fetcher
from backmarket.sync.page_walk import Walk
from backmarket.sync.slice_budget import SliceBudget
from backmarket.sync.storing import Storing
from backmarket.work import backoff, queue

BATCH_PAGES = 16
"""Maximum pages stored in one transaction: a checkpoint at least every 800 orders."""

PREFETCH_WINDOWS = 2
"""Windows of pages requested ahead of what is stored; a killed worker's successor requests them again."""

log = Logger(__name__)

SliceEnd = Literal["nothing_to_do", "done", "handed_on", "failed", "lease_lost"]


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What a slice did.

    Attributes:
        end: how it ended.
        requests: number sent to the API.
        run: identifies the run in the log, as in `sync_runs.started_at`; None: no run.
        error: why it failed, if it did.
    """

    end: SliceEnd
    requests: int = 0
    run: str | None = field(default=None, compare=False)
    error: BackMarketError | None = field(default=None, compare=False)


def run_slice(services: Services, organization_id: str, resource_name: str, market: str = "") -> SliceResult:
    """Sync one resource of one organization, in one market, as far as one slice goes.

    Safe to run twice, at the same time, and to be killed anywhere: the lease decides who writes.

    Args:
        resource_name: such as `orders`.
        market: of listings: a further market of the connection; empty: its locale.

    Raises:
        DatabaseUnavailable: if PostgreSQL is unreachable; the lease runs out, and the dispatcher sends the next nudge.
    """
    resource = resource_in(resource_name, market)
    lease = leases.probe(services.database, organization_id, resource)
    if lease is None:
        return SliceResult("nothing_to_do")
    try:
        credentials = lease.encrypted.decrypt(services.key_cipher, services.settings, locale=market or None)
        walk = lease.walk or new_walk(services.database, resource, lease, overlap=services.settings.watermark_overlap)
        run = walk.started_at.isoformat()
        with bound(run=run):
            return replace(_Sync(services, resource, lease, walk, credentials).run(), run=run)
    except SettingsError as error:  # this worker cannot decrypt the key: another may
        return _give_up(services, lease, error)
    except (LeaseLost, UsageError) as error:  # taken over; disabled, removed or unauthorized since
        log.info("sync.lease_lost", lease=lease.number, why=error.code)
        return SliceResult("lease_lost")


def _give_up(services: Services, lease: Lease, error: BackMarketError) -> SliceResult:
    """End a slice that failed for a reason other than the API."""
    log.error("sync.gave_up", code=error.code, error=error.message)
    try:
        with services.database.transaction() as transaction:
            leases.fail(transaction, lease, error, pause=backoff.of_sync(error, lease.failures))
            connections.mark_error(transaction, lease.organization_id, error)
    except LeaseLost:  # the connection was changed meanwhile: another slice reports its state
        return SliceResult("lease_lost")
    return SliceResult("failed", error=error)


class _Sync:
    def __init__(
        self, services: Services, resource: Resource, lease: Lease, walk: Walk, credentials: Credentials
    ) -> None:
        self.services = services
        self.settings = services.settings
        self.resource = resource
        self.walk = walk
        self.error: BackMarketError | None = None
        self.probed_at = monotonic()
        self.fetcher = Fetcher(
            services.transport,
            services.limiter,
            credentials,
            resource,
            services.request_threads,
            retry_seconds=(self.settings.lease_seconds - self.settings.request_longest) / 2,
            since=walk.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if walk.since else None,
        )
        self.budget = SliceBudget(services, self.fetcher)
        self.storing = Storing(services, resource, lease, walk, lambda: self.fetcher.requests)

    @property
    def lease(self) -> Lease:
        return self.storing.lease

    def run(self) -> SliceResult:
        try:
            end = self._slice()
        except (LeaseLost, UsageError, DatabaseUnavailable):
            raise
        except LimiterUnavailable as error:
            log.warning("sync.limiter_unavailable", error=error.message)
            end = self._hand_on(5.0)
        except BackMarketError as error:
            end = self._fail(error)
        except Exception as error:  # noqa: BLE001 - the row says so and backs off, or it would come back for ever
            log.error("sync.crashed", **error_location(error))
            gave_up = _give_up(self.services, self.lease, Crashed.of(error))
            return replace(gave_up, requests=self.fetcher.requests)
        return SliceResult(end, self.fetcher.requests, error=self.error)

    def _slice(self) -> SliceEnd:
        """A sync of few pages is short, and is always admitted. A long sync needs a place among those of this process,
        or retries a little later. A full walk counts as long before any request, unless it is the very first and there
        is no place: then its first page tells, once.
        """
        nudge = self.lease.nudge
        long = self.walk.kind == "full" or self.walk.began_at is not None
        first = None if long else self._probe_first_page()
        if self.storing.ended:
            return "done"
        if first is not None and first.is_short:
            return self._with_lease(first)
        rejected = self.services.admission.is_waiting(nudge)
        if not self.services.admission.enter(nudge):
            if self._is_new and not rejected:
                first = self._fetch_first_page()
                if first is not None and first.is_short:
                    return self._with_lease(first)
            with self.services.database.transaction() as transaction:
                leases.postpone(transaction, self.lease, pause=random.uniform(*RETRY_WHEN_FULL_SECONDS))  # noqa: S311
            return "handed_on"
        try:
            if long:
                first = self._probe_first_page()
            return "done" if self.storing.ended else self._with_lease(first)
        finally:
            self._make_room()

    def _make_room(self) -> None:
        """Free the place of this long sync, and nudge the sync that has waited longest."""
        waiting = self.services.admission.leave()
        if waiting is None or self.services.stopping.is_set():
            return
        with suppress(DatabaseUnavailable):  # then it retries by itself
            if leases.recall(self.services.database, waiting, within=RETRY_WHEN_FULL_SECONDS[1]):
                self.services.producer.nudge([waiting])

    def _probe_first_page(self) -> Fetched | None:
        """Request the first page of any walk but the very first; if it is the only one and has no news, end here.

        Nearly all slices end here, at the cost of one row write. There is no lease: a second slice at the same time
        sends one request too many, and only one of them writes.
        """
        if self.walk.began_at is not None or self.lease.watermark is None:
            return None
        first = self._fetch_first_page()
        if first is not None and first.page is not None and first.is_only and not first.page.rejected:
            self.storing.end_if_quiet(first.page, partial(self._receive, first))
        return first

    def _fetch_first_page(self) -> Fetched | None:
        try:
            return self.fetcher.first(1)
        except LimiterUnavailable:
            return None  # handed on like any slice

    @property
    def _is_new(self) -> bool:
        """Whether this is the very first slice of the very first walk."""
        return self.walk.began_at is None and self.lease.watermark is None

    def _with_lease(self, first: Fetched | None) -> SliceEnd:
        """Claim the lease, and continue with the first page, if it was fetched."""
        claimed = leases.claim(
            self.services.database,
            self.lease,
            owner=queue.owner_name(self.settings.process_name),
            seconds=self.settings.lease_seconds,
        )
        if claimed is None:
            raise LeaseLost
        self.storing.lease = claimed
        if first is not None and self.walk.began_at is None:
            self._receive(first)
        return self._walk()

    def _receive(self, first: Fetched) -> None:
        self.walk.next_pages(1)
        self._accept(first)

    def _walk(self) -> SliceEnd:
        with self.budget.paused():
            self.storing.resume()
        while not self.walk.complete:
            pause = self.budget.must_end()
            if pause is not None:
                return self._hand_on(pause)
            # after the first page, the next ones are requested before it is stored
            more = self.walk.page_size == 0 and not self.walk.rechecking
            for fetched in self._fetch():
                self._accept(fetched)
            self.storing.renew_if_old()
            full = self.walk.ready >= BATCH_PAGES
            if full:
                self._fill()  # while these pages are stored, the next ones are fetched
            if full and self.walk.goes_on and self._has_room():
                self.storing.store_behind()
            elif (full or (self.walk.ready and not self.fetcher.unfinished and not more)) and self.storing.store():
                return "done"
        return self._end()

    def _has_room(self) -> bool:
        """Whether this first walk may use two connections at once: if each long sync does, half of them stay free."""
        taken_by_all = 2 * self.services.admission.running
        return self.lease.watermark is None and taken_by_all <= self.settings.database_pool_size / 2

    def _fetch(self) -> Iterable[Fetched]:
        if not self.walk.page_size and not self.fetcher.unfinished:
            for number in self.walk.next_pages(1):
                fetched = self.fetcher.first(number)
                if fetched is not None:
                    return [fetched]
                self.walk.failed(number)
        else:
            self._fill()
        pages = self.fetcher.collect(MAX_LIMITER_WAIT_SECONDS)
        if not pages and not self.fetcher.in_flight and (self.fetcher.unfinished or not self.walk.ready):
            sleep(min(max(self.fetcher.idle_for(), 0.01), MAX_LIMITER_WAIT_SECONDS))
        return pages

    def _fill(self) -> None:
        window = self.services.request_threads.share(self.services.admission.running)
        ahead = PREFETCH_WINDOWS * window - self.walk.outstanding
        self.fetcher.fill(lambda room: self.walk.next_pages(min(room, ahead)), window)

    def _accept(self, fetched: Fetched) -> None:
        if fetched.page is not None:
            if self.walk.ends_early(fetched.number, fetched.page) and self.fetcher.ask_again(fetched.number):
                return
            self.walk.received(fetched.number, fetched.page, self._answered_at(fetched))
        elif fetched.error is not None and not self.fetcher.try_later(fetched):
            raise fetched.error

    def _answered_at(self, fetched: Fetched) -> datetime:
        """When the API answered, by its clock; when it was asked, by ours, if its header is missing or ahead.

        No watermark may be too late: this process may have been stopped before it read the answer. Our clock is
        PostgreSQL's, plus the time since it was read, as this machine's may be set at any moment.
        """
        ours = self.lease.taken_at + timedelta(seconds=fetched.sent_at - self.probed_at)
        theirs = fetched.answer.date if fetched.answer else None
        return min(theirs, ours) if theirs else ours

    def _end(self) -> SliceEnd:
        """The walk is over: request the rows that it did not show, and finish."""
        pause = MissingRows(self.resource, self.fetcher, self.storing).look(self.budget)
        return "done" if pause is None else self._hand_on(pause)

    def _hand_on(self, pause: float) -> SliceEnd:
        """Store the fetched pages, and let the next slice continue after `pause` seconds; fail, if only errors come."""
        self._drain()
        failed = None if self.storing.progressed else self.fetcher.failed
        lasting = refusals.lasting(failed, self.lease) if failed and not self.storing.left else None
        if lasting is not None:
            return self._fail(lasting)
        self.storing.hand_on(pause, failed=failed is not None)
        if pause == 0.0:
            self.services.producer.nudge([self.lease.nudge])
        return "handed_on"

    def _fail(self, error: BackMarketError) -> SliceEnd:
        """Store the fetched pages, note the error, and back off."""
        self._drain()
        error = refusals.classify(error, self.resource, self.lease, self.walk)
        log.warning(
            "sync.failed", code=error.code, status=error.status, request_id=error.request_id, cf_ray=error.cf_ray
        )
        lease = self.lease
        self.storing.fail(error, pause=backoff.of_sync(error, lease.failures, failing_for=lease.failing_for))
        self.error = error
        return "failed"

    def _drain(self) -> None:
        """Wait for the requests in flight: their slots are spent."""
        self.fetcher.drop_retries()
        while self.fetcher.in_flight:
            for fetched in self.fetcher.collect(MAX_LIMITER_WAIT_SECONDS):
                if fetched.page is not None:
                    self._accept(fetched)
            self.storing.renew_if_old()
