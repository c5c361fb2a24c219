"""One organization with very many orders, and several at once in one process: its peak memory, seconds and requests.

    python -m bench.million [--orders 1000000] [--together 4]

The API is a list that makes its pages when they are asked for, in the worker's process, without a limit; PostgreSQL is
the embedded one. The worker is killed (SIGKILL) twice on the way of each walk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, time
from typing import Any

import psycopg
from cryptography.fernet import Fernet

from backmarket.connections import Account
from backmarket.database.schema import schema_text
from backmarket.organizations import lifecycle
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.programs import CHECKOUT
from backmarket.sync.engine import run_slice
from backmarket.sync.requests import request_sync
from bench.setting import machine
from tests.support.lazy_orders import PAGE_SIZE, LazyOrders, answer_with

RESULTS = CHECKOUT / ".tmp" / "bench" / "million.json"
KILLS = (0.3, 0.7)
"""Of the walk's pages; there a worker dies."""
REMOVED = 5
"""Orders that are gone before a full walk, spread over the list."""
SAMPLE_SECONDS = 0.25
PROCESSES = multiprocessing.get_context("spawn")


@dataclass
class Walk:
    """What one process is to do; its shared counts outlive it.

    Attributes:
        settings: of the worker.
        orders: of each organization.
        organizations: synced at once.
        full: a full walk; else what is due.
        kills: numbers of the first organization's requests that kill the process.
        modify: an order of each list is modified in the middle.
        removed: orders that are gone.
        requests: answered so far, by organization.
        modified_at: when the order in the middle was modified, by organization; 0 if it was not.
    """

    settings: Settings
    orders: int
    organizations: list[str]
    full: bool
    kills: tuple[int, ...]
    modify: bool
    removed: dict[str, set[int]]
    requests: Any
    modified_at: Any


