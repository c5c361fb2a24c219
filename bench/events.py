"""How many webhooks and messages one process delivers on one core, beside endpoints that are dead.

    python -m bench.events [--endpoints 10000] [--dead 100] [--seconds 60]

A real worker of the pool `events`, held to one core, and beat; the receiver is on the other. A dead endpoint takes a
connection and never answers. The receiver is one process without TLS, which checks no signature. At last, what a first
load of 20,000 orders costs with an endpoint and without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from statistics import median, quantiles
from typing import Any

import psutil
import psycopg
import redis

from backmarket.facade import BackMarket
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from bench.setting import SYNC_QUEUES, Setting, cpu_seconds, setting, wait_until, workers

TOKEN = "token-of-the-bench"
ORDERS, LOADS = 20_000, 3
ENDPOINTS = {"no endpoint": None, "a webhook": False, "a webhook with initial events": True}
"""Of the first loads: whether there is a webhook, and whether it gets the events of first walks."""

DEADLINE = 5
"""Seconds that a dead endpoint costs a thread."""


@dataclass(frozen=True)
class Receiver:
    """A receiver in a process of its own."""

    port: int
    dead_port: int
    latencies: Any

    def take(self) -> list[float]:
        """Seconds between event and call, of the calls since this was last asked."""
        found = []
        while not self.latencies.empty():
            found.append(self.latencies.get())
        return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=10_000)
    parser.add_argument("--dead", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    with receiver() as at, setting(SandboxServer([]), event_deadline=DEADLINE) as here:
        here.environment["BACKMARKET_EVENT_PRIVATE_ORIGINS"] = ",".join(
            f"http://127.0.0.1:{port}" for port in (at.port, at.dead_port)
        )
        connect(here, chosen.endpoints)
        make_endpoints(here, at, chosen.endpoints, chosen.dead)
        with worker(here) as process:
            backlog(here, at, process, chosen.endpoints)
            for dead in (False, True):
                steady(here, at, process, chosen, dead=dead)
    with setting(SandboxServer([])) as here:
        here.environment |= {"BACKMARKET_EVENT_TASK": "shop.on_change", "BACKMARKET_EVENT_QUEUE": "shop"}
        messages(here, chosen.seconds)
    with receiver() as at:
        first_load(at)


@contextmanager
def worker(here: Setting) -> Iterator[psutil.Process]:
    """The worker of the pool, all of its threads on one core; beat and a dispatcher beside it."""
    with workers(here.environment, "events", queues=("events",), concurrency=2) as fleet:
        process = psutil.Process(fleet.pids["events"])
        for thread in process.threads():
            psutil.Process(thread.id).cpu_affinity([0])
        process.cpu_affinity([0])
        yield process


def backlog(here: Setting, at: Receiver, process: psutil.Process, endpoints: int) -> None:
    """Twice as many events as endpoints, all at once."""
    happen(here, range(200, endpoints), 2)
    report(here, at, process, "backlog", 2 * (endpoints - 200))


def steady(here: Setting, at: Receiver, process: psutil.Process, chosen: argparse.Namespace, *, dead: bool) -> None:
    """200 events a second, for living endpoints; before that, an event for each dead one."""
    if dead:
        happen(here, range(chosen.dead), 3)
    with counted(here, at, process, f"200/s{f', {chosen.dead} dead' if dead else ''}", 200 * chosen.seconds):
        began = time.monotonic()
        for second in range(chosen.seconds):
            first = 200 + second * 200 % (chosen.endpoints - 400)
            happen(here, range(first, first + 200), 1)
            time.sleep(max(0.0, began + second + 1 - time.monotonic()))


def messages(here: Setting, seconds: int) -> None:
    """A backlog, and 1,000 events a second, for the host's task."""
    with worker(here) as process:
        wait_until(lambda: bool(here.execute("SELECT id FROM backmarket.event_endpoints")), 60, "the task's endpoint")
        with redis.Redis.from_url(here.environment["BACKMARKET_REDIS_URL"]) as client:
            before, began = process.cpu_times(), time.monotonic()
            for second in range(seconds):
                happen(here, range(100), 10)
                if client.llen("shop") > 5000:
                    client.delete("shop")
                time.sleep(max(0.0, began + second + 1 - time.monotonic()))
            idle = "SELECT FROM backmarket.event_endpoints WHERE change_id = (SELECT max(id) FROM backmarket.changes)"
            wait_until(lambda: bool(here.execute(f"SELECT EXISTS ({idle})")[0][0]), 120, "all are sent")
            wall, after = time.monotonic() - began, process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    total = 1000 * seconds
    print(f"messages: {total} in {wall:.1f} s, CPU of the worker {cpu:.1f} s, {1000 * cpu / total:.2f} ms each")


