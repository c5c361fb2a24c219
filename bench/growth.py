"""What an organization costs among 100, 1,000 and 10,000, and an order among 1,000, 10,000 and 100,000.

    python -m bench.growth [--organizations 100,1000,10000] [--orders 1000,10000,100000] [--rounds 3]

An organization's cost is that of a sync with nothing new, from its nudge to its end; an order's that of its first load.
CPU is that of our processes and of PostgreSQL, memory the peaks of our processes added; PostgreSQL counts statements,
the sandbox requests, the worker's log slices, of which each took a message. The sizes take turns, and the median of the
rounds counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import median
from time import monotonic, process_time, sleep

from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.services import Services
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from backmarket.sync.requests import claim_due
from bench.contestants import peak
from bench.setting import SYNC_QUEUES, Setting, cpu_seconds, machine, setting, wait_until

RESULTS = CHECKOUT / ".tmp" / "bench" / "growth.json"
NO_LIMIT = 1_000_000
SYNCS = 1_000
"""Of a round; where there are fewer organizations, several of each."""
TIMEOUT_SECONDS = 300.0
"""Seconds that a round may take."""


@dataclass(frozen=True)
class Point:
    """What one organization, or one order, costs.

    Attributes:
        wall: milliseconds, of all divided by their number.
        ours: CPU of our processes, in milliseconds.
        postgres: its CPU, in milliseconds.
        memory: the most that our processes have had in all, in MB.
        statements: that our worker had PostgreSQL run.
        requests: to the API.
        slices: of the worker, each of which took a message.
    """

    wall: float
    ours: float
    postgres: float
    memory: float
    statements: float
    requests: float
    slices: float


Line = dict[int, Point]
"""By size."""


def main() -> None:
    """Print a line for each size, and keep all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=sizes, default=[100, 1_000, 10_000], help="with commas")
    parser.add_argument("--orders", type=sizes, default=[1_000, 10_000, 100_000], help="with commas")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Measured on {machine()}; PostgreSQL, Valkey and the sandbox share it.")
    keep("organizations", of_organizations(options.organizations, options.rounds, SYNCS))
    keep("orders", of_orders(options.orders, options.rounds))


