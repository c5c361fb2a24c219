"""The sandbox as a process of its own: real sockets, connections that break, and an end in every way out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from backmarket.sandbox import SandboxControl, SandboxServer, SellerSpec
from tests.support.sandboxes import START
from tests.support.waiting import PATIENCE_SECONDS, wait_until

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Integration;test@example.com"}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer([SellerSpec(name="s", token="token", orders=120)]) as running:
        running.control.settings(assumptions={"signed_links": "none"})  # an answer is the same each time
        yield running


@pytest.fixture
def sandbox(server: SandboxServer) -> Iterator[SandboxServer]:
    """The server as it was at first, nothing counted."""
    server.control.reset()
    yield server
    server.control.remove_faults()
    server.control.settings(latency=0.0, jitter=0.0, enforce_limit=True, limit=200)


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers=HEADERS, timeout=PATIENCE_SECONDS) as client:
        yield client


def refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"kind": "reset"}, httpx.ReadError, "reset by peer"),
        ({"kind": "close"}, httpx.RemoteProtocolError, "without sending a response"),
        ({"kind": "cut"}, httpx.RemoteProtocolError, "without sending complete"),
        ({"kind": "timeout", "seconds": 0.2}, httpx.RemoteProtocolError, "without sending a response"),
    ],
)
def test_a_broken_connection_breaks_one_request_only(
    sandbox: SandboxServer, client: httpx.Client, fault: dict[str, Any], error: type[Exception], words: str
) -> None:
    sandbox.control.add_fault(**fault, operation="orders.list", count=1)
    assert client.get("/ws/listings").status_code == 200
    with pytest.raises(error, match=words):
        client.get("/ws/orders", params={"page-size": 50})
    assert client.get("/ws/orders").status_code == 200
    answered = sandbox.control.stats().sellers["s"]
    assert answered.faults == {fault["kind"]: 1}
    assert answered.statuses == ({200: 3} if fault["kind"] == "cut" else {200: 2, 0: 1})


def test_a_caller_that_gives_up_is_let_go(sandbox: SandboxServer, client: httpx.Client) -> None:
    sandbox.control.add_fault("timeout", seconds=PATIENCE_SECONDS, count=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/ws/orders", timeout=httpx.Timeout(PATIENCE_SECONDS, read=0.1))
    assert client.get("/ws/orders").status_code == 200


def test_a_slow_body_drips(sandbox: SandboxServer, client: httpx.Client) -> None:
    right = client.get("/ws/orders").content
    sandbox.control.add_fault("slow", seconds=2.0, count=1)
    began = time.monotonic()
    with client.stream("GET", "/ws/orders") as answer:
        parts = [part for part in answer.iter_raw() if part]
    assert b"".join(parts) == right
    assert len(parts) > 5
    assert time.monotonic() - began >= 1.9


def test_latency_holds_up_no_other_request(sandbox: SandboxServer) -> None:
    sandbox.control.settings(latency=3.0)

    async def ask() -> float:
        async with httpx.AsyncClient(base_url=sandbox.url, headers=HEADERS, timeout=PATIENCE_SECONDS) as client:
            began = time.monotonic()
            await asyncio.gather(*(client.get("/ws/orders") for _ in range(20)))
            return time.monotonic() - began

    assert asyncio.run(ask()) >= 3.0
    assert sandbox.control.stats().in_flight_maximum == 20


def test_violations_agree_with_the_log_of_arrivals(sandbox: SandboxServer) -> None:
    sandbox.control.settings(enforce_limit=False, limit=5, window=0.2, jitter=0.02)

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=sandbox.url, headers=HEADERS, timeout=PATIENCE_SECONDS) as client:
            for size in (3, 9, 2, 14, 6):
                await asyncio.gather(*(client.get("/ws/orders") for _ in range(size)))

    asyncio.run(ask())
    arrivals = [entry.arrival for entry in sandbox.control.requests()]
    over = [
        sum(1 for other in arrivals[:number] if other > moment - 0.2) >= 5 for number, moment in enumerate(arrivals)
    ]
    sandbox.control.settings(window=10.0)
    assert len(arrivals) == 34
    assert 0 < sandbox.control.stats().sellers["s"].violations == sum(over)


def test_every_page_of_many_askers_is_the_truth(sandbox: SandboxServer, client: httpx.Client) -> None:
    rows = [row for page in (1, 2, 3) for row in client.get(f"/ws/orders?page-size=50&page={page}").json()["results"]]
    assert sorted(rows, key=lambda row: row["order_id"]) == sandbox.control.truth("s")


def test_a_page_of_fifty_is_cheap() -> None:
    """About as much of the server's CPU as Python needs to encode it, or it would show in benchmarks of the client."""
    with SandboxServer([SellerSpec(name="s", token="token", orders=2000)], enforce_limit=False) as server:
        pages = 400
        with httpx.Client(base_url=server.url, headers=HEADERS) as client:
            before = _cpu_seconds(server.pid)
            for page in range(pages):
                client.get("/ws/orders", params={"page-size": 50, "page": 1 + page % 40})
            spent = _cpu_seconds(server.pid) - before
            rows = client.get("/ws/orders", params={"page-size": 50}).json()
    began = process_time()
    for _ in range(pages):
        json.dumps(rows)
    assert spent < 2 * (process_time() - began)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_two_sandboxes_do_not_meet() -> None:
    with SandboxServer() as one, SandboxServer() as two:
        one.control.add_seller("s", "token", orders=1)
        assert one.url != two.url
        assert httpx.get(two.url + "/ws/orders", headers=HEADERS).status_code == 401