class CountedOrders(LazyOrders):
    """A list whose count of requests outlives the process, and which can end it.

    Args:
        walk: what is to be done.
        place: of the organization in it.
    """

    def __init__(self, walk: Walk, place: int) -> None:
        super().__init__(walk.orders, removed=walk.removed[walk.organizations[place]])
        self.requests = walk.requests[place]
        self._walk, self._place = walk, place
        self._middle = walk.orders // PAGE_SIZE // 2
        if at := walk.modified_at[place]:
            self.modified[self.total // 4] = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")

    def get(self, credentials: Any, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Any:
        """Answer a request, or die."""
        answer = super().get(credentials, path, parameters)
        with self._lock:
            before, self._walk.requests[self._place] = self._walk.requests[self._place], self.requests
        if self._place == 0 and any(before < kill <= self.requests for kill in self._walk.kills):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._walk.modify and before < self._middle <= self.requests:
            self._walk.modified_at[self._place] = time()
            self.modify(self.total // 4)
        return answer


class ListOfEach:
    """Answers each organization's requests with its own list, in place of a `Transport`.

    Args:
        lists: of each organization; its name is its key.
    """

    def __init__(self, lists: dict[str, CountedOrders]) -> None:
        self._lists = lists

    def get(self, credentials: Any, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Any:
        """Answer a request."""
        return self._lists[credentials.api_key].get(credentials, path, parameters)

    def close(self) -> None:
        """There is nothing to close."""


def work(walk: Walk, *, again: bool) -> None:
    """Sync organizations until nothing is asked for any more: the worker's process."""
    services = Services(walk.settings)
    lists = {name: CountedOrders(walk, place) for place, name in enumerate(walk.organizations)}
    answer_with(services, ListOfEach(lists))
    with ThreadPoolExecutor(len(walk.organizations)) as pool:
        list(pool.map(lambda organization: sync(services, walk, organization, again=again), walk.organizations))
    services.close()


def sync(services: Services, walk: Walk, organization: str, *, again: bool) -> None:
    """Sync one organization, in the place of the tasks."""
    if again:
        execute(services, organization, "UPDATE backmarket.sync_state SET lease_until = now() - interval '1 s'")
    else:
        request_sync(services.database, organization, "orders", full=walk.full)
    while is_open(services, organization):
        execute(
            services, organization, "UPDATE backmarket.sync_state SET next_due_at = now(), sync_due_at = 'infinity'"
        )
        run_slice(services, organization, "orders")


def is_open(services: Services, organization: str) -> bool:
    """Whether a sync that was asked for is not served yet."""
    return execute(services, organization, "SELECT requested > served FROM backmarket.sync_state") == [(True,)]


def execute(services: Services, organization: str, statement: str) -> list[Any]:
    """Run a statement on the state of an organization's orders."""
    with services.database.transaction() as transaction:
        cursor = transaction.execute(
            f"{statement} WHERE organization_id = %s AND resource = 'orders'".encode(), (organization,)
        )
        return cursor.fetchall() if cursor.description else []


@dataclass
class Memory:
    """Of a process, and of the one that follows it, in megabytes.

    Attributes:
        peak: the highest that the kernel has seen.
        curve: seconds and resident memory.
    """

    peak: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def watched(self, pid: int, began: float) -> Iterator[None]:
        """Sample a process meanwhile."""
        over = threading.Event()
        thread = threading.Thread(target=self._sample, args=(pid, began, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sample(self, pid: int, began: float, over: threading.Event) -> None:
        while not over.wait(SAMPLE_SECONDS):
            figures = status(pid)
            if "VmRSS" in figures:
                self.peak = max(self.peak, figures["VmHWM"])
                self.curve.append((round(monotonic() - began, 2), figures["VmRSS"]))


def status(pid: int) -> dict[str, float]:
    """A process's figures in megabytes; none once it is dead."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}


@dataclass
class Line:
    """One row of the table.

    Attributes:
        what: was done.
        organizations: at once.
        orders: of each.
        seconds: from the first process's start to the last one's end.
        requests: of all organizations.
        pages: of all lists.
        kills: processes that were killed.
        peak: of a process, in megabytes.
        curve: seconds and megabytes.
    """

    what: str
    organizations: int
    orders: int
    seconds: float
    requests: int
    pages: int
    kills: int
    peak: float
    curve: list[tuple[float, float]]


class Bench:
    """Organizations of one size, each with a list of its own."""

    def __init__(self, stack: Stack, orders: int, names: list[str]) -> None:
        with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
            connection.execute(schema_text().encode())
        self.orders, self.database_url = orders, stack.addresses.database_url
        self.settings = Settings(
            database_url=self.database_url,
            redis_url=stack.addresses.redis_url,
            secret_keys=(Fernet.generate_key().decode(),),
            limiter_key="limiter-key-of-the-benchmark-only",
            user_agent="BM-Bench-Million;dev@test.example",
        )
        self.removed: dict[str, set[int]] = {name: set() for name in names}
        self.lines: list[Line] = []
        services = Services(self.settings)
        for name in names:
            lifecycle.upsert(services.database, services.key_cipher, self.settings, Account(name, name))
        services.close()

    def run(self, what: str, names: list[str], *, full: bool = False, walks: bool = True) -> None:
        """Sync organizations at once in a process, which is killed twice if they walk, and print what it took."""
        pages = self.orders // PAGE_SIZE
        kills = tuple(int(pages * share) for share in KILLS) if walks else ()
        counts = [PROCESSES.Array(kind, len(names), lock=False) for kind in ("q", "d")]
        walk = Walk(self.settings, self.orders, names, full, kills, walks, self.removed, *counts)
        memory, began, killed = Memory(), monotonic(), 0
        while True:
            process = PROCESSES.Process(target=work, args=(walk,), kwargs={"again": killed > 0})
            process.start()
            with memory.watched(process.pid or 0, began):
                process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL, process.exitcode
            killed += 1
        assert killed == len(kills), killed
        seconds, requests = monotonic() - began, sum(walk.requests)
        line = Line(
            what, len(names), self.orders, seconds, requests, pages * len(names), killed, memory.peak, memory.curve
        )
        self.lines.append(line)
        print(
            f"{what}: {len(names)} x {self.orders:,} orders, killed {killed} times, {seconds:.1f} s,"
            f" {requests:,} requests ({line.pages:,} pages), peak {memory.peak:.0f} MB",
            flush=True,
        )

    def remove(self, name: str) -> None:
        """Let orders be gone, spread over the list."""
        self.removed[name] |= set(range(7, self.orders, self.orders // REMOVED))

    def check(self, name: str) -> None:
        """Every order is stored, and exactly those that are gone are marked."""
        with psycopg.connect(self.database_url) as connection:
            found = connection.execute(
                "SELECT count(*), array_agg(order_id) FILTER (WHERE removed_at IS NOT NULL)"
                " FROM backmarket.orders WHERE organization_id = %s",
                (name,),
            ).fetchone()
        stored, removed = found or (0, None)
        assert (stored, set(removed or ())) == (self.orders, self.removed[name]), (stored, removed)


def main() -> None:
    """Run the measurement, and keep the figures and the curves of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000, help="of each organization")
    parser.add_argument("--together", type=int, default=4, help="organizations at once; 1: one alone")
    options = parser.parse_args()
    print(f"Measured on {machine()}; PostgreSQL shares it.")
    names = [f"org{number}" for number in range(options.together)]
    with Stack() as stack:
        bench = Bench(stack, options.orders, names)
        bench.run("first sync", names)
        for name in names:
            bench.check(name)
        bench.run("incremental", names, walks=False)
        for name in names:
            bench.remove(name)
        bench.run(f"full walk, {REMOVED} orders gone", names, full=True)
        for name in names:
            bench.check(name)
    keep(bench.lines)


def keep(lines: list[Line]) -> None:
    """Write figures down, beside those of other sizes."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for line in lines:
        known[f"{line.what}, {line.organizations} x {line.orders:,}"] = asdict(line)
    RESULTS.write_text(json.dumps(known))


if __name__ == "__main__":
    main()
