"""A slice: the worker sends one organization's due writes, several at once, and reads back those of unknown outcome.

Safe to run twice and to be killed anywhere. A row says `sending` before its request leaves. A worker that finds such a
row after the request's deadline asks the API whether the write happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from backmarket import work
from backmarket.database import Database, Transaction
from backmarket.errors import (
    BackMarketError,
    Crashed,
    DatabaseUnavailable,
    LeaseLost,
    LimiterUnavailable,
    SettingsError,
)
from backmarket.messages import Nudge
from backmarket.observability.logs import Logger, error_location
from backmarket.services import Services
from backmarket.work import WorkLease
from backmarket.work.contested import set_since
from backmarket.work.send_deadline import Stopwatch
from backmarket.work.slice import LeaseHolder, Ready, RequestWindow, SliceEnd, take_lease
from backmarket.writes import rows
from backmarket.writes.engine.mark_sending import Noted, note_sending, prior_in
from backmarket.writes.engine.outcomes import after_reading, after_sending
from backmarket.writes.engine.results import Result, write_down
from backmarket.writes.engine.retry_policy import pause_all_after, transition_after_loading, transition_before_sending
from backmarket.writes.engine.sender import Loaded, Read, Sent, WriteSender, crashed
from backmarket.writes.engine.steps import Step, StepResult, do, market_of, next_step
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.targets import stored_object

READ_AHEAD_WRITES = 64
"""Due writes that one query reads ahead: the cost of finding each lane's first one grows with all open writes."""

CRASH_SECONDS = 60.0
"""Seconds that an organization's writes pause after an internal error; writes in flight are read back."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The result of a slice.

    Attributes:
        end: how it ended.
        succeeded: number of writes known to have happened.
        refused: number of writes that ended without an effect.
        unknown: number of writes that may have happened; a worker reads them back, or a person decides.
        requests: number of requests sent to the API, without the reads that follow a write at once.
        error: why all writes of the organization pause, if they do.
    """

    end: SliceEnd
    succeeded: int = 0
    refused: int = 0
    unknown: int = 0
    requests: int = 0
    error: BackMarketError | None = field(default=None, compare=False)


def run_slice(services: Services, organization_id: str) -> SliceResult:
    """Send the due writes of one organization, for as long as one slice may take.

    Raises:
        DatabaseUnavailable: if PostgreSQL is away; the lease expires, and another slice begins.
    """
    lease = take_lease(services, organization_id, "writes")
    if lease is None:
        return SliceResult("nothing_to_do")
    try:
        credentials = lease.encrypted.decrypt(services.key_cipher, services.settings)
        markets = lease.encrypted.markets
        sender = WriteSender(services.transport, services.limiter, credentials, lambda: services.bucket, markets)
        return _Writes(services, lease, sender).run()
    except SettingsError as error:  # this worker cannot decrypt the key; another may
        log.error("writes.paused", code=error.code, error=error.message)
        return _give_up(services, lease, pause_all_after(error), error)
    except LeaseLost as error:
        log.info("writes.lease_lost", lease=lease.number, why=error.code)
        return SliceResult("lease_lost")
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the row says when the next worker looks
        log.error("writes.crashed", **error_location(error))
        return _give_up(services, lease, CRASH_SECONDS, Crashed.of(error))


def send_now(database: Database, organization_id: str) -> None:
    """Make writes that wait for a retry due at once; writes to be read back keep their time."""
    with database.transaction() as transaction:
        work.make_due(transaction, organization_id, "writes")  # first: the sending worker locks in this order
        rows.ask_now(transaction, organization_id)


def _give_up(services: Services, lease: WorkLease, pause: float | None, error: BackMarketError) -> SliceResult:
    try:
        with services.database.transaction() as transaction:
            _finish(transaction, lease, pause)
    except LeaseLost:
        return SliceResult("lease_lost")
    return SliceResult("handed_on", error=error)


