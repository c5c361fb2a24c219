"""The faults of a round at their times: each waits for what it is to strike, and notes what it struck."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from time import monotonic, sleep
from typing import Any

import psycopg
import structlog

from chaos.faults import FAULTS, Fault
from chaos.faults.processes import _OfAWorker
from chaos.grounds import Grounds
from chaos.messages import Wire
from chaos.schedule import OUTAGE, Plan, Strike

TIMEOUT_SECONDS = 1.0
"""Seconds that a fault waits for its aim."""

HARMLESS = frozenset({"second_beat", "clock_jump", "late_messages", "kill_beat"})
"""Faults that end no slice and cut no request, whatever goes on meanwhile."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What goes on at one moment.

    Attributes:
        leases: what is done under each lease, such as `orders` or `labels`, with the process that holds it.
        submitting: parts of bulk files that are being sent.
        sending: writes that are being sent.
        requests: that the API has not answered.
    """

    leases: tuple[tuple[str, int], ...] = ()
    submitting: int = 0
    sending: int = 0
    requests: int = 0

    def has(self, aim: str) -> bool:
        """Whether there is what a fault waits for."""
        kinds = {kind for kind, _ in self.leases}
        match aim:
            case "request":
                return self.requests > 0
            case "writes":
                return self.sending > 0
            case "bulk":
                return self.submitting > 0
            case "labels" | "bulk lease":
                return aim.split(maxsplit=1)[0] in kinds
            case "sync":
                return bool(kinds - {"labels", "writes", "bulk"})
        return True


@dataclass
class Struck:
    """A fault as it took place; times in seconds from the beginning of the round."""

    kind: str
    aim: str
    began: float
    ended: float = 0.0
    pid: int | None = None
    leases: list[str] = field(default_factory=list)
    submitting: int = 0
    sending: int = 0
    requests: int = 0
    missed: str = ""
    """Why it could not be done: another fault was in the way."""

    @property
    def counts(self) -> bool:
        """Whether it struck a lease, a part or write that was being sent, or an open request."""
        if self.kind in HARMLESS or self.missed:
            return False
        return bool(self.leases or self.submitting or self.sending or self.requests)

    def as_dict(self) -> dict[str, Any]:
        """For the results."""
        found = asdict(self) | {"began": round(self.began, 2), "ended": round(self.ended, 2), "counts": self.counts}
        del found["pid"]
        return found


class Strikes:
    """The faults of one round.

    Args:
        grounds: what they strike.
        wire: between the processes.
        plan: of the round.
    """

    def __init__(self, grounds: Grounds, wire: Wire, plan: Plan) -> None:
        self.grounds, self.wire, self.plan = grounds, wire, plan
        self.struck: list[Struck] = []
        self._going_on: list[tuple[float, Fault, Struck]] = []
        self._began = 0.0

    def run(self, began: float) -> None:
        """Let them happen, and be over, but for the one that outlasts the others.

        Args:
            began: the round, by the monotonic clock.
        """
        self._began = began
        for strike in self.plan.strikes:
            self._wait(began + strike.at)
            self._strike(strike)
        while any(struck.kind != OUTAGE for _, _, struck in self._going_on):
            self._wait(min(at for at, _, struck in self._going_on if struck.kind != OUTAGE))

    def tend(self) -> None:
        """End what is to end by now."""
        self._wait(monotonic())

    @property
    def going_on(self) -> frozenset[str]:
        """The faults that are not over."""
        return frozenset(struck.kind for _, _, struck in self._going_on)

    def _strike(self, strike: Strike) -> None:
        fault = FAULTS[strike.kind](self.grounds, self.wire, strike)
        held = self._aim(strike)
        struck = Struck(strike.kind, strike.aim, monotonic() - self._began)
        if isinstance(fault, _OfAWorker):
            fault.choose({pid for kind, pid in held.leases if _is_aim(kind, strike.aim)})
        struck.pid = fault.pid
        try:
            fault.begin()
        except psycopg.Error as error:
            struck.missed = type(error).__name__
        mine = [kind for kind, pid in held.leases if fault.pid is None or pid == struck.pid]
        struck.leases, struck.submitting, struck.sending = mine, held.submitting, held.sending
        struck.requests = held.requests
        self.struck.append(struck)
        self._going_on.append((monotonic() + strike.lasts, fault, struck))

    def _aim(self, strike: Strike) -> Held:
        """Wait for what a fault is to strike."""
        until = monotonic() + TIMEOUT_SECONDS
        while True:
            held = held_now(self.grounds)
            if held.has(strike.aim) or monotonic() > until:
                return held
            sleep(0.01)

    def _wait(self, until: float) -> None:
        """Wait until a moment; end what is to end meanwhile."""
        self._going_on.sort(key=lambda one: one[0])
        while self._going_on and self._going_on[0][0] <= until:
            at, fault, struck = self._going_on.pop(0)
            sleep(max(0.0, at - monotonic()))
            self._end(fault)
            struck.ended = monotonic() - self._began
        sleep(max(0.0, until - monotonic()))

    def _end(self, fault: Fault) -> None:
        try:
            fault.end()
        except psycopg.Error as error:  # another fault has PostgreSQL; what is left is healed at the end
            log.info("fault.not_ended", kind=fault.strike.kind, error=type(error).__name__)


def held_now(grounds: Grounds) -> Held:
    """What goes on now; nothing, where PostgreSQL is away."""
    requests = grounds.sandbox.stats().in_flight
    try:
        leases = grounds.ask(
            "SELECT resource, split_part(lease_owner, ':', 2)::int FROM backmarket.sync_state WHERE lease_until > now()"
            " UNION ALL"
            " SELECT kind, split_part(lease_owner, ':', 2)::int FROM backmarket.work WHERE lease_until > now()"
        )
        ((submitting, sending),) = grounds.ask(
            "SELECT (SELECT count(*) FROM backmarket.bulk_parts WHERE state = 'submitting'),"
            " (SELECT count(*) FROM backmarket.api_writes WHERE state = 'sending')"
        )
    except psycopg.Error:
        return Held(requests=requests)
    return Held(tuple(leases), submitting, sending, requests)


def _is_aim(kind: str, aim: str) -> bool:
    work = {"labels", "writes", "bulk"}
    return kind == aim.split(maxsplit=1)[0] if aim.split(maxsplit=1)[0] in work else kind not in work
