"""The same work by us, by dlt and by the bare script, in one run on the same sandbox and PostgreSQL.

    python -m bench.compare [--only first,many,listings,faults,limit] [--size 20000] [--latency 0.1]

What is loaded follows from the seed. CPU and memory are those of the client processes; CPU without their start.
Rows are those inserted, updated and deleted in tables that stay. A row is complete where its key and its state or
quantity are the sandbox's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from time import sleep
from typing import Any

from backmarket.resources import RESOURCES, ResourceName
from backmarket.sandbox.control.client import SandboxControl
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.standalone.programs import CHECKOUT
from bench.contestants import (
    DLT_SCHEMA,
    WARMING,
    WARMING_ROWS,
    Contestant,
    Cost,
    Job,
    bare,
    dlt,
    ours,
    rows_written,
)
from bench.setting import Setting, machine, setting

RESULTS = CHECKOUT / ".tmp" / "bench" / "compare.json"
NO_LIMIT = 1_000_000
LIMIT = 200
FAULTS: tuple[FaultKind, ...] = ("status", "reset", "cut", "garbage")
FAULT_SHARE = 0.02
PAGE_ROWS = 50
CHANGES = 20
AGAIN = 5
"""Times that a run with nothing new is repeated, so that its CPU can be read."""
AFTER_CHANGES = 1.5
"""Seconds after which the API's clock shows that a change came before the run."""

CONTESTANTS: dict[str, Callable[[Setting, Job], AbstractContextManager[Contestant]]] = {
    "ours": ours,
    "dlt": dlt,
    "bare": bare,
}
COMPARED = {"orders": "state", "listings": "quantity"}
"""The column whose value is compared, beside the key."""


@dataclass(frozen=True)
class Scenario:
    """One row of the comparison.

    Args:
        name: a word for it.
        title: for a person.
        resource: what is loaded.
        rows: that each organization has.
        organizations: how many.
        limit: requests that an account may send in ten seconds.
        faults: share of the pages whose first answer is faulty.
        changes: rows that change before each run; None: nothing is loaded yet.
    """

    name: str
    title: str
    resource: ResourceName
    rows: int
    organizations: int = 1
    limit: int = NO_LIMIT
    faults: float = 0.0
    changes: int | None = None

    def tokens(self, contestant: str) -> dict[str, str]:
        """Of each organization: every contestant has sellers of its own, since they change."""
        names = [f"{self.resource}-{self.organizations}-{contestant}-{n}" for n in range(self.organizations)]
        return {name: f"token-of-{name}" for name in names}


@dataclass(frozen=True)
class Result:
    """What one contestant did in one scenario; each figure is that of one run.

    Attributes:
        wall: seconds.
        cpu: seconds.
        memory: bytes.
        requests: that the sandbox counted.
        span: seconds from the first request to the last one.
        rows: written.
        complete: share of the sandbox's rows that are stored as they are there.
        violations: of the limit.
        error: how it failed.
    """

    wall: float
    cpu: float
    memory: int
    requests: float
    span: float
    rows: float
    complete: float
    violations: int
    error: str | None = None


Results = dict[str, dict[str, Result]]
"""By scenario, then by contestant."""


