"""What a slice writes: rows that differ, checkpoints, and the result; each transaction checks the lease.

`upsert.py` stores rows, `removed_rows.py` says which are gone, `checkpoints.py` and `leases.py` write the rest.
Nothing here sends requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any

from backmarket import connections
from backmarket.database import DatabaseError, Transaction
from backmarket.errors import BackMarketError, IncompleteWalk, NotAvailable, Unauthorized
from backmarket.observability import telemetry
from backmarket.observability.logs import Logger
from backmarket.resources import Page, Resource, Row
from backmarket.services import Services
from backmarket.sync import checkpoints, leases, removed_rows, seen_ids
from backmarket.sync.checkpoints import Progress
from backmarket.sync.label_register import InitialLabelState, requeue_skipped
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk
from backmarket.sync.removed_rows import Missing
from backmarket.sync.upsert import Compared, compare, stage, write
from backmarket.sync.write_behind import WriteBehind

CHECKPOINT_SECONDS = 5.0
"""Seconds between the checkpoints of a walk that finds nothing to write."""

log = Logger(__name__)


class Storing:
    """Stores what one slice's walk brings.

    Args:
        lease: checked by each write; the slice may claim a newer one.
        walk: tells which pages can be written, and when it is over.
        requests: number sent by this slice so far.
    """

    def __init__(
        self, services: Services, resource: Resource, lease: Lease, walk: Walk, requests: Callable[[], int]
    ) -> None:
        self.lease = lease
        self.ended = False
        """The walk is over, and stored as such."""
        self._database = services.database
        self._settings = services.settings
        self._resource = resource
        self._walk = walk
        self._requests = requests
        self._counted = 0
        self._progress = Progress()
        self._since = self._from = (walk.pass_, walk.next_page)
        self._labels: InitialLabelState = "wanted" if lease.labels else "skipped"
        self._saved_at = self._renewed_at = monotonic()
        self._settled = False
        """A row that the walk did not show was stored."""
        self.left = False
        """A row that the walk did not show was left as it is, for good."""
        self._behind = WriteBehind(services.request_threads)
        self._found: Missing | None = None
        """What `store` found when the walk was over, and `end` asks for next."""
        self._undone = False
        """A transaction failed with pages that the walk had handed out: no checkpoint may be beyond them."""

    def end_if_quiet(self, page: Page, receive: Callable[[], None]) -> None:
        """End the walk with its only page, if that has no news. It needs no lease: this is one write.

        Args:
            page: the first one.
            receive: hands it to the walk.
        """
        with self._transaction() as transaction:
            compared = self._compare_rows(transaction, page.rows)
            if compared.differing or compared.unchanged < (page.count or 0):
                return
            receive()
            self._progress.written.unchanged += compared.unchanged
            self._walk.pop_ready()
            self._settle(transaction)
            found = self._missing(transaction)
            if self._walk.complete and not found.keys:
                self._finish(transaction, found)

    def resume(self) -> None:
        """Let a walk that was handed on just before its end decide whether it is over.

        Raises:
            IncompleteWalk: if the list ended before the walk saw all of it.
        """
        if not self._walk.saves:
            return
        with self._database.transaction() as transaction:
            leases.hold(transaction, self.lease)
            incomplete = self._settle(transaction)
            self._renew(transaction)
        if incomplete is not None:
            raise incomplete
        self._since = self._from = (self._walk.pass_, self._walk.next_page)

    def store_behind(self) -> None:
        """Write the pages that can be written in another thread. The walk must go on: see `Walk.goes_on`.

        PostgreSQL takes in the rows of a batch, which needs no lease, while it still writes the batch before. Batches
        are written one after the other: when the walk hands out the pages of one, the batch before is committed.

        Raises:
            BackMarketError: if the batch before could not be written.
        """
        with ExitStack() as undo:
            transaction = undo.enter_context(self._transaction())
            rows = [row for page in self._walk.ready_pages() for row in page.rows]
            staged = stage(transaction, self._resource, self._compare_rows(transaction, rows))
            self._behind.join()
            write = partial(self._write_batch, undo.pop_all(), transaction, self._walk.pop_ready(), staged)
        self._behind.start(write)

    def _write_batch(
        self, end: AbstractContextManager[object], transaction: Transaction, pages: list[Page], staged: list[Row]
    ) -> None:
        with end:
            leases.hold(transaction, self.lease)
            compared = self._compare(transaction, pages)
            self._write(transaction, compared, staged)
            if compared.differing or not self._saved_lately():
                self._renew(transaction)
                self._checkpoint(transaction)

    def store(self) -> bool:
        """Write the pages that can be written; with the last ones, end the walk. Returns whether it ended.

        Pages without news cost no write, apart from a checkpoint now and then.

        Raises:
            IncompleteWalk: if the list ended before the walk saw all of it; its rows are written.
        """
        self._behind.join()
        with self._transaction() as transaction:
            leases.hold(transaction, self.lease)
            compared = self._compare(transaction, self._walk.pop_ready())
            incomplete = self._settle(transaction)
            self._write(transaction, compared)
            goes_on = not self._walk.complete and incomplete is None and self._walk.pass_ == self._since[0]
            if goes_on and not compared.differing and self._saved_lately():
                return False
            if self._walk.complete:
                self._found = self._missing(transaction)
                if not self._found.keys:
                    self._finish(transaction, self._found)
                    return True
            self._renew(transaction)
            self._checkpoint(transaction)
        if incomplete is not None:
            raise incomplete
        return False

    def end(self, *, besides: Collection[Any] = ()) -> Missing:
        """End a walk that is over, unless it did not show all rows that are stored.

        Args:
            besides: keys of rows that stay as they are.

        Returns:
            The rows that it did not show, to be requested one by one; no keys: it has ended.
        """
        with self._transaction() as transaction:
            leases.hold(transaction, self.lease)
            found, self._found = self._found or self._missing(transaction, besides), None
            if not found.keys:
                self._finish(transaction, found, unanswered=len(besides))
            else:
                self._renew(transaction)
            return found

    def settle_missing(self, key: Any, row: Row | None) -> None:
        """Store the state of a row that the walk did not show.

        Args:
            key: of the row.
            row: as the API shows it; None: it is gone.
        """
        with self._transaction() as transaction:
            leases.hold(transaction, self.lease)
            if row is not None:
                self._write(transaction, self._compare_rows(transaction, [row]))
            else:
                self._progress.removed += removed_rows.mark_removed(
                    transaction, self._resource, self.lease.organization_id, key
                )
            self._walk.confirm(str(key))
            self._settled = True
            self._renew(transaction)
            self._checkpoint(transaction)

    def leave(self, key: Any) -> None:
        """Leave a row that the walk did not show as it is until the next full walk.

        Args:
            key: of the row.
        """
        with self._transaction() as transaction:
            leases.hold(transaction, self.lease)
            self._checkpoint(transaction)
            seen_ids.leave(transaction, self.lease, self._walk, str(key))
        self.left = True

    def renew_if_old(self) -> None:
        """Renew the lease after a quarter of its time without a batch, which renews it, too: the API may not answer.

        Raises:
            LeaseLost: if another worker took over, or the connection was changed, disabled or removed.
        """
        if not self._behind.running and monotonic() - self._renewed_at > self._settings.lease_seconds / 4:
            with self._database.transaction() as transaction:
                self._renew(transaction)

    @property
    def progressed(self) -> bool:
        """Whether this slice has stored anything, or is about to."""
        return self._settled or self._walk.ready > 0 or (self._walk.pass_, self._walk.next_page) != self._from

    def hand_on(self, pause: float, *, failed: bool = False) -> None:
        """Store the fetched pages, and let the next slice continue after `pause` seconds.

        Args:
            pause: seconds.
            failed: a request of this slice failed.
        """
        self._behind.join()
        progressed = self.progressed
        with self._database.transaction() as transaction:
            self._store_what_came(transaction)
            leases.hand_on(transaction, self.lease, pause=pause, progressed=progressed, failed=failed)

    def fail(self, error: BackMarketError, *, pause: float) -> None:
        """Store the fetched pages, and note why the walk failed.

        Args:
            pause: seconds until the retry.
        """
        with suppress(DatabaseError):  # what was undone comes again
            self._behind.join()
        with self._database.transaction() as transaction:
            self._store_what_came(transaction)
            checkpoints.close(transaction, self.lease, self._walk, self._progress, error, failed=True)
            leases.fail(transaction, self.lease, error, pause=pause)
            if isinstance(error, Unauthorized):
                connections.mark_unauthorized(transaction, self.lease.organization_id, self.lease.generation, error)
            elif not isinstance(error, NotAvailable):
                connections.mark_error(transaction, self.lease.organization_id, error)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        try:
            with self._database.transaction() as transaction:
                yield transaction
        except BaseException:
            self._undone = True
            raise

    def _store_what_came(self, transaction: Transaction) -> None:
        leases.hold(transaction, self.lease)
        if self._undone:
            return
        self._write(transaction, self._compare(transaction, self._walk.pop_ready()))
        if self._walk.began_at is not None:
            self._checkpoint(transaction)

    def _saved_lately(self) -> bool:
        return monotonic() - self._saved_at < CHECKPOINT_SECONDS

    def _settle(self, transaction: Transaction) -> IncompleteWalk | None:
        """Let the walk decide whether it is over; returns its error, to be raised once the rows are committed."""
        try:
            self._walk.finish_pass(partial(seen_ids.count, transaction, self.lease, self._walk))
        except IncompleteWalk as error:
            return error
        return None

    def _compare(self, transaction: Transaction, pages: list[Page]) -> Compared:
        self._progress.rejected += sum(page.rejected for page in pages)
        return self._compare_rows(transaction, [row for page in pages for row in page.rows])

    def _compare_rows(self, transaction: Transaction, rows: list[Row]) -> Compared:
        return compare(transaction, self._resource, self.lease.organization_id, rows, asked_at=self.lease.taken_at)

    def _renew(self, transaction: Transaction) -> None:
        leases.renew(transaction, self.lease, seconds=self._settings.lease_seconds)
        self._renewed_at = monotonic()

    def _write(self, transaction: Transaction, compared: Compared, staged: Sequence[Row] = ()) -> None:
        name = self._resource.name
        with telemetry.span("store", resource=name, rows=len(compared.differing)):
            where = (transaction, self._resource, self.lease.organization_id)
            initial = not self.lease.worked
            written = write(*where, compared, labels=self._labels, initial=initial, staged=staged)
        for outcome in ("created", "updated", "rejected"):
            telemetry.emit("rows", resource=name, outcome=outcome, count=getattr(written, outcome))
        self._progress.written += written
        self._progress.rejected += written.rejected

    def _checkpoint(self, transaction: Transaction) -> None:
        self._count_requests()
        checkpoints.save(transaction, self.lease, self._walk, self._progress, since=self._since)
        self._since = (self._walk.pass_, self._walk.next_page)
        self._progress = Progress()
        self._saved_at = monotonic()

    def _missing(self, transaction: Transaction, besides: Collection[Any] = ()) -> Missing:
        if self._walk.kind == "incremental":
            return Missing()
        of = (transaction, self._resource, self.lease.organization_id, self._walk)
        limit = max(1, self._settings.task_budget_pages // 4)
        return removed_rows.find(
            *of, accept_many=self.lease.accept_missing, besides=besides, limit=limit, order=self.lease.number
        )

    def _finish(self, transaction: Transaction, found: Missing, *, unanswered: int = 0) -> None:
        self._count_requests()
        left = seen_ids.left(transaction, self.lease, self._walk) if self._walk.saves else 0
        run = checkpoints.close(transaction, self.lease, self._walk, self._progress, found.alarm)
        if found.alarm is not None:
            log.error("sync.many_missing", error=found.alarm.message)
        if run.rejected:
            log.error("sync.rows_rejected", rows=run.rejected)
        leases.finish(
            transaction,
            self.lease,
            self._walk,
            incremental=bool(self._resource.since),
            overlap=self._settings.watermark_overlap,
            quiet=run.quiet,
            missing=found.count or left + unanswered,
            rejected=run.rejected,
        )
        if self._resource.label and self.lease.labels:
            requeue_skipped(transaction, self._resource, self.lease.organization_id)
        if self.lease.has_error:  # an error noted since by another sync is cleared by that sync
            connections.clear_error(transaction, self.lease.organization_id)
        self.ended = True

    def _count_requests(self) -> None:
        self._progress.requests += self._requests() - self._counted
        self._counted = self._requests()
