"""What the turns over an organization's work share, whatever the work is: the lease, the requests in flight, the end.

One thread does a turn and has its state to itself; the threads of the pool only ask, and put down what came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Generic, Literal, TypeVar

from backmarket import connections
from backmarket.client.rate_limited import PATIENCE
from backmarket.database import Transaction
from backmarket.errors import LimiterUnavailable, Unauthorized
from backmarket.limits import Slot
from backmarket.services import Services
from backmarket.work import queue
from backmarket.work.queue import Work, WorkLease, owner_name

TurnEnd = Literal["nothing_to_do", "done", "handed_on", "lease_lost"]
"""How a turn ended that has requests in flight."""

T = TypeVar("T")
Step = TypeVar("Step")
Came = TypeVar("Came")

Ready = Sequence[tuple[Step, Slot | None]]
"""Steps that may be begun, with the slots that they need."""


def take_lease(services: Services, organization_id: str, kind: Work) -> WorkLease | None:
    """Take the lease for this process and thread, if there is something to do and nobody does it.

    Args:
        services: of this process.
        organization_id: whose.
        kind: of work.

    Returns:
        As `work.take`.
    """
    settings = services.settings
    owner = owner_name(settings.process_name)
    return queue.take(services.database, organization_id, kind, owner=owner, seconds=settings.lease_seconds)


class Tenure:
    """The lease of a turn while the turn goes on: it counts anew with whatever is written under it.

    Args:
        services: of this process.
        lease: which.
    """

    def __init__(self, services: Services, lease: WorkLease) -> None:
        self.services = services
        self.settings = services.settings
        self.lease = lease
        self.organization_id = lease.organization_id
        self.held_at = monotonic()
        """When the lease counted anew."""

    @property
    def ageing(self) -> bool:
        """Whether a good part of the lease's time is over."""
        return monotonic() - self.held_at > self.settings.lease_seconds / 4

    def write(self, change: Callable[[Transaction], T], *, seconds: float = 0.0) -> T:
        """Change rows, if the lease still counts; it counts anew from then on.

        Args:
            change: does so.
            seconds: that the lease is to count beyond its usual ones.

        Raises:
            LeaseLost: another took over, or the connection was changed: nothing was written.
        """
        with self.services.database.transaction() as transaction:
            queue.hold(transaction, self.lease, seconds=self.settings.lease_seconds + seconds)
            changed = change(transaction)
        self.held_at = monotonic()
        return changed

    def stay(self) -> None:
        """Let the lease count anew, if a good part of it is over.

        Raises:
            LeaseLost: see `write`.
        """
        if self.ageing:
            self.write(lambda _: None)

    def mark_unauthorized(self, error: Unauthorized) -> None:
        """Note that the API refuses the key: it is asked nothing until the key changes."""
        with self.services.database.transaction() as transaction:
            if connections.mark_unauthorized(transaction, self.organization_id, self.lease.generation):
                connections.mark_error(transaction, self.organization_id, error)


class Flight(Generic[Step, Came]):
    """The requests of a turn: several at once, as the limiter allows; and when the turn must end.

    Args:
        services: of this process.
        account: whose limit counts.
        window: requests in flight at once.
        needs_slot: whether a step needs a slot of the limiter.
        halt: hears that the limiter is away.
        urgent: as `Limiter.acquire` wants it.
    """

    def __init__(
        self,
        services: Services,
        account: str,
        *,
        window: int,
        needs_slot: Callable[[Step], bool],
        halt: Callable[[LimiterUnavailable], None],
        urgent: str | None = None,
    ) -> None:
        self.services = services
        self.queue: deque[Step] = deque()
        """What goes next."""
        self.flying = 0
        self.rest: float | None = None
        """Seconds until somebody looks again, where something is wrong for all of the organization's work."""
        self._account = account
        self._window = window
        self._needs_slot = needs_slot
        self._halt = halt
        self._urgent = urgent
        self._landed: SimpleQueue[Came] = SimpleQueue()
        self._patience = min(PATIENCE, services.settings.lease_seconds / 4)
        self._paused_until = 0.0
        self._until = monotonic() + services.settings.task_budget_seconds

    @property
    def wants_more(self) -> bool:
        """Whether the queue may run dry."""
        return len(self.queue) < self._window

    @property
    def over(self) -> bool:
        """Whether nothing is in flight, and nothing goes next."""
        return not self.queue and not self.flying

    def rest_for(self, seconds: float) -> None:
        """Let the turn end, and nobody look again for so long at the least; what is in flight lands."""
        self.rest = max(self.rest or 0.0, seconds)

    def must_end(self) -> float | None:
        """Seconds until the next turn, where this one must end; None: it may go on."""
        if self.rest is not None:
            return self.rest
        wait = self._pause()
        if wait > PATIENCE:
            return max(0.1, wait - PATIENCE / 2)  # a little early, as a tick of beat comes on top
        if self.services.stopping.is_set():
            return 0.1  # the dispatcher finds it: this process sends no nudge any more
        return 0.0 if monotonic() > self._until else None

    def start(self, begin: Callable[[Ready[Step]], Iterable[Callable[[], Came]]]) -> None:
        """Begin what goes next, as far as the window, the threads and the limiter allow.

        Args:
            begin: gives what the threads do: no database there, and nothing of the turn's state.
        """
        room = min(self._window - self.flying, len(self.queue))
        if room <= 0 or self._pause():
            return
        seats = self.services.seats.take(room, patience=0.0 if self.flying else 0.2)
        begun = 0
        try:
            ready = self._with_slots([self.queue.popleft() for _ in range(seats)])
            for ask in begin(ready):
                begun += 1
                self.flying += 1
                self.services.seats.submit(partial(self._fly, ask))
        finally:
            self.services.seats.leave(seats - begun)

    def land(self) -> list[Came]:
        """Take what came, waiting a little for the first of it; where nothing is in flight, for the limiter."""
        if not self.flying:
            sleep(min(self._pause(), self._patience))
            return []
        came: list[Came] = []
        try:
            came.append(self._landed.get(timeout=self._patience))
            while True:
                came.append(self._landed.get_nowait())
        except Empty:
            pass
        self.flying -= len(came)
        return came

    def _fly(self, ask: Callable[[], Came]) -> None:
        self._landed.put(ask())

    def _pause(self) -> float:
        """Seconds until the limiter may grant something; 0: now."""
        return max(0.0, self._paused_until - monotonic())

    def _with_slots(self, steps: Sequence[Step]) -> Ready[Step]:
        """Those that may go now, with the slots that they need; the others wait at the head of the queue."""
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