def first_load(at: Receiver) -> None:
    """The CPU of all workers and the seconds of a first load; medians of some runs, which take turns."""
    seller = SellerSpec(name="seller", token=TOKEN, orders=ORDERS)
    origin = f"http://127.0.0.1:{at.port}"
    figures = defaultdict(list)
    with (
        setting(
            SandboxServer([seller], latency=0.005, limit=1_000_000),
            rate_limit=1_000_000,
            event_private_origins=origin,
        ) as here,
        workers(here.environment, "one", queues=(*SYNC_QUEUES, "events")) as fleet,
    ):
        here.only("orders")
        here.sandbox.control.truth("seller")
        for _ in range(LOADS):
            for name, initial in ENDPOINTS.items():
                here.empty()
                here.execute("DELETE FROM backmarket.event_endpoints")
                if initial is not None:
                    here.market.create_webhook(origin, initial=initial)
                before, began = cpu_seconds(fleet), time.monotonic()
                here.market.upsert_connection("org", TOKEN, base_url=here.sandbox.url)
                wall, calls = here.synced(1), 0
                while initial and calls < ORDERS:
                    calls += len(at.take())
                    time.sleep(0.05)
                figures[name].append((cpu_seconds(fleet) - before, wall, time.monotonic() - began))
    for name, rows in figures.items():
        cpu, wall, called = (median(column) for column in zip(*rows, strict=True))
        told = f", all called after {called:.1f} s" if ENDPOINTS[name] else ""
        print(f"{ORDERS} orders at first, {name}: CPU {cpu:.2f} s, stored after {wall:.1f} s{told}")


@contextmanager
def counted(here: Setting, at: Receiver, process: psutil.Process, name: str, events: int) -> Iterator[None]:
    """Print what the worker spends until all events have arrived."""
    at.take()
    before, began = process.cpu_times(), time.monotonic()
    memory = process.memory_info().rss
    yield
    found: list[float] = []

    def all_came() -> bool:
        found.extend(at.take())
        return len(found) >= events

    wait_until(all_came, 600, "all events arrive")
    wall, after = time.monotonic() - began, process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    cuts = quantiles(found, n=100)
    print(
        f"{name}: {len(found)} of {events} in {wall:.1f} s, {len(found) / wall:.0f}/s; CPU of the worker {cpu:.1f} s,"
        f" {1000 * cpu / len(found):.2f} ms each; late by {median(found):.2f} s (median), {cuts[94]:.2f} (95%),"
        f" {max(found):.2f} (most); memory {memory >> 20} to {process.memory_info().rss >> 20} MiB"
    )


def report(here: Setting, at: Receiver, process: psutil.Process, name: str, events: int) -> None:
    """As `counted`, of events that have just happened."""
    with counted(here, at, process, name, events):
        pass


def connect(here: Setting, organizations: int) -> None:
    here.only("")
    here.execute(
        "INSERT INTO backmarket.connections (organization_id, environment, region, locale, enabled)"
        " SELECT 'org-' || n, 'sandbox', 'EU', 'fr-fr', false FROM generate_series(0, %s - 1) n",
        organizations,
    )


def make_endpoints(here: Setting, at: Receiver, endpoints: int, dead: int) -> None:
    """A webhook for each organization, as `create_webhook` makes them; the first ones are dead."""
    with BackMarket(here.settings) as market:
        market.create_webhook(f"http://127.0.0.1:{at.port}/0", organization_id="org-0")
    here.execute(
        "INSERT INTO backmarket.event_endpoints"
        " (kind, organization_id, url, secret, transaction_id, change_id, history)"
        " SELECT kind, 'org-' || n, %s || n, secret, transaction_id, change_id, history"
        " FROM backmarket.event_endpoints, generate_series(1, %s - 1) n",
        f"http://127.0.0.1:{at.port}/",
        endpoints,
    )
    here.execute(
        "UPDATE backmarket.event_endpoints SET url = %s WHERE substring(organization_id FROM 5)::int < %s",
        f"http://127.0.0.1:{at.dead_port}/",
        dead,
    )
    here.execute("ANALYZE backmarket.event_endpoints")


def happen(here: Setting, organizations: Sequence[int], events: int) -> None:
    with psycopg.connect(here.database_url) as connection:
        connection.execute("SET LOCAL backmarket.worker = 'on'")
        connection.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields, field_values,"
            " recorded_at) SELECT 'org-' || n, 'orders', e::text, 'updated', '{date_modification,state}',"
            """ '{"state": [1, 3]}', clock_timestamp() FROM unnest(%s::int[]) n, generate_series(1, %s) e""",
            (list(organizations), events),
        )


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A process that answers calls, and a port that takes connections and never answers."""
    latencies: Any = multiprocessing.Queue()
    ports: Any = multiprocessing.Queue()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as dead:
        process = multiprocessing.Process(target=_serve, args=(latencies, ports), daemon=True)
        process.start()
        try:
            yield Receiver(ports.get(), dead.getsockname()[1], latencies)
        finally:
            process.terminate()
            process.join()


def _serve(latencies: Any, ports: Any) -> None:
    psutil.Process().cpu_affinity([1])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.split(b"\r\n")
                length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length"))
                event = json.loads(await reader.readexactly(length))["data"]
                latencies.put(time.time() - datetime.fromisoformat(event["recorded_at"]).timestamp())
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
