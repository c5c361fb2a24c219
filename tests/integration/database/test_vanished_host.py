"""PostgreSQL's host vanishes without a word: connections are given up, and a pool is not exhausted by dead ones."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from backmarket.database.conninfo import connection_text

CHECKOUT = Path(__file__).parents[3]


def test_every_connection_is_told_how_soon_a_silent_host_is_given_up() -> None:
    told = conninfo_to_dict(connection_text("postgresql://u:p@host/name"))
    assert told["tcp_user_timeout"] == "20000"
    idle, count, interval = (int(str(told[f"keepalives_{name}"])) for name in ("idle", "count", "interval"))
    probes = idle + count * interval
    assert (told["keepalives"], probes) == ("1", 20)


def test_what_the_url_says_goes_before() -> None:
    told = conninfo_to_dict(connection_text("postgresql://host/name?tcp_user_timeout=5000&connect_timeout=1"))
    assert (told["tcp_user_timeout"], told["connect_timeout"], told["keepalives_idle"]) == ("5000", "1", "10")


@pytest.mark.slow
def test_work_goes_on_within_half_a_minute_after_the_host_vanished() -> None:
    """In a network of its own, whose only interface loses every packet; a statement runs, and a connection is idle."""
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", PROGRAM], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen == {
        "running": "DatabaseUnavailable",
        "idle": "DatabaseUnavailable",
        "listening": "DatabaseUnavailable",
        "options": [20_000, 1, 10, 5, 2],
        "in time": True,
    }


PROGRAM = f"""
import json, subprocess, threading, time
from socket import SOL_SOCKET, SO_KEEPALIVE, IPPROTO_TCP, socket
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
from tests.integration.database.vanishing import served_by_tcp
with served_by_tcp() as database:
    seen, began = {{}}, threading.Event()
    def tell(name, work):
        try:
            work()
        except Exception as error:
            seen[name] = type(error).__name__
        else:
            seen[name] = "done"
    def run():
        with database.transaction() as transaction:
            began.set()
            transaction.execute("SELECT pg_sleep(600)")
    def ask():
        with database.transaction() as transaction:
            transaction.execute("SELECT 1")
    listener = database.listen("nothing")
    with database.transaction() as transaction:
        with socket(fileno=transaction.fileno()) as used:
            options = [used.getsockopt(IPPROTO_TCP, {socket.TCP_USER_TIMEOUT})]
            options += [used.getsockopt(SOL_SOCKET, SO_KEEPALIVE)]
            options += [used.getsockopt(IPPROTO_TCP, each) for each in
                ({socket.TCP_KEEPIDLE}, {socket.TCP_KEEPINTVL}, {socket.TCP_KEEPCNT})]
            used.detach()
    running = threading.Thread(target=tell, args=("running", run), daemon=True)
    running.start()
    began.wait()
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    at = time.monotonic()
    others = [threading.Thread(target=tell, args=("idle", ask), daemon=True),
        threading.Thread(target=tell, args=("listening", lambda: listener.wait(600)), daemon=True)]
    for each in others:
        each.start()
    for each in (running, *others):
        each.join(120)
    print(json.dumps(seen | {{"options": options, "in time": time.monotonic() - at < 60}}))
"""
