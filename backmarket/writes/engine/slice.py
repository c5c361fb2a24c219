"""A slice: send what is due of one organization's writes, several at once, and read back what nobody knows the end of.

Safe to run twice and to be killed anywhere. A row says `sending` before its request leaves; whoever finds it so once
the request is over for certain asks the API what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

import structlog

from backmarket import work
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, DatabaseUnavailable, LeaseLost, SettingsError
from backmarket.messages import Nudge
from backmarket.observability.logs import error_location
from backmarket.services import Services
from backmarket.work import WorkLease
from backmarket.work.send_deadline import Stopwatch
from backmarket.work.slice import LeaseHolder, Ready, RequestWindow, SliceEnd, take_lease
from backmarket.writes import rows
from backmarket.writes.engine.mark_sending import Noted, note_sending, prior_in
from backmarket.writes.engine.outcomes import after_reading, after_sending
from backmarket.writes.engine.results import Result, write_down
from backmarket.writes.engine.retry_policy import pause_all_after, transition_after_loading, transition_after_sending
from backmarket.writes.engine.sender import Loaded, Read, Sent, WriteSender, crashed
from backmarket.writes.engine.steps import Step, StepResult, do, next_step
from backmarket.writes.models import Transition, Write, WriteState

READ_AHEAD_WRITES = 64
"""Due writes that one query reads ahead: finding the first one of each lane costs with all that are open."""

CRASH_SECONDS = 60.0
"""How long the writes of an organization rest after a fault of ours; what was being sent is read back."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What a slice did.

    Attributes:
        end: how it ended.
        succeeded: writes of which it is known that they happened.
        refused: writes that came to their end without.
        unknown: writes that may have happened; they are read back, or a person's to decide.
        requests: sent to the API, but for those that followed a write at once.
    """

    end: SliceEnd
    succeeded: int = 0
    refused: int = 0
    unknown: int = 0
    requests: int = 0


def run_slice(services: Services, organization_id: str) -> SliceResult:
    """Send the writes of one organization that are due, as far as one slice goes.

    Args:
        services: of this process.
        organization_id: whose.

    Raises:
        DatabaseUnavailable: PostgreSQL is away; the lease runs out, and another slice begins.
    """
    lease = take_lease(services, organization_id, "writes")
    if lease is None:
        return SliceResult("nothing_to_do")
    try:
        credentials = lease.encrypted.decrypt(services.key_cipher, services.settings)
        sender = WriteSender(services.transport, services.limiter, credentials, lambda: services.bucket)
        return _Writes(services, lease, sender).run()
    except SettingsError as error:  # this worker can't decrypt the key: another may
        log.error("writes.paused", code=error.code, error=error.message)
        return _give_up(services, lease, pause_all_after(error, 0))
    except LeaseLost as error:
        log.info("writes.lease_lost", lease=lease.number, why=error.code)
        return SliceResult("lease_lost")
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the row says when somebody looks again
        log.error("writes.crashed", **error_location(error))
        return _give_up(services, lease, CRASH_SECONDS)


def send_now(database: Database, organization_id: str) -> None:
    """Let what waits for its next try be due at once; what is read back keeps its time."""
    with database.transaction() as transaction:
        work.make_due(transaction, organization_id, "writes")  # first: whoever sends locks in this order
        rows.ask_now(transaction, organization_id)


def _give_up(services: Services, lease: WorkLease, pause: float | None) -> SliceResult:
    try:
        with services.database.transaction() as transaction:
            _finish(transaction, lease, pause)
    except LeaseLost:
        return SliceResult("lease_lost")
    return SliceResult("handed_on")


def _finish(transaction: Transaction, lease: WorkLease, pause: float | None) -> None:
    """Let the lease go.

    Args:
        transaction: an open one.
        lease: which.
        pause: seconds until somebody looks again, at the least; None: when something is due.
    """
    work.hold(transaction, lease)
    work.finish(transaction, lease, rows.next_due(transaction, lease.organization_id, after=pause or 0.0))


class _Writes(LeaseHolder):
    def __init__(self, services: Services, lease: WorkLease, sender: WriteSender) -> None:
        super().__init__(services, lease)
        self.sender = sender
        self.account = sender.credentials.account
        self.locale = sender.credentials.locale
        """That rows are asked for in."""
        self.window: RequestWindow[Step, StepResult] = RequestWindow(
            services,
            self.account,
            size=self.settings.write_window,
            needs_slot=lambda step: step.asks,
            halt=lambda error: self._halt(error, 0),
            urgent=f"writes/{self.organization_id}",  # before the syncs; what is denied is kept for this organization
        )
        """A write is in its queue, in flight, or not looked at."""
        self.lanes: set[str] = set()
        """Lanes of which a write is in the queue or in flight."""
        self.counts = dict.fromkeys(WriteState, 0)
        self.requests = 0

    def run(self) -> SliceResult:
        """The whole slice.

        Raises:
            LeaseLost: what is in flight is void; whoever took over reads it back.
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
        )

    def _work(self) -> float | None:
        """Go on until nothing is due (None), or until the slice must end: the pause before the next one."""
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
        """Find out what is due, beside what is in hand, before there is nothing to start."""
        if not self.window.wants_more:
            return
        with self.services.database.transaction() as transaction:
            due = rows.due(transaction, self.organization_id, besides=self.lanes, limit=READ_AHEAD_WRITES)
        for write in due:
            self.lanes.add(write.lane)
            self._plan(write)

    def _plan(self, write: Write, content: bytes | None = None) -> None:
        """Decide what comes next for a write that is due."""
        try:
            step = next_step(write, content, self.lease)
        except Exception as error:  # noqa: BLE001 - of a row that can't be read; nothing was sent
            step = Transition(WriteState.REFUSED, error=crashed(write, error))
        if isinstance(step, Transition):
            self._settle(Result(write, step))
        else:
            self.window.queue.append(step)

    def _begin(self, ready: Ready[Step]) -> list[Callable[[], StepResult]]:
        """Write down what is about to be sent, and give what the threads do.

        Raises:
            LeaseLost: another took over; nothing was sent.
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
        return self.write(
            partial(note_sending, writes=writes, account=self.account, locale=self.locale, settings=settings)
        )

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
                self._settle(after_reading(write, outcome, locale=self.locale))

    def _take_prior(self, write: Write, read: Read) -> None:
        """The values before a write came, or not: only then is it sent."""
        if read.error is not None:
            self._settle(
                Result(write, replace(transition_after_sending(write, read.error), unsent=False), cause=read.error)
            )
            return
        prior = prior_in(write, read.seen or {}) or {}
        self.write(partial(rows.note_prior, write=write, prior=prior))
        self._plan(replace(write, prior=prior))

    def _settle(self, result: Result) -> None:
        """Write down what became of a write; its lane may go on.

        Raises:
            LeaseLost: another took over; nothing was written.
        """
        write, transition = result.write, result.transition
        try:
            self._write_down(result)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except BackMarketError as error:  # of the row: the write's end is worth more, and a sync brings the row
            log.error("writes.row_not_stored", write=write.id, code=error.code, error=error.message)
            self._write_down(replace(result, row=None))
        self.held_at = monotonic()
        self.lanes.discard(write.lane)
        self.counts[transition.state] += 1
        log.info("writes.settled", write=write.id, kind=write.kind, state=str(transition.state), code=_code(transition))
        if result.cause is not None:
            self._halt(result.cause, write.tries)

    def _write_down(self, result: Result) -> None:
        seconds = self.settings.lease_seconds
        with self.services.database.transaction() as transaction:
            write_down(transaction, self.lease, result, account=self.account, seconds=seconds)

    def _halt(self, error: BackMarketError, tries: int) -> None:
        """Let all writes of the organization rest, if the error is none of a single one; what is in flight lands."""
        rest = pause_all_after(error, tries)
        if rest is not None:
            log.warning("writes.paused", code=error.code, error=error.message, seconds=round(rest))
            self.window.pause_all_for(rest)

    def _drain(self) -> None:
        """Wait for what is in flight: only who sent it hears the answer."""
        while self.window.in_flight:
            self._collect()
            self.renew_if_old()


def _code(transition: Transition) -> str | None:
    return transition.error.code if transition.error else None
