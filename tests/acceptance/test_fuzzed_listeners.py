"""Each listener gets a minute of damaged requests, and a queue damaged messages: all processes live, and work on."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic

import pytest
import redis

from backmarket.messages import QUEUES, SYNC_ORDERS
from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from tests.support.bad_messages import broken, unfit
from tests.support.console import OPERATOR
from tests.support.databases import as_process
from tests.support.exporter import answers
from tests.support.processes import started
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

COMMAND = str(Path(sys.executable).with_name("backmarket"))
ORG = "auth0|1"
SECONDS = 60.0
HEALTH = ("/livez", "/readyz", "/metrics")
PATHS = {
    "sync": HEALTH,
    "beat": HEALTH,
    "metrics": HEALTH,
    "console": (
        "/",
        "/login",
        "/logout",
        "/audit",
        "/events",
        "/o/shop-1",
        "/o/shop-1/orders?state=9",
        "/static/app.css",
    ),
    "flower": ("/", "/healthcheck", "/metrics", "/api/tasks?limit=5", "/task/1", "/worker/a", "/login"),
}
HEADERS = (
    "Connection: close", "Cookie: backmarket_console=a", "Transfer-Encoding: chunked", "Expect: 100-continue",
    "Upgrade: websocket", "HX-Request: true", "Authorization: Basic bWU6YQ==", "X-Forwarded-For: ::1",
)  # fmt: skip
TYPES = ("Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data; boundary=x")
NORMAL = {"console": "/login", "flower": "/healthcheck"}
"""What is answered with 200; elsewhere `/livez`."""
EXPECTED = {501, 503, 505}
"""Statuses for a method that no path has, for what is not ready, and for another version of HTTP."""
OF_FLOWER = {500}
"""Flower's own answer to a login that it cannot decode."""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox.control)
        yield shop
        shop.services.close()


@pytest.mark.slow
def test_all_live_and_work_on(shop: Shop, tmp_path: Path) -> None:
    ports = dict(zip(PATHS, free_ports(len(PATHS)), strict=True))
    given = environment(shop.settings)
    of_console = {
        "BACKMARKET_DATABASE_URL": as_process(shop.settings.need("database_url"), "console"),
        "BACKMARKET_CONSOLE_USERS": OPERATOR,
    }
    with ExitStack() as ending:
        fleet = ending.enter_context(Fleet(
            given | {"FLOWER_BASIC_AUTH": "me:secret-of-mine"},
            directory=tmp_path, workers=(Pool("dispatch", ("dispatch",), 1),), beat=False, flower_port=ports["flower"],
        ))  # fmt: skip
        fleet.start_worker(("orders",), "sync", environment={"BACKMARKET_HEALTH_PORT": str(ports["sync"])})
        fleet.start_beat(environment={"BACKMARKET_HEALTH_PORT": str(ports["beat"])})
        fleet.wait_ready()
        console = (COMMAND, "console", "--port", str(ports["console"]))
        exporter = (sys.executable, "-m", "workers.metrics")
        others = [
            started(ending, given | of_console, CHECKOUT, *console),
            started(ending, given | {"BACKMARKET_HEALTH_PORT": str(ports["metrics"])}, CHECKOUT, *exporter),
        ]
        assert_all_answer(ports)
        before = fleet.pids
        until = monotonic() + SECONDS
        with ThreadPoolExecutor() as threads:
            found = {name: threads.submit(fuzz, name, port, until) for name, port in ports.items()}
            sent = threads.submit(fuzz_queue, shop.settings.need("redis_url"), until)
        assert sent.result() > 100
        for name, answered in found.items():
            statuses = answered.result()
            assert sum(statuses.values()) > 100, name
            expected = EXPECTED | (OF_FLOWER if name == "flower" else set())
            assert {status for status in statuses if status >= 500} <= expected, (name, statuses)
        assert (fleet.pids, [each.poll() for each in others]) == (before, [None, None])
        assert_all_answer(ports)
        shop.sell(ORG, orders=60)
        wait_until(lambda: shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"), "it is synced")
        shop.assert_equals_truth(ORG)


def assert_all_answer(ports: dict[str, int]) -> None:
    for name, port in ports.items():
        wait_until(partial(answers, port, NORMAL.get(name, "/livez")), f"{name} answers")


def fuzz(name: str, port: int, until: float) -> Counter[int]:
    """Send damaged requests; the statuses of the answers, 0 for a connection without one."""
    dice, statuses = Random(name), Counter[int]()
    while monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(damaged(dice, request(dice, dice.choice(PATHS[name]))))
            if dice.random() < 0.1:
                continue  # gone before the answer
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            head = connection.recv(64).split(b" ")
            statuses[int(head[1]) if len(head) > 1 and head[1].isdigit() else 0] += 1
    return statuses


def request(dice: Random, path: str) -> bytes:
    """A request as a client might send it."""
    method = dice.choice(("GET", "GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE"))
    body = dice.choice((b"", b"csrf=a&name=b&password=c", b"{}", b"--x\r\n\r\na\r\n--x--\r\n", dice.randbytes(2000)))
    size = f"Content-Length: {len(body)}"
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", size, dice.choice(HEADERS), dice.choice(TYPES)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def damaged(dice: Random, whole: bytes) -> bytes:
    """The same with bytes changed, left out, added or repeated; now and then as it was."""
    text = bytearray(whole)
    ways: tuple[Callable[[int], None], ...] = (
        lambda at: text.__setitem__(at, dice.randrange(256)),
        lambda at: text.__delitem__(slice(at, at + dice.randrange(1, 20))),
        lambda at: text.__setitem__(slice(at, at), dice.randbytes(dice.randrange(1, 20))),
        lambda at: text.__setitem__(slice(at, at), bytes(text[at : at + 30]) * dice.randrange(1, 300)),
        lambda at: text.__setitem__(
            slice(at, at), dice.choice((b"\r\n", b"\0", b"%00", b"%", b"../", b"\xff", b"9" * 40))
        ),
    )
    for _ in range(dice.randrange(6)):
        if text:
            dice.choice(ways)(dice.randrange(len(text)))
    return bytes(text)


def fuzz_queue(url: str, until: float) -> int:
    """Put damaged messages into a queue; their number."""
    dice, sent = Random("queue"), 0
    whole = [*unfit(SYNC_ORDERS), *broken(SYNC_ORDERS)]
    with redis.Redis.from_url(url) as client:
        while monotonic() < until:
            client.lpush(QUEUES[SYNC_ORDERS], damaged(dice, dice.choice(whole)))
            sent += 1
            wait_until(lambda: client.llen(QUEUES[SYNC_ORDERS]) < 100, "the worker takes them")
    return sent