def scenarios(size: int) -> list[list[Scenario]]:
    """All of them; those of a list go on from what the one before has loaded.

    Args:
        size: rows of the large lists.
    """
    small = max(1, size * 300 // 20_000)
    return [
        [
            Scenario("first", f"{size:,} orders at first", "orders", size),
            Scenario("quiet", "nothing changed", "orders", size, changes=0),
            Scenario("changed", f"{CHANGES} changed", "orders", size, changes=CHANGES),
        ],
        [Scenario("many", f"50 organizations of {small}", "orders", small, organizations=50)],
        [Scenario("listings", f"{size:,} listings", "listings", size)],
        [Scenario("faults", f"{FAULT_SHARE:.0%} faults", "orders", size, faults=FAULT_SHARE)],
        [Scenario("limit", f"{LIMIT} requests in 10 s", "orders", size, limit=LIMIT)],
    ]


def main() -> None:
    """Print a line for each contestant in each scenario, and keep all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="first,many,listings,faults,limit", help="where to begin, with commas")
    parser.add_argument("--size", type=int, default=20_000, help="rows of the large lists")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds that the sandbox takes for an answer")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="who takes part, with commas")
    options = parser.parse_args()
    chosen = [chain for chain in scenarios(options.size) if chain[0].name in options.only.split(",")]
    run(chosen, options.latency, options.contestants.split(","), keep)


def run(
    chosen: Sequence[Sequence[Scenario]],
    latency: float,
    contestants: Sequence[str],
    each_time: Callable[[Results], None] = lambda _: None,
    *,
    warm: bool = True,
) -> Results:
    """What some contestants do in some scenarios.

    Args:
        chosen: as `scenarios` gives them.
        latency: seconds that the sandbox takes for an answer.
        contestants: who takes part.
        each_time: hears of all results so far.
        warm: who takes part has worked before.
    """
    print(f"Measured on {machine()}; PostgreSQL, Valkey and the sandbox share it. {latency * 1000:g} ms an answer.")
    sellers = {
        name: SellerSpec(name=name, token=token, **dict[str, Any]({"orders": 0, chain[0].resource: chain[0].rows}))
        for chain in chosen
        for contestant in contestants
        for name, token in chain[0].tokens(contestant).items()
    } | {
        name: SellerSpec(name=name, token=token, orders=WARMING_ROWS, listings=WARMING_ROWS)
        for name, token in WARMING.items()
    }
    results: Results = {}
    with setting(SandboxServer([*sellers.values()], latency=latency, limit=NO_LIMIT), rate_limit=NO_LIMIT) as here:
        for chain in chosen:
            for name in contestants:
                for each in chain if name != "bare" else chain[:1]:
                    result = measured(here, each, name, warm=warm)
                    results.setdefault(each.name, {})[name] = result
                    each_time(results)
                    print(f"{each.title:>24} | {name:>4} | {said(result)}", flush=True)
    return results


def measured(here: Setting, scenario: Scenario, name: str, *, warm: bool) -> Result:
    """One contestant in one scenario."""
    tokens, control = scenario.tokens(name), here.sandbox.control
    fresh = scenario.changes is None
    rounds = 1 if scenario.changes != 0 else AGAIN
    control.settings(limit=scenario.limit)
    for seller in tokens:  # made now, and not while it is asked for
        control.truth(seller, scenario.resource)
    with CONTESTANTS[name](here, Job(scenario.resource, tokens, scenario.limit, fresh, warm)) as contestant:
        for kind, page in faulty(scenario):
            control.add_fault(kind, page=page, count=1, status=502)
        before = rows_written(here.database_url)
        control.reset()
        costs = [once(control, scenario, tokens, contestant) for _ in range(rounds)]
        control.remove_faults()
    arrivals = [entry.arrival for entry in control.requests()]
    return Result(
        wall=sum(cost.wall for cost in costs) / rounds,
        cpu=sum(cost.cpu for cost in costs) / rounds,
        memory=costs[-1].memory,
        requests=len(arrivals) / rounds,
        span=max(arrivals) - min(arrivals) if arrivals else 0.0,
        rows=(rows_written(here.database_url) - before) / rounds,
        complete=completeness(here, scenario, name),
        violations=control.stats().violations,
        error=costs[-1].error,
    )


def faulty(scenario: Scenario) -> list[tuple[FaultKind, int]]:
    """The pages whose first answer is faulty, and how: the same for everybody, evenly over the list, kind by kind."""
    pages = -(-scenario.rows // PAGE_ROWS)
    number = round(scenario.faults * pages)
    return [(FAULTS[n % len(FAULTS)], 1 + (n + 1) * pages // (number + 1)) for n in range(number)]


def once(control: SandboxControl, scenario: Scenario, tokens: Iterable[str], contestant: Contestant) -> Cost:
    """One run, after some rows have changed."""
    for seller in tokens if scenario.changes else ():
        control.change(seller, resource=scenario.resource, modify=scenario.changes)
        sleep(AFTER_CHANGES)
    return contestant.load()


def completeness(here: Setting, scenario: Scenario, name: str) -> float:
    """The share of the sandbox's rows that are stored as they are there."""
    resource, compared = RESOURCES[scenario.resource], COMPARED[scenario.resource]
    truth = {
        (seller, str(row[resource.key.source]), row[compared])
        for seller in scenario.tokens(name)
        for row in here.sandbox.control.truth(seller, scenario.resource)
        if scenario.resource != "orders" or row["state"] not in {0, 8}
    }
    key = resource.key.source if name == "dlt" else resource.key.name
    table = f"{DLT_SCHEMA if name == 'dlt' else 'backmarket'}.{resource.table}"
    if here.execute("SELECT to_regclass(%s)", table) == [(None,)]:
        return 0.0
    stored = set(here.execute(f"SELECT organization_id, {key}::text, {compared} FROM {table}"))
    return len(truth & stored) / len(truth)


def said(result: Result) -> str:
    """A result on a line."""
    failed = f"; failed: {result.error[:200]}" if result.error else ""
    return (
        f"{result.wall:.2f} s, CPU {result.cpu:.3f} s, {result.memory / 2**20:.0f} MiB, {result.requests:g} requests in"
        f" {result.span:.1f} s, {result.rows:g} rows written, {result.complete:.2%} complete,"
        f" {result.violations} violations{failed}"
    )


def keep(results: Results) -> None:
    """Write the figures down, beside those of other scenarios."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = {name: {who: asdict(one) for who, one in each.items()} for name, each in results.items()}
    RESULTS.write_text(json.dumps(known | found, indent=1))


if __name__ == "__main__":
    main()