def keep(name: str, line: Line) -> None:
    """Write figures down, beside the others."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = {size: asdict(point) for size, point in line.items()}
    RESULTS.write_text(json.dumps(known, indent=1))


def sizes(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(each) for each in text.split(",")]


def of_organizations(numbers: Sequence[int], rounds: int, syncs: int) -> Line:
    """What a sync with nothing new costs where there are so many organizations.

    Args:
        numbers: of organizations.
        rounds: times that each is measured.
        syncs: of a round.
    """
    tokens = [{f"organization-{n}": f"token-of-{n}" for n in range(number)} for number in numbers]
    sellers = [SellerSpec(name=name, token=token, orders=3) for name, token in max(tokens, key=len).items()]
    points: dict[int, list[Point]] = {number: [] for number in numbers}
    with setting(SandboxServer(sellers, limit=NO_LIMIT), rate_limit=NO_LIMIT) as here:
        here.count_statements()
        for _ in range(rounds):
            for chosen in tokens:
                points[len(chosen)].append(organizations(here, chosen, syncs))
    return told("organizations", points)


def organizations(here: Setting, tokens: Mapping[str, str], syncs: int) -> Point:
    """The mean of some quiet syncs among so many organizations."""
    here.empty()
    here.connect(tokens)
    services = Services(here.settings)
    batch = min(len(tokens), syncs)
    try:
        with fleet_of(here, beat=False) as (fleet, log):
            sync_some(here, services, batch)  # warms it up
            counted = Counted(here, fleet, log)
            for _ in range(syncs // batch):
                sync_some(here, services, batch, counted)
            return counted.each(syncs // batch * batch)
    finally:
        services.close()


def sync_some(here: Setting, services: Services, batch: int, counted: Counted | None = None) -> None:
    """Let so many organizations be due, nudge them as the dispatcher does, and wait for the end of their syncs."""
    ended = "SELECT sum(runs) FROM backmarket.sync_state WHERE resource = 'orders'"
    (before,) = here.execute(ended)[0]
    here.execute(_DUE, batch)
    used = process_time()
    claims = 0
    while services.producer.nudge(claim_due(services.database, "orders")):
        claims += 1
    if counted is not None:
        counted.ours -= process_time() - used
        counted.statements += claims + 1
    polls = 0
    while here.execute(ended)[0][0] < before + batch:
        polls += 1
        sleep(0.5)
    if counted is not None:
        counted.statements += polls + 3


def of_orders(numbers: Sequence[int], rounds: int) -> Line:
    """What an order costs at the first load of so many.

    Args:
        numbers: of orders.
        rounds: times that each is measured.
    """
    sellers = [SellerSpec(name=f"seller-{number}", token=f"token-of-{number}", orders=number) for number in numbers]
    points: dict[int, list[Point]] = {number: [] for number in numbers}
    with setting(SandboxServer(sellers, limit=NO_LIMIT), rate_limit=NO_LIMIT) as here:
        here.count_statements()
        for seller in sellers:
            here.sandbox.control.truth(seller.name)
        for _ in range(rounds):
            for number in numbers:
                points[number].append(orders(here, number))
    return told("orders", points)


def orders(here: Setting, number: int) -> Point:
    """The mean of the orders of one organization."""
    here.empty()
    here.only("orders")
    with fleet_of(here, beat=True) as (fleet, log):
        counted = Counted(here, fleet, log)
        here.market.upsert_connection("organization", f"token-of-{number}", base_url=here.sandbox.url)
        asked = 0

        def loaded() -> bool:
            nonlocal asked
            asked += 1
            return bool(here.execute(_LOADED)[0][0])

        wait_until(loaded, TIMEOUT_SECONDS, f"{number} orders are stored")
        counted.statements += asked
        return counted.each(number)


class Counted:
    """What is spent from here on.

    Attributes:
        ours: CPU seconds that do not count.
        statements: that do not count, as they are the benchmark's own.
    """

    def __init__(self, here: Setting, fleet: Fleet, log: Path) -> None:
        self.here, self.fleet, self.log = here, fleet, log
        self.ours = 0.0
        self.statements = 0
        here.sandbox.control.reset()
        self._slices = slices_in(log)
        self._before = self._now()
        self._began = monotonic()

    def each(self, count: int) -> Point:
        """What one of so many took."""
        wall = monotonic() - self._began
        cpu, postgres, statements = (b - a for a, b in zip(self._before, self._now(), strict=True))
        return Point(
            wall=1000 * wall / count,
            memory=sum(map(peak, self.fleet.pids.values())) / 1e6,
            ours=1000 * (cpu - self.ours) / count,
            postgres=1000 * postgres / count,
            statements=(statements - self.statements) / count,
            requests=self.here.sandbox.control.stats().requests / count,
            slices=(slices_in(self.log) - self._slices) / count,
        )

    def _now(self) -> tuple[float, float, int]:
        return cpu_seconds(self.fleet), self.here.postgres_cpu(), self.here.statements()


def slices_in(log: Path) -> int:
    """Slices that a worker has noted."""
    return log.read_text().count('"event": "sync.slice"')


@contextmanager
def fleet_of(here: Setting, *, beat: bool) -> Iterator[tuple[Fleet, Path]]:
    """A worker, with beat and a dispatcher if wanted, and the worker's log."""
    pools = [Pool("sync", SYNC_QUEUES), *([Pool("dispatch", ("dispatch",), 1)] if beat else [])]
    with (
        tempfile.TemporaryDirectory() as logs,
        Fleet(here.environment, directory=Path(logs), workers=pools, beat=beat) as fleet,
    ):
        fleet.wait_ready()
        yield fleet, Path(logs) / "sync.log"


def told(what: str, points: Mapping[int, Sequence[Point]]) -> Line:
    """The medians, which are printed, too."""
    line = {size: Point(*map(median, zip(*map(astuple, each), strict=True))) for size, each in points.items()}
    for size, point in line.items():
        print(
            f"{size:>7} {what} | each {point.wall:.3f} ms of wall, CPU {point.ours:.3f} ms, PostgreSQL"
            f" {point.postgres:.3f} ms, {point.memory:.0f} MB in all,"
            f" {point.statements:.4f} statements, {point.requests:.4f} requests, {point.slices:.5f} slices",
            flush=True,
        )
    return line


_DUE = """
UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL
WHERE resource = 'orders' AND organization_id IN (
    SELECT organization_id FROM backmarket.connections ORDER BY md5(organization_id) LIMIT %s
)
"""

_LOADED = "SELECT last_success_at IS NOT NULL FROM backmarket.sync_state WHERE resource = 'orders'"


if __name__ == "__main__":
    main()
