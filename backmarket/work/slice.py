"""What slices of all kinds of work share: the lease, the requests in flight, the end.

One thread runs a slice and owns its state; the threads of the pool only send requests and leave the results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Generic, Literal, TypeVar

from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS
from backmarket.database import Transaction
from backmarket.errors import LimiterUnavailable
from backmarket.limits import Slot
from backmarket.services import Services
from backmarket.work import queue
from backmarket.work.queue import Work, WorkLease, owner_name

SliceEnd = Literal["nothing_to_do", "done", "handed_on", "lease_lost"]
"""How a slice with requests in flight ended."""

T = TypeVar("T")
Step = TypeVar("Step")
Result = TypeVar("Result")

Ready = Sequence[tuple[Step, Slot | None]]
"""Steps that may begin, with the slots that they need."""


def take_lease(services: Services, organization_id: str, kind: Work) -> WorkLease | None:
    """Take the lease for this process and thread, if work is due and no other worker holds it.

    Returns:
        As `work.take`.
    """
    settings = services.settings
    owner = owner_name(settings.process_name)
    return queue.take(services.database, organization_id, kind, owner=owner, seconds=settings.lease_seconds)


class LeaseHolder:
    """The lease of a running slice; each write under it renews it."""

    def __init__(self, services: Services, lease: WorkLease) -> None:
        self.services = services
        self.settings = services.settings
        self.lease = lease
        self.organization_id = lease.organization_id
        self.held_at = monotonic()
        """When the lease was last renewed."""

    @property
    def needs_renewal(self) -> bool:
        """Whether the lease is old enough to be renewed."""
        return monotonic() - self.held_at > self.settings.lease_seconds / 4

    def write(self, change: Callable[[Transaction], T], *, seconds: float = 0.0) -> T:
        """Change rows, if the lease is still valid, and renew it.

        Args:
            change: makes the change.
            seconds: added to the lease's usual time.

        Raises:
            LeaseLost: if another worker took over, or the connection was changed: nothing was written.
        """
        with self.services.database.transaction() as transaction:
            queue.hold(transaction, self.lease, seconds=self.settings.lease_seconds + seconds)
            changed = change(transaction)
        self.held_at = monotonic()
        return changed

    def renew_if_old(self) -> None:
        """Renew the lease, if it is old enough.

        Raises:
            LeaseLost: see `write`.
        """
        if self.needs_renewal:
            self.write(lambda _: None)


class RequestWindow(Generic[Step, Result]):
    """The requests of a slice: sends as many at once as window and limiter allow; tells when the slice must end.

    Args:
        size: maximum requests in flight.
        needs_slot: whether a step needs a slot of the limiter.
        halt: called when the limiter is unreachable.
        urgent: see `Limiter.acquire`.
    """

    def __init__(
        self,
        services: Services,
        account: str,
        *,
        size: int,
        needs_slot: Callable[[Step], bool],
        halt: Callable[[LimiterUnavailable], None],
        urgent: str | None = None,
    ) -> None:
        self.services = services
        self.queue: deque[Step] = deque()
        """Steps to begin next."""
        self.in_flight = 0
        self.pause_all: float | None = None
        """Seconds before the next slice, if an error concerns all of the organization's work."""
        self._account = account
        self._size = size
        self._needs_slot = needs_slot
        self._halt = halt
        self._urgent = urgent
        self._finished: SimpleQueue[Result] = SimpleQueue()
        self._patience = min(MAX_LIMITER_WAIT_SECONDS, services.settings.lease_seconds / 4)
        self._paused_until = 0.0
        self._until = monotonic() + services.settings.task_budget_seconds

    @property
    def wants_more(self) -> bool:
        """Whether the queue should be refilled."""
        return len(self.queue) < self._size

    @property
    def over(self) -> bool:
        """Whether nothing is in flight or queued."""
        return not self.queue and not self.in_flight

    def pause_all_for(self, seconds: float) -> None:
        """End the slice, and run no other for at least this long; requests in flight are still collected."""
        self.pause_all = max(self.pause_all or 0.0, seconds)

    def must_end(self) -> float | None:
        """Seconds until the next slice, if this one must end; None: it may continue."""
        if self.pause_all is not None:
            return self.pause_all
        wait = self._pause()
        if wait > MAX_LIMITER_WAIT_SECONDS:
            return max(0.1, wait - MAX_LIMITER_WAIT_SECONDS / 2)  # a little early, as a tick of beat comes on top
        if self.services.stopping.is_set():
            return 0.1  # the dispatcher finds it: this process sends no nudge any more
        return 0.0 if monotonic() > self._until else None

    def start(self, begin: Callable[[Ready[Step]], Iterable[Callable[[], Result]]]) -> None:
        """Begin queued steps, as far as the window, the threads and the limiter allow.

        Args:
            begin: returns what the threads call, which uses neither the database nor the slice's state.
        """
        room = min(self._size - self.in_flight, len(self.queue))
        if room <= 0 or self._pause():
            return
        reserved = self.services.request_threads.reserve(room, patience=0.0 if self.in_flight else 0.2)
        begun = 0
        try:
            ready = self._with_slots([self.queue.popleft() for _ in range(reserved)])
            for ask in begin(ready):
                begun += 1
                self.in_flight += 1
                self.services.request_threads.submit(partial(self._run, ask))
        finally:
            self.services.request_threads.release(reserved - begun)

    def collect(self) -> list[Result]:
        """Return the results so far, after a short wait for the first; with nothing in flight, wait for the limiter."""
        if not self.in_flight:
            sleep(min(self._pause(), self._patience))
            return []
        results: list[Result] = []
        try:
            results.append(self._finished.get(timeout=self._patience))
            while True:
                results.append(self._finished.get_nowait())
        except Empty:
            pass
        self.in_flight -= len(results)
        return results

    def _run(self, ask: Callable[[], Result]) -> None:
        self._finished.put(ask())

    def _pause(self) -> float:
        """Seconds until the limiter may grant a slot; 0: now."""
        return max(0.0, self._paused_until - monotonic())

    def _with_slots(self, steps: Sequence[Step]) -> Ready[Step]:
        """Steps that may begin now, with the slots that they need; the others wait at the head of the queue."""
        needy = [self._needs_slot(step) for step in steps]
        slots = deque(self._slots(sum(needy)))
        ready: list[tuple[Step, Slot | None]] = []
        waiting: list[Step] = []
        for step, needs in zip(steps, needy, strict=True):
            if needs and not slots:
                waiting.append(step)
            else:
                ready.append((step, slots.popleft() if needs else None))
        self.queue.extendleft(reversed(waiting))
        return ready

    def _slots(self, want: int) -> Sequence[Slot]:
        if not want:
            return ()
        try:
            grant = self.services.limiter.acquire(self._account, want, urgent=self._urgent)
        except LimiterUnavailable as error:
            self._halt(error)
            return ()
        if len(grant.slots) < want:
            self._paused_until = monotonic() + grant.wait
        return grant.slots
