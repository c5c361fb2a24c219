"""The fan-out at the size of 10,000 organizations: what a tick, an interval's messages and a quiet sync cost.

    python -m bench.scale [--organizations 10000] [--fewer 1000] [--slices 4000] [--tasks 50000]

CPU is user and system time: of this process, which dispatches as the dispatcher's task does, of PostgreSQL with all its
processes, and of one real worker. Each organization has a seller account of its own in the sandbox, so the limiter is
asked as in production. A sync is quiet when the API has nothing new: it is what nearly all of them are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from statistics import median
from time import monotonic, process_time, sleep

import psutil
import redis

from backmarket.messages import QUEUES, SYNC_TASKS
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.services import Services
from backmarket.sync.requests import claim_due
from bench.setting import Setting, cpu_seconds, machine, setting, wait_until, workers

Tokens = Mapping[str, str]

NO_LIMIT = 1_000_000
"""Requests in ten seconds: the limiter is asked, and never says no."""
PAGE = 50
"""Rows on a page of listings."""
CATALOGUES = 20
"""Sellers whose listings fill many pages."""
DUE = 1000
"""Pairs of organization and resource that a tick finds."""
MOST_DUE = 40_000
"""Pairs of an interval that are played: all of 10,000 organizations, a slice of more."""
BACKLOG = 250
"""Messages that wait for the worker while it is measured."""
MARKET = "de-de"
"""The further market of sellers with a catalogue."""
RHYTHM = 1.0
"""Seconds between two syncs of an organization while the worker is measured: more than it can do."""


@dataclass(frozen=True)
class Cost:
    """What something cost, in seconds of CPU."""

    count: float
    ours: float
    postgres: float
    redis: float
    wall: float
    statements: float


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=int, default=10_000, help="connected organizations")
    parser.add_argument("--fewer", type=int, default=1_000, help="organizations to compare them with")
    parser.add_argument("--rounds", type=int, default=3, help="times that both are measured, in turns")
    parser.add_argument("--slices", type=int, default=4_000, help="quiet syncs that a worker does; 0: no worker")
    parser.add_argument("--listings", type=int, default=2_000, help="of a seller with a catalogue")
    parser.add_argument("--tasks", type=int, default=50_000, help="tasks after which its memory is compared; 0: not")
    parser.add_argument(
        "--idle", type=float, default=30.0, help="seconds that a dispatcher with nothing due is watched"
    )
    options = parser.parse_args()
    few, many = (
        {f"organization-{number}": f"token-of-{number}" for number in range(size)}
        for size in (options.fewer, options.organizations)
    )
    sellers = [
        SellerSpec(name=name, token=token, orders=3, listings=2, deliveries=1, returns=1)
        for name, token in {**few, **many}.items()
    ]
    large = {f"catalogue-{number}": f"token-of-catalogue-{number}" for number in range(CATALOGUES)}
    sellers += [
        SellerSpec(name=name, token=token, orders=1, listings=options.listings, markets=[MARKET])
        for name, token in large.items()
    ]
    print(f"Measured on {machine()}; PostgreSQL, Valkey, the sandbox and all of ours share it.")
    with setting(SandboxServer(sellers, limit=NO_LIMIT), rate_limit=NO_LIMIT) as here:
        here.count_statements()
        compare(here, few, many, options.rounds, options.slices)
        one_interval(here, many, options.idle)
        if options.slices:
            each_resource(here, few, options.slices // 2)
            long_walks(here, large, options.listings, options.slices // 20)
        if options.slices and options.tasks:
            memory(here, many, options.tasks // 5, options.tasks)


def compare(here: Setting, few: Tokens, many: Tokens, rounds: int, slices: int) -> None:
    """A tick and a quiet sync with few and with many organizations, by turns: the machine is never quiet for long."""
    costs: dict[int, list[list[Cost]]] = {len(few): [], len(many): []}
    for _ in range(rounds):
        for tokens in (few, many):
            with connected(here, tokens) as dispatcher:
                tick = dispatcher.tick()
                say(len(tokens), f"a tick that finds {tick.count:g} due pairs", seconds(tick))
                costs[len(tokens)].append([tick])
                if slices:
                    with dispatcher.worker() as worker:
                        slice_ = dispatcher.slices(worker, "orders", slices)
                    say(len(tokens), "a quiet sync of orders", rate(slice_))
                    costs[len(tokens)][-1].append(slice_)
    each = [
        median(sum((cost.ours + cost.postgres) / cost.count for cost in one) for one in rounds_of)
        for rounds_of in costs.values()
    ]
    statements = " and ".join(f"{pairs[0][0].statements:g}" for pairs in costs.values())
    print(f"statements of a tick: {statements} (goal: the same)")
    print(
        f"CPU of a sync, sent and done, with many against few: {each[1] / each[0]:.2f} (goal: at most 1.2)", flush=True
    )


def one_interval(here: Setting, tokens: Tokens, seconds_idle: float) -> None:
    """All messages of an interval, by this process; and the same by a dispatcher and beat, as they run."""
    with connected(here, tokens) as dispatcher:
        interval = dispatcher.interval()
        say(len(tokens), f"{interval.count:g} messages of an interval", seconds(interval))
        say(len(tokens), "they are in Valkey", f"{dispatcher.redis_memory() / 2**20:.0f} MiB")
        if not seconds_idle:
            return
        busy, idle = dispatcher.real(seconds_idle)
        say(len(tokens), f"the same by dispatcher and beat: {busy.count:g} messages", seconds(busy))
        say(len(tokens), f"dispatcher and beat with nothing due, {idle.count:g} s of it", seconds(idle))


def each_resource(here: Setting, tokens: Tokens, slices: int) -> None:
    """A quiet sync of each resource: one page, with rows that are all known where the API cannot be asked for less."""
    with connected(here, tokens) as dispatcher, dispatcher.worker() as worker:
        for resource in SYNC_TASKS:
            slice_ = dispatcher.slices(worker, resource, slices)
            say(len(tokens), f"a quiet sync of {resource}", rate(slice_))


def long_walks(here: Setting, tokens: Tokens, listings: int, walks: int) -> None:
    """A full walk over listings that are all known, for each of its pages: what most requests of large sellers are."""
    pages = -(-listings // PAGE)
    with connected(here, tokens) as dispatcher, dispatcher.worker() as worker:
        here.execute(_ADD_MARKET, MARKET)
        for market in ("", MARKET):
            walk = dispatcher.slices(worker, "listings", walks, market)
            page = replace(walk, count=walk.count * pages)
            of = f"{pages} pages{' in a further market' * bool(market)}"
            say(len(tokens), f"a page of a walk over {listings} known listings ({of})", rate(page))
        own, further = (size / len(tokens) / listings for size in here.execute(_SIZES)[0])
        say(len(tokens), "a stored listing", f"{own:.0f} bytes, in a further market {further:.0f}")


def memory(here: Setting, tokens: Tokens, early: int, late: int) -> None:
    """What a worker has in memory after so many tasks."""
    with connected(here, tokens) as dispatcher, dispatcher.worker() as worker:
        sizes = dispatcher.memory(worker, early, late)
    growth = f"{sizes[0] / 2**20:.1f} to {sizes[1] / 2**20:.1f} MiB: {100 * (sizes[1] / sizes[0] - 1):+.1f}% (goal: 5%)"
    say(len(tokens), f"a worker's memory after {early} and after {late} tasks", growth)


@contextmanager
def connected(here: Setting, tokens: Tokens) -> Iterator[Dispatcher]:
    """These organizations and no others, and what dispatches for them."""
    here.empty()
    here.connect(tokens)
    with Dispatcher(here) as dispatcher:
        yield dispatcher


class Dispatcher:
    """Nudges as the dispatcher's task does, and counts what it costs."""

    def __init__(self, here: Setting) -> None:
        self.here = here
        self.services = Services(here.settings)
        self.redis = redis.Redis.from_url(here.settings.need("redis_url"))

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.services.close()
        self.redis.close()

    def tick(self, rounds: int = 5) -> Cost:
        """One tick that finds 1,000 due pairs: the mean of some, after one that opens the connections."""
        self._make_due(DUE)
        self._send()
        costs = []
        for _ in range(rounds):
            self._make_due(DUE)
            costs.append(self._counted(self._send))
        return Cost(*(value / rounds for value in astuple(sum_of(costs))))

    def interval(self) -> Cost:
        """The messages of one interval, and one more tick, which finds nothing."""
        self._make_due(min(self._pairs(), MOST_DUE))
        return self._counted(self._send_all)

    def redis_memory(self) -> int:
        """Bytes that the messages in the queues take."""
        return sum(int(self.redis.memory_usage(QUEUES[task], samples=0) or 0) for task in SYNC_TASKS.values())

    def real(self, idle: float) -> tuple[Cost, Cost]:
        """The messages of one interval by the processes that send them, and so many seconds with nothing due."""
        with workers(self.here.environment) as fleet:
            pairs = min(self._pairs(), MOST_DUE)
            self._make_due(pairs)

            def send() -> int:
                taken = 0
                while taken < pairs:
                    sleep(0.05)
                    taken += self._take()
                return taken

            def rest() -> int:
                sleep(idle)
                return int(idle)

            return self._counted(send, lambda: cpu_seconds(fleet)), self._counted(rest, lambda: cpu_seconds(fleet))

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        """A worker process, ready."""
        with workers(self.here.environment, "sync", dispatcher=False) as fleet:
            yield psutil.Process(fleet.pids["sync"])

    def slices(self, worker: psutil.Process, resource: str, count: int, market: str = "") -> Cost:
        """So many quiet syncs by a worker, after some that warm it up."""
        self._keep_due(resource, market)
        # what is not walked yet is walked before it counts
        self._feed(resource, count // 10 if resource == "orders" else self._pairs() // len(SYNC_TASKS))
        cost = self._counted(lambda: self._feed(resource, count), lambda: sum(worker.cpu_times()[:2]))
        self._rest()
        return cost

    def memory(self, worker: psutil.Process, early: int, late: int) -> tuple[int, int]:
        """Bytes that a worker has in memory after so many tasks."""
        sizes = []
        self._keep_due("orders")
        for tasks in (early, late - early):
            self._feed("orders", tasks)
            sizes.append(worker.memory_info().rss)
        self._rest()
        return sizes[0], sizes[1]

    def _make_due(self, pairs: int) -> None:
        """So many pairs, the same of each resource; the queues are empty."""
        self.here.execute("UPDATE backmarket.sync_state SET next_due_at = 'infinity', nudged_until = NULL")
        self.redis.delete(*QUEUES.values())
        self.here.execute("VACUUM ANALYZE backmarket.sync_state")
        self.here.execute(_MAKE_DUE, pairs // len(SYNC_TASKS))  # a dispatcher may be running

    def _counted(self, send: Callable[[], int], clock: Callable[[], float] = process_time) -> Cost:
        """What it costs this process, or those of another clock, and PostgreSQL."""
        statements = self.here.statements()
        before = (clock(), self.here.postgres_cpu(), self.here.redis_cpu(), monotonic())
        sent = send()
        after = (clock(), self.here.postgres_cpu(), self.here.redis_cpu(), monotonic())
        ours, postgres, redis, wall = (b - a for a, b in zip(before, after, strict=True))
        return Cost(sent, ours, postgres, redis, wall, self.here.statements() - statements)

    def _send(self) -> int:
        """One tick: each resource's dispatch once."""
        database, producer = self.services.database, self.services.producer
        return sum(producer.nudge(claim_due(database, resource)) for resource in SYNC_TASKS)

    def _send_all(self) -> int:
        sent = 0
        while found := self._send():
            sent += found
        return sent

    def _keep_due(self, resource: str, market: str = "") -> None:
        self.here.execute("UPDATE backmarket.sync_state SET next_due_at = 'infinity', nudged_until = NULL")
        self.here.execute("UPDATE backmarket.schedule SET interval_seconds = %s", RHYTHM)
        due = "UPDATE backmarket.sync_state SET next_due_at = now() WHERE resource = %s AND market = %s"
        self.here.execute(due, resource, market)
        self.redis.delete(*QUEUES.values())

    def _feed(self, resource: str, count: int) -> int:
        """Nudge until so many syncs have ended; how many have."""
        queue = QUEUES[SYNC_TASKS[resource]]
        before = self._ended(resource)
        while (done := self._ended(resource) - before) < count:
            for _ in range(10):
                if int(self.redis.llen(queue)) < BACKLOG:
                    self.services.producer.nudge(claim_due(self.services.database, resource, limit=BACKLOG))
                sleep(0.05)
        return done

    def _ended(self, resource: str) -> int:
        return int(self.here.execute("SELECT sum(runs) FROM backmarket.sync_state WHERE resource = %s", resource)[0][0])

    def _pairs(self) -> int:
        return int(self.here.execute("SELECT count(*) FROM backmarket.sync_state")[0][0])

    def _take(self) -> int:
        """Empty the queues, as workers do that keep up; how many messages they had."""
        with self.redis.pipeline() as commands:
            for task in SYNC_TASKS.values():
                commands.llen(QUEUES[task])
                commands.delete(QUEUES[task])
            return sum(map(int, commands.execute()[::2]))

    def _rest(self) -> None:
        """Let the worker end what it has begun."""
        self.here.execute("UPDATE backmarket.sync_state SET next_due_at = 'infinity'")
        wait_until(lambda: not self.redis.exists(*QUEUES.values()), 60, "the queues are empty")


def sum_of(costs: list[Cost]) -> Cost:
    """All of them together."""
    return Cost(*map(sum, zip(*map(astuple, costs), strict=True)))


def say(size: int, what: str, figure: str) -> None:
    """One line of the table."""
    print(f"{size:>7} organizations | {what} | {figure}", flush=True)


def rate(cost: Cost) -> str:
    """Syncs a second of CPU, and the CPU of one."""
    worker, postgres, valkey = (1000 * spent / cost.count for spent in (cost.ours, cost.postgres, cost.redis))
    each = f"{worker:.2f} ms, PostgreSQL {postgres:.2f} ms, Valkey {valkey:.2f} ms"
    return f"{cost.count / cost.ours:.0f} a second of CPU: {each}, {cost.statements / cost.count:.1f} statements"


def seconds(cost: Cost) -> str:
    """CPU of the dispatching process and of PostgreSQL."""
    return (
        f"{cost.ours:.3f} s CPU, PostgreSQL {cost.postgres:.3f} s CPU, {cost.wall:.2f} s in all,"
        f" {cost.statements:g} statements"
    )


_ADD_MARKET = """
WITH named AS (UPDATE backmarket.connections SET markets = ARRAY[%s] RETURNING organization_id, markets)
INSERT INTO backmarket.sync_state (organization_id, resource, market, next_due_at)
SELECT organization_id, 'listings', markets[1], 'infinity' FROM named
"""

_SIZES = """
SELECT pg_total_relation_size('backmarket.listings'), pg_total_relation_size('backmarket.listing_markets')
"""

_MAKE_DUE = """
UPDATE backmarket.sync_state SET next_due_at = now()
FROM (
    SELECT organization_id, resource, row_number() OVER (PARTITION BY resource ORDER BY md5(organization_id)) AS place
    FROM backmarket.sync_state
) AS one
WHERE sync_state.organization_id = one.organization_id AND sync_state.resource = one.resource AND one.place <= %s
"""


if __name__ == "__main__":
    main()