def _finish(transaction: Transaction, lease: WorkLease, pause: float | None) -> None:
    """Release the lease.

    Args:
        pause: minimum seconds until the next slice; None: as soon as a write is due.
    """
    work.hold(transaction, lease)
    work.finish(transaction, lease, rows.next_due(transaction, lease.organization_id, after=pause or 0.0))


class _Writes(LeaseHolder):
    def __init__(self, services: Services, lease: WorkLease, sender: WriteSender) -> None:
        super().__init__(services, lease)
        self.sender = sender
        self.account = sender.credentials.account
        self.locale = sender.credentials.locale
        """The locale in which rows are fetched."""
        self.window: RequestWindow[Step, StepResult] = RequestWindow(
            services,
            self.account,
            size=self.settings.write_window,
            needs_slot=lambda step: step.asks,
            halt=self._halt,
            urgent=f"writes/{self.organization_id}",  # before the syncs; denied slots are kept for this organization
        )
        """A write is in this window's queue, in flight, or not loaded yet."""
        self.lanes: set[str] = set()
        """Lanes with a write in the queue or in flight."""
        self.unstored: set[int] = set()
        """Writes whose listing is not stored as their market shows it."""
        self.counts = dict.fromkeys(WriteState, 0)
        self.requests = 0
        self.error: BackMarketError | None = None

    def run(self) -> SliceResult:
        """Run the whole slice.

        Raises:
            LeaseLost: if another worker took over; it reads back what is in flight.
        """
        pause = self._work()
        self._drain()
        rest = self.window.pause_all
        with self.services.database.transaction() as transaction:
            _finish(transaction, self.lease, rest if rest is not None else pause)
        if pause == 0.0 and rest is None:
            self.services.producer.nudge([Nudge("writes", self.organization_id)])
        counts = self.counts
        return SliceResult(
            "done" if pause is None else "handed_on",
            counts[WriteState.SUCCEEDED],
            counts[WriteState.REFUSED],
            counts[WriteState.UNKNOWN],
            self.requests,
            self.error,
        )

    def _work(self) -> float | None:
        """Work until nothing is due (returns None) or the slice must end (returns the pause before the next one)."""
        while True:
            pause = self.window.must_end()
            if pause is not None:
                return pause
            self._look()
            if self.window.over:
                return None
            self.window.start(self._begin)
            self._collect()
            self.renew_if_old()

    def _look(self) -> None:
        """Load more due writes, of lanes not in hand, before the queue runs empty."""
        if not self.window.wants_more:
            return
        with self.services.database.transaction() as transaction:
            due = rows.due(transaction, self.organization_id, besides=self.lanes, limit=READ_AHEAD_WRITES)
            for write in due:
                market = market_of(write, self.lease.encrypted)
                if market and stored_object(transaction, write, market) is None:
                    self.unstored.add(write.id)
        for write in due:
            self.lanes.add(write.lane)
            self._plan(write)

    def _plan(self, write: Write, content: bytes | None = None) -> None:
        """Decide the next step of a due write."""
        try:
            sends_id, unstored = self.settings.order_update_sends_id, write.id in self.unstored
            step = next_step(write, content, self.lease, sends_id=sends_id, unstored=unstored)
        except Exception as error:  # noqa: BLE001 - the row is unreadable; nothing was sent
            step = Transition(WriteState.REFUSED, error=crashed(write, error))
        if isinstance(step, Transition):
            self._settle(Result(write, step))
        else:
            self.window.queue.append(step)

    def _begin(self, ready: Ready[Step]) -> list[Callable[[], StepResult]]:
        """Mark the writes as `sending`, and return the jobs for the threads.

        Raises:
            LeaseLost: if another worker took over; nothing was sent.
        """
        began = Stopwatch()
        sends = [step.write for step, slot in ready if step.action == "send" and slot is not None]
        try:
            noted = self._note_sending(sends) if sends else Noted({}, [])
        except BaseException:
            self.services.limiter.release([slot for _, slot in ready if slot is not None])
            raise
        jobs: list[Callable[[], StepResult]] = []
        for step, slot in ready:
            write = step.write
            if step.action == "send" and write.id in noted.refused:
                self.services.limiter.release([slot] if slot else [])
                self.lanes.discard(write.lane)
                continue
            jobs.append(partial(do, self.sender, step, slot, began, noted.lines.get(write.id)))
        self.requests += sum(1 for step, _ in ready if step.asks) - len(noted.refused)
        return jobs

    def _note_sending(self, writes: list[Write]) -> Noted:
        settings = self.settings
        return self.write(partial(note_sending, writes=writes, encrypted=self.lease.encrypted, settings=settings))

    def _collect(self) -> None:
        for each in self.window.collect():
            self._take(each)

    def _take(self, result: StepResult) -> None:
        write, outcome = result.step.write, result.outcome
        match outcome:
            case Sent():
                self._settle(after_sending(write, outcome, result.line, locale=self.locale))
            case Loaded(content=bytes(content)):
                self._plan(write, content)
            case Loaded(error=BackMarketError() as error):
                self._settle(Result(write, transition_after_loading(write, error), cause=error))
            case Read() if result.step.action == "ask":
                self._take_prior(write, outcome)
            case Read():
                self._settle(after_reading(self._comparable(write, outcome), outcome, locale=self.locale))

    def _comparable(self, write: Write, read: Read) -> Write:
        """The write; without its prior values, if a bulk part set the same listing since: they would prove nothing."""
        if write.kind != "update_listing" or read.seen is None:
            return write
        skus = [str(read.seen.get("sku") or "")]
        with self.services.database.transaction() as transaction:
            contested = set_since(
                transaction, write.organization_id, skus, write.sent_at, write=write.id, locale=write.locale
            )
        return replace(write, prior=None) if contested else write

    def _take_prior(self, write: Write, read: Read) -> None:
        """Store the values from before a write, then plan to send it; on an error, settle it."""
        if read.error is not None:
            transition = replace(transition_before_sending(write, read.error), unsent=False)
            self._settle(Result(write, transition, cause=read.error))
            return
        prior = prior_in(write, read.seen or {}) or {}
        self.write(partial(rows.note_prior, write=write, prior=prior))
        self._plan(replace(write, prior=prior))

    def _settle(self, result: Result) -> None:
        """Store the outcome of a write, and free its lane.

        Raises:
            LeaseLost: if another worker took over; nothing was stored.
        """
        write, transition = result.write, result.transition
        try:
            self._write_down(result)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except BackMarketError as error:  # from the row: the write's outcome matters more, and a sync brings the row
            log.error("writes.row_not_stored", write=write.id, code=error.code, error=error.message)
            self._write_down(replace(result, shown=()))
        self.held_at = monotonic()
        self.lanes.discard(write.lane)
        self.counts[transition.state] += 1
        log.info("writes.settled", write=write.id, kind=write.kind, state=str(transition.state), code=_code(transition))
        if result.cause is not None:
            self._halt(result.cause, reading=write.state is not WriteState.PENDING)

    def _write_down(self, result: Result) -> None:
        seconds = self.settings.lease_seconds
        with self.services.database.transaction() as transaction:
            write_down(transaction, self.lease, result, account=self.account, seconds=seconds)

    def _halt(self, error: BackMarketError, *, reading: bool = False) -> None:
        """Pause all writes of the organization if the error concerns them all; requests in flight finish."""
        rest = pause_all_after(error, reading=reading)
        if rest is not None:
            log.warning("writes.paused", code=error.code, error=error.message, seconds=round(rest))
            self.window.pause_all_for(rest)
            if not isinstance(error, LimiterUnavailable):  # handed on, as a sync is
                self.error = error

    def _drain(self) -> None:
        """Wait for the requests in flight: only this worker receives their answers."""
        while self.window.in_flight:
            self._collect()
            self.renew_if_old()


def _code(transition: Transition) -> str | None:
    return transition.error.code if transition.error else None
