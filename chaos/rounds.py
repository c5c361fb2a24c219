"""One round: an empty world, everything at once, faults, quiet, and the verdict."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from backmarket.standalone.fleet import FleetError
from chaos.faults.processes import SECOND_BEAT
from chaos.flows import Flows
from chaos.grounds import ROLE, Grounds
from chaos.lasting import Broken, broken
from chaos.messages import Wire
from chaos.quiet import Deeds, NotQuiet, wait_until_quiet
from chaos.schedule import OUTAGE, Lasting, Plan
from chaos.sellers import BULK, FULL_WALKS_EVERY, LIED_TO, SYNCS_EVERY, Sellers
from chaos.strikes import Strikes
from chaos.verdict import Round, verdict


@dataclass
class Result:
    """What a round came to.

    Attributes:
        seed: of the round.
        wrong: what the verdict found; empty: green.
        seconds: that it took: preparing, striking, becoming quiet.
        strikes: the faults as they took place.
        lasting: what was broken for ever, and how it was answered; None: nothing.
        figures: counted meanwhile.
    """

    seed: int
    wrong: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    strikes: list[dict[str, Any]] = field(default_factory=list)
    lasting: Lasting | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether a fault struck a held lease, something that was being sent, or an open request."""
        return any(strike["counts"] for strike in self.strikes)

    @property
    def took(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


class Stopwatch:
    """Seconds of one phase after another."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._at = monotonic()

    def lap(self, phase: str) -> None:
        """A phase is over."""
        now = monotonic()
        self.phases[phase] = round(now - self._at, 2)
        self._at = now


def play(grounds: Grounds, plan: Plan, *, limit: float) -> Result:
    """Play a round.

    Args:
        grounds: whole.
        plan: of the round.
        limit: seconds that it may take in all.
    """
    result, watch, logs = Result(plan.seed, lasting=plan.lasting), Stopwatch(), Logs(grounds.directory)
    sellers = Sellers.of(plan.seed)
    flows = Flows(grounds.sandbox, grounds.market, sellers, plan.seed)
    lasting = _prepare(grounds, sellers, flows, plan)
    watch.lap("preparing")
    began, deeds = monotonic(), Deeds([], [], {})
    with Wire(grounds.settings.need("redis_url")) as wire:
        wire.repeats = plan.duplicates
        strikes = Strikes(grounds, wire, plan)
        flows.begin()
        strikes.run(began)
        flows.end()
    api_faults = _api_faults(grounds)
    heal(grounds, strikes.going_on, lasting.rules)
    lasting.outlast()
    watch.lap("striking")
    try:
        deeds = wait_until_quiet(grounds, flows, strikes, lasting, max(1.0, limit - sum(watch.phases.values())))
    except NotQuiet as error:
        result.wrong.append(f"not quiet within {limit:g} s: {error}")
    watch.lap("becoming quiet")
    cost = lasting.cost()
    task_fault = plan.task_fault is not None
    round_ = Round(grounds, sellers, flows, strikes.struck, began, task_fault, lasting, cost, deeds, logs.since())
    result.wrong += verdict(round_)
    result.seconds = watch.phases
    result.strikes = [one.as_dict() for one in strikes.struck]
    result.figures = _figures(round_, api_faults, wire)
    return result


def heal(grounds: Grounds, going_on: Collection[str] = (), lasting: Collection[int] = ()) -> None:
    """Make everything whole, whatever a fault has left.

    Args:
        grounds: of the round.
        going_on: kinds of faults that are not over.
        lasting: numbers of the API's faults that never are.
    """
    for fault in grounds.sandbox.stats().faults:
        if fault.number not in lasting:
            grounds.sandbox.remove_faults(fault.number)
    grounds.make_room()
    servers = [grounds.stack.postgres, grounds.stack.valkey, *(() if OUTAGE in going_on else (grounds.stack.s3,))]
    for server in servers:
        server.resume()
        server.start()
    grounds.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    grounds.clock.set(0)
    fleet = grounds.fleet
    for name in fleet.pids:
        fleet.kill(name, signal.SIGKILL if name == SECOND_BEAT else signal.SIGCONT)
    for name in ("one", "two", "beat"):
        with suppress(FleetError):
            fleet.restart(name)
    fleet.wait_ready()
    grounds.market._services.database._pool.check()  # our own connections, which a restart has cut


class Logs:
    """What the workers log from now on.

    Args:
        directory: of the fleet.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ends = {path: path.stat().st_size for path in directory.glob("*.log")}

    def since(self) -> Sequence[str]:
        """The lines since it was made."""
        found: list[str] = []
        for path in sorted(self._directory.glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._ends.get(path, 0))
                found += log.read().decode(errors="replace").splitlines()
        return found


def _prepare(grounds: Grounds, sellers: Sellers, flows: Flows, plan: Plan) -> Broken:
    grounds.empty()
    grounds.sandbox.settings(assumptions=plan.assumptions)
    grounds.ask("UPDATE backmarket.schedule SET enabled = false, interval_seconds = %s", SYNCS_EVERY)
    sellers.open(grounds.sandbox, grounds.market, plan.seed)
    grounds.ask(
        "UPDATE backmarket.sync_state SET full_interval_seconds = %s WHERE organization_id = ANY(%s)",
        FULL_WALKS_EVERY,
        list(sellers.group(LIED_TO)),
    )
    flows.prepare()
    grounds.host.begin(grounds.market)
    lasting = broken(plan.lasting, grounds, flows)
    lasting.begin()
    if plan.task_fault:
        grounds.sandbox.add_fault(
            plan.task_fault, operation="listings.bulk", seller=sellers.names[BULK.stop - 1], count=1
        )
    for rule in plan.api_faults:
        _rule(grounds, sellers, dict(rule))
    grounds.sandbox.add_fault("slow", operation="listings.bulk", seconds=0.3)
    grounds.ask("UPDATE backmarket.schedule SET enabled = true")
    return lasting


def _rule(grounds: Grounds, sellers: Sellers, rule: dict[str, Any]) -> None:
    group, kind = rule.pop("group"), rule.pop("kind")
    if group == "all":
        grounds.sandbox.add_fault(kind, **rule)
        return
    for name in sellers.group(LIED_TO):
        grounds.sandbox.add_fault(kind, seller=name, **rule)


def _api_faults(grounds: Grounds) -> dict[str, int]:
    """How often each kind of the API's faults struck."""
    found: dict[str, int] = {}
    for fault in grounds.sandbox.stats().faults:
        if fault.struck:
            found[fault.kind] = found.get(fault.kind, 0) + fault.struck
    return found


def _figures(round_: Round, api_faults: dict[str, int], wire: Wire) -> dict[str, Any]:
    stats = round_.grounds.sandbox.stats()
    counts = dict(round_.ask(_COUNTS))
    return {
        **counts,
        "requests": stats.requests,
        "label fetches": sum(sum(seller.labels.values()) for seller in stats.sellers.values()),
        "changes": round_.flows.changed,
        "asked": round_.flows.asked,
        "asked again": round_.flows.repeated,
        "reconnected": len(round_.deeds.reconnected),
        "messages repeated": wire.repeated,
        "events called": len(round_.grounds.host.got["webhook"]),
        "calls again": round_.grounds.host.calls - len(round_.grounds.host.got["webhook"]),
        "events sent as messages": len(round_.grounds.host.got["task"]),
        "lasting fault met": round_.cost[0],
        "lasting fault allowed": round_.cost[1],
        "api faults": api_faults,
        "waited for": round_.deeds.waited_for,
    }


_COUNTS = """
SELECT 'orders', count(*) FROM backmarket.orders UNION ALL SELECT 'listings', count(*) FROM backmarket.listings
UNION ALL SELECT 'deliveries', count(*) FROM backmarket.deliveries
UNION ALL SELECT 'returns', count(*) FROM backmarket.returns
UNION ALL SELECT 'labels', count(*) FROM backmarket.labels
UNION ALL SELECT 'events', count(*) FROM backmarket.changes
UNION ALL SELECT 'runs', COALESCE(sum(runs), 0)::int FROM backmarket.sync_state
UNION ALL SELECT 'writes', count(*) FROM backmarket.api_writes
UNION ALL SELECT 'writes read back', count(*) FROM backmarket.api_writes WHERE confirmed_by = 'reading_back'
UNION ALL SELECT 'writes for a person', count(*) FROM backmarket.api_writes WHERE state = 'unknown'
UNION ALL SELECT 'parts', count(*) FROM backmarket.bulk_parts
UNION ALL SELECT 'parts sent again', count(*) FROM backmarket.bulk_parts WHERE sent > 1
UNION ALL SELECT 'parts for a person', count(*) FROM backmarket.bulk_parts WHERE state = 'unknown'
UNION ALL SELECT 'takeovers', count(*) FROM chaos.takeovers
"""
