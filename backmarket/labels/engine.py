"""A slice: fetch the due labels of one organization, several at once, for as long as one task may take.

Safe to run twice and to be killed anywhere: only the holder of the organization's lease writes, an object is put before
its row is written, and a label whose row was not written is fetched again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from time import monotonic

from backmarket import work
from backmarket.bucket.keys import LABELS
from backmarket.client import Origins
from backmarket.errors import (
    BackMarketError,
    BucketRefused,
    BucketUnavailable,
    LeaseLost,
    LimiterUnavailable,
    RateLimited,
    SettingsError,
)
from backmarket.labels.download import AtHand, DownloadResult, LabelUploader, Wanted
from backmarket.labels.retry_policy import PauseAll, retry_decision
from backmarket.labels.rows import due, mend, next_due, write_down
from backmarket.limits import Slot
from backmarket.messages import Nudge
from backmarket.observability.logs import Logger
from backmarket.services import Services
from backmarket.work import WorkLease
from backmarket.work.slice import LeaseHolder, Ready, RequestWindow, SliceEnd, take_lease

READ_AHEAD_LABELS = 64
"""Due labels read ahead by one query."""

BATCH_LABELS = 16
"""Maximum number of labels whose rows are written in one transaction."""

BATCH_SECONDS = 0.5
"""Seconds that a fetched label waits for others to be written with it."""

WITHOUT_BUCKET_SECONDS = 3600.0
"""Seconds until an organization's labels are looked at again where there is no S3 server."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What a slice did.

    Attributes:
        end: how it ended.
        stored: labels put into the bucket.
        failed: labels that could not be fetched.
        pause: seconds until the next slice, if it was handed on.
        error: why all labels of the organization pause, if they do.
    """

    end: SliceEnd
    stored: int = 0
    failed: int = 0
    pause: float = 0.0
    error: BackMarketError | None = field(default=None, compare=False)


def run_slice(services: Services, organization_id: str, at_hand: AtHand | None = None) -> SliceResult:
    """Fetch the due labels of one organization, as far as one slice goes.

    Args:
        at_hand: returns the PDF of a label that need not be fetched; None: none is there.

    Raises:
        DatabaseUnavailable: if PostgreSQL is unreachable; the lease runs out, and another slice begins.
    """
    lease = take_lease(services, organization_id, "labels")
    if lease is None:
        return SliceResult("nothing_to_do")
    if not services.settings.has_bucket:
        _say_that_labels_wait()
        return _pause_all(services, lease, WITHOUT_BUCKET_SECONDS)
    try:
        uploader = _uploader(services, lease, at_hand)
        if not _bucket_is_there(services):
            return _pause_all(services, lease, services.bucket_breaker.wait())
    except (SettingsError, BucketUnavailable) as error:
        pause = _pause_after(services, error)
        if services.bucket_breaker.should_log():
            log.error("labels.paused", code=error.code, error=error.message, seconds=round(pause))
        return _pause_all(services, lease, pause, error)
    try:
        return _Labels(services, lease, uploader).run()
    except LeaseLost as error:
        log.info("labels.lease_lost", lease=lease.number, why=error.code)
        return SliceResult("lease_lost")


@cache
def _say_that_labels_wait() -> None:
    """Once in a process."""
    log.info("labels.no_bucket", advice="Labels wait until BACKMARKET_S3_ENDPOINT_URL is set.")


def _uploader(services: Services, lease: WorkLease, at_hand: AtHand | None) -> LabelUploader:
    """The uploader for the labels of the organization."""
    settings = services.settings
    credentials = lease.encrypted.decrypt(services.key_cipher, settings)
    return LabelUploader(
        lease.organization_id,
        credentials,
        services.downloads,
        services.bucket,
        services.limiter,
        Origins.of_labels(settings),
        settings.label_max_bytes,
        at_hand,
    )


def _bucket_is_there(services: Services) -> bool:
    """Whether labels can be stored; otherwise none is fetched. An S3 server that was unreachable is probed first, by
    one slice for all that wait.

    Raises:
        BucketUnavailable: if the probe found it unreachable.
    """
    breaker = services.bucket_breaker
    if breaker.is_open:
        if not breaker.allow_probe():
            return False
        with suppress(BucketRefused):  # it answers: its refusals are errors of single labels
            services.bucket.list(LABELS, limit=1)
        breaker.record_success()
    return True


def _pause_all(services: Services, lease: WorkLease, pause: float, error: BackMarketError | None = None) -> SliceResult:
    """Nothing can be fetched now: end the slice, and retry later."""
    try:
        _finish(services, lease, (), pause)
    except LeaseLost:
        return SliceResult("lease_lost")
    return SliceResult("handed_on", pause=pause, error=error)


def _pause_after(services: Services, error: BackMarketError) -> float:
    """Seconds that all labels of an organization pause after an error that concerns them all."""
    if isinstance(error, BucketUnavailable):
        return services.bucket_breaker.record_failure()
    decision = retry_decision(error)
    return (decision.seconds or 0.0) if isinstance(decision, PauseAll) else 0.0


def _finish(services: Services, lease: WorkLease, results: Sequence[DownloadResult], pause: float | None) -> int:
    """Write the results, and release the lease.

    Args:
        results: those not yet written.
        pause: seconds until the next slice; None: when the next label is due.

    Returns:
        As `write_down`.
    """
    with services.database.transaction() as transaction:
        left = write_down(
            transaction, lease.organization_id, results, give_up_days=services.settings.label_give_up_days
        )
        work.hold(transaction, lease)
        at = next_due(transaction, lease.organization_id)
        if pause and at is not None:
            row = transaction.execute("SELECT now() + make_interval(secs => %s)", (pause,)).fetchone()
            at = row[0] if row else at
        work.finish(transaction, lease, at)
    return left


class _Labels(LeaseHolder):
    def __init__(self, services: Services, lease: WorkLease, uploader: LabelUploader) -> None:
        super().__init__(services, lease)
        self.uploader = uploader
        self.window: RequestWindow[Wanted, DownloadResult] = RequestWindow(
            services,
            uploader.credentials.account,
            size=self.settings.label_window,
            needs_slot=uploader.needs_slot,
            halt=self._halt,
        )
        self.busy: set[tuple[str, int]] = set()
        """Labels queued, in flight, or fetched and not yet written: the table still has them as due."""
        self.exhausted = False
        """The table has no further due label."""
        self.results: list[DownloadResult] = []
        self.answered: list[Slot] = []
        self.unsent: list[Slot] = []
        self.stored = 0
        self.failed = 0
        self.error: BackMarketError | None = None

    def run(self) -> SliceResult:
        """The whole slice.

        Raises:
            LeaseLost: if another worker took over; objects put into the bucket since then are harmless.
        """
        try:
            return self._run()
        except LeaseLost:
            self._drain()
            again = mend(self.services.database, self.organization_id, self.results)
            log.info("labels.mended", again=again)
            raise
        finally:
            self._drain()
            self._report_slots()

    def _run(self) -> SliceResult:
        pause = self._work()
        self._drain(renew=True)
        rest = self.window.pause_all
        if rest is not None:
            pause = rest
        left = _finish(self.services, self.lease, self.results, pause)
        self.results = []
        if left and pause is None:  # a label's URL changed meanwhile
            pause = 0.0
        if pause == 0.0 and rest is None:
            self.services.producer.nudge([Nudge("labels", self.organization_id)])
        end: SliceEnd = "done" if pause is None else "handed_on"
        return SliceResult(end, self.stored, self.failed, pause or 0.0, self.error)

    def _work(self) -> float | None:
        """Fetch until nothing is left (None), or the slice must end (returns the pause before the next one)."""
        while True:
            pause = self.window.must_end()
            if pause is not None:
                return pause
            self.window.start(self._begin)
            self._load()  # slow, like what follows; requests are in flight meanwhile
            self._write()
            if self.window.over:
                return None
            self._collect()

    def _load(self) -> None:
        """Read the next due labels before the queue is empty."""
        if self.exhausted or not self.window.wants_more:
            return
        limit = READ_AHEAD_LABELS + len(self.busy)
        found = due(self.services.database, self.organization_id, limit)
        fresh = [label for label in found if label.key not in self.busy]
        self.window.queue.extend(fresh)
        self.busy.update(label.key for label in fresh)
        self.exhausted = len(found) < limit

    def _begin(self, ready: Ready[Wanted]) -> list[Callable[[], DownloadResult]]:
        return [partial(self.uploader.upload, label, slot) for label, slot in ready]

    def _collect(self) -> None:
        results = self.window.collect()
        for each in results:
            self._note(each)
        self.results += results

    def _report_slots(self) -> None:
        """Tell the limiter which requests were answered, and which never sent; a delay holds their slots longer."""
        answered, unsent = self.answered, self.unsent
        self.answered, self.unsent = [], []
        if answered:
            self.services.limiter.complete(answered)
        if unsent:
            self.services.limiter.release(unsent)

    def _note(self, result: DownloadResult) -> None:
        self.answered += result.slots.answered
        self.unsent += result.slots.unsent
        if result.error is None:
            self.stored += 1
            self.services.bucket_breaker.record_success()
            return
        self.failed += 1
        if isinstance(result.error, RateLimited):
            if result.error.status is not None:  # from the API; else from the limiter
                self.services.limiter.block(self.uploader.credentials.account, result.error.retry_after)
            self.window.pause_all_for(result.error.retry_after or self.settings.rate_window)
        elif isinstance(retry_decision(result.error), PauseAll):
            self._halt(result.error)

    def _halt(self, error: BackMarketError) -> None:
        """Pause all labels of the organization; requests in flight are still collected."""
        if self.window.pause_all is None:
            log.warning("labels.paused", code=error.code, error=error.message, cf_ray=error.cf_ray)
        if not isinstance(error, LimiterUnavailable):  # handed on, as a sync is
            self.error = error
        self.window.pause_all_for(_pause_after(self.services, error))

    def _write(self) -> None:
        """Write the results, once there are enough or they have waited; and renew the lease.

        Raises:
            LeaseLost: if another worker took over; nothing was written.
        """
        waits = len(self.results) < BATCH_LABELS and monotonic() - self.held_at < BATCH_SECONDS
        if not self.needs_renewal and (not self.results or waits):
            return
        self._report_slots()
        with self.services.database.transaction() as transaction:
            left = write_down(
                transaction,
                self.organization_id,
                self.results,
                give_up_days=self.settings.label_give_up_days,
            )
            work.hold(transaction, self.lease, seconds=self.settings.lease_seconds)
        self.exhausted = self.exhausted and not left
        self.busy.difference_update(each.label.key for each in self.results)
        self.results = []
        self.held_at = monotonic()

    def _drain(self, *, renew: bool = False) -> None:
        """Wait for the requests in flight: their slots are spent."""
        while self.window.in_flight:
            self._collect()
            if renew:
                self._write()