def test_it_starts_over_as_a_new_process_would() -> None:
    spec = SellerSpec(name="s", token="token", orders=120)
    with SandboxServer([spec], start=START) as used, SandboxServer() as new:
        control = used.control
        first = control.truth("s")
        control.settings(limit=7, latency=0.01, assumptions={"list_order": "creation_asc"})
        control.add_fault("status", status=500)
        control.change("s", modify=3)
        control.start_over()
        assert (control.settings(), control.stats()) == (new.control.settings(), new.control.stats())
        control.add_seller("s", "token", orders=120)
        assert control.truth("s") == first


def test_it_ends_with_its_block_even_while_a_caller_waits(server: SandboxServer) -> None:
    with SandboxServer([SellerSpec(name="s", token="token", orders=1)]) as running:
        url, pid = running.url, running.pid
        running.control.add_fault("timeout", seconds=PATIENCE_SECONDS)
        waiting = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        waiting.sendall(b"GET /ws/orders HTTP/1.1\r\nHost: x\r\n\r\n")
    waiting.close()
    assert refuses(url)
    assert not Path(f"/proc/{pid}").exists()


PARENT = """
import time
from backmarket.sandbox import SandboxServer
with SandboxServer() as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent_however_that_ends(number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    url = parent.stdout.readline().decode().strip()
    assert not refuses(url)
    parent.send_signal(number)
    parent.wait(PATIENCE_SECONDS)
    parent.stdout.close()
    wait_until(lambda: refuses(url), "its end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped_and_shows_no_token(tmp_path: Path, number: signal.Signals) -> None:
    tokens_file = tmp_path / "tokens.json"
    command = [sys.executable, "-m", "backmarket.sandbox", "--port", "0", "--seed", "7", "--sellers", "2"]
    process = subprocess.Popen(
        [*command, "--orders", "12", "--tokens-file", str(tokens_file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    url = json.loads(line)["url"]
    tokens = json.loads(tokens_file.read_text())
    assert stat.S_IMODE(tokens_file.stat().st_mode) == 0o600
    assert list(tokens) == ["seller-1", "seller-2"]
    for token in tokens.values():
        answer = httpx.get(url + "/ws/orders", headers=HEADERS | {"authorization": f"Basic {token}"})
        assert answer.json()["count"] == 12
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (out, err) == (b"", b"")
    assert not any(token.encode() in line for token in tokens.values())


SENDING = (
    'POST /ws/orders/{order} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n{headers}\r\n{{"new_'
)
WAITING = "GET /ws/orders HTTP/1.1\r\n{headers}\r\n"


@pytest.mark.parametrize("request_", [SENDING, WAITING], ids=["it sends", "its connection is to be reset"])
def test_a_caller_that_goes_away_while(tmp_path: Path, request_: str) -> None:
    """It is no fault worth a traceback."""
    tokens_file = tmp_path / "tokens.json"
    command = [sys.executable, "-m", "backmarket.sandbox", "--port", "0", "--sellers", "1"]
    process = subprocess.Popen(
        [*command, "--tokens-file", str(tokens_file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    port = urlsplit(json.loads(process.stdout.readline())["url"]).port
    (token,) = json.loads(tokens_file.read_text()).values()
    control = SandboxControl(f"http://127.0.0.1:{port}")
    control.settings(latency=2.0)
    control.add_fault("reset", operation="orders.list")
    named = {"Host": "127.0.0.1", "Authorization": f"Basic {token}", "User-Agent": HEADERS["user-agent"]}
    headers = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    with socket.create_connection(("127.0.0.1", port)) as caller:
        order = control.truth("seller-1")[0]["order_id"]
        caller.sendall(request_.format(order=order, headers=headers).encode())
        wait_until(lambda: control.stats().in_flight == 1, "the request arrived")
    wait_until(lambda: control.stats().in_flight == 0, "it is let go")
    control.close()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE_SECONDS) == (b"", b"")


def test_a_port_that_is_taken_is_said_so(server: SandboxServer) -> None:
    port = server.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "backmarket.sandbox", "--port", port, "--sellers", "0"],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert b"Address already in use" in done.stderr
    assert b"Traceback" not in done.stderr
