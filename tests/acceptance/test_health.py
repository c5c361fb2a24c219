"""Is a process alive, and can it work: asked as a container's health check asks, of real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from backmarket.database import SCHEMA_VERSION
from backmarket.messages import DISPATCH, QUEUES
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet, FleetError
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from tests.support.databases import open_connection
from tests.support.sellers import environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

HANGING = Path(__file__).parent / "hanging"
STALL_SECONDS = 60.0
SHORT_STALL_SECONDS = 1.0


class Watched:
    """A worker and a beat, each with its health on a port of its own."""

    def __init__(self, fleet: Fleet, ports: dict[str, int], directory: Path) -> None:
        self.fleet = fleet
        self.ports = ports
        self.directory = directory

    def get(self, name: str, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[name]}{path}", timeout=PATIENCE_SECONDS
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def age(self, name: str) -> float:
        """Seconds since its main loop turned."""
        return float(self.get(name, "/livez")[1]["seconds_since_turn"])

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def check(self, name: str, what: str) -> int:
        """The exit code of the command that a container's health check runs."""
        return ask(what, {"BACKMARKET_HEALTH_PORT": str(self.ports[name])}).returncode

    def wait(self, name: str, what: str, code: int) -> None:
        wait_until(lambda: self.check(name, what) == code, f"{name}: {what} gives {code}")

    def restart_beat(self) -> None:
        self.fleet.kill("beat", signal.SIGTERM)
        self.fleet.wait_exit("beat", PATIENCE_SECONDS)
        self.fleet.start_beat(environment={"BACKMARKET_HEALTH_PORT": str(self.ports["beat"])})
        self.wait("beat", "live", 0)

    def checks(self, name: str) -> dict[str, str]:
        return dict(self.get(name, "/readyz")[1]["checks"])


def ask(what: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers.health", *what.split()]
    variables = os.environ | variables
    return subprocess.run(command, check=False, cwd=CHECKOUT, env=variables, capture_output=True, text=True)


@contextmanager
def watched_fleet(settings: Settings, directory: Path, patience: float = STALL_SECONDS) -> Iterator[Watched]:
    ports = dict(zip(("sync", "beat"), free_ports(2), strict=True))
    shared = environment(settings) | {"PYTHONPATH": str(HANGING), "BACKMARKET_HEALTH_STALL_SECONDS": str(patience)}
    with Fleet(shared, directory=directory, workers=(), beat=False) as fleet:
        fleet.start_worker(("orders",), "sync", environment={"BACKMARKET_HEALTH_PORT": str(ports["sync"])})
        fleet.start_beat(environment={"BACKMARKET_HEALTH_PORT": str(ports["beat"])})
        fleet.wait_ready()
        yield Watched(fleet, ports, directory)


@pytest.fixture
def watched(settings: Settings, tmp_path: Path) -> Iterator[Watched]:
    with watched_fleet(settings, tmp_path) as watched:
        yield watched


def test_a_process_that_works_is_alive_and_ready_until_something_lacks(
    watched: Watched, stack: Stack, settings: Settings
) -> None:
    well = {"ready": True, "ending": False, "checks": {"broker": "ok", "database": "ok", "bucket": "ok"}}
    wait_until(lambda: watched.get("sync", "/readyz")[1] == well, "all answers came in time")
    wait_until(lambda: watched.checks("beat") == {"broker": "ok"}, "beat's answer came in time")
    for name in watched.ports:
        assert watched.get(name, "/livez")[1]["alive"]
        watched.wait(name, "live", 0)
        watched.wait(name, "ready", 0)
    watched.fleet.kill("beat", signal.SIGSTOP)
    assert watched.check("beat", "live") == 1, "one that was stopped gives no answer"
    watched.fleet.kill("beat", signal.SIGCONT)
    watched.wait("beat", "live", 0)
    stack.postgres.stop()
    stack.s3.stop()
    wait_until(lambda: "PostgreSQL is unreachable" in watched.checks("sync")["database"], "PostgreSQL is named")
    checks = watched.checks("sync")
    assert "S3 server" in checks["bucket"] or "No answer" in checks["bucket"]
    watched.wait("sync", "live", 0)
    watched.wait("sync", "ready", 1)
    for secret in environment(settings).values():
        assert len(secret) < 12 or secret not in json.dumps(checks), "it is said without a secret"
    stack.postgres.start()
    stack.s3.start()
    watched.wait("sync", "ready", 0)


@pytest.mark.slow
def test_a_broker_that_is_away_is_no_reason_to_die(watched: Watched, stack: Stack, settings: Settings) -> None:
    """It says nothing, which holds a loop up for the 5 s of a socket's timeout; it is gone; it comes back."""
    with redis.Redis.from_url(environment(settings)["BACKMARKET_REDIS_URL"]) as client:
        wait_until(lambda: client.llen(QUEUES[DISPATCH]), "beat is connected")
    stack.valkey.pause()
    for name in watched.ports:
        wait_until(lambda name=name: watched.age(name) > 4, f"{name} is held up")  # type: ignore[misc]
        watched.wait(name, "ready", 1)
    for name in watched.ports:
        wait_until(lambda name=name: watched.age(name) < 3, f"{name} slices all the same")  # type: ignore[misc]
    stack.valkey.kill()
    unsent = watched.log("beat").count("beat.not_sent")
    wait_until(lambda: watched.log("beat").count("beat.not_sent") > unsent + 1, "beat tries again")
    watched.restart_beat()
    for name in ("sync", "beat"):
        wait_until(lambda name=name: '"again_in": 4.0' in watched.log(name), f"{name} tries again")  # type: ignore[misc]
        wait_until(lambda name=name: watched.age(name) < 1.9, f"{name} slices while it waits")  # type: ignore[misc]
    wait_until(lambda: "broker cannot be used" in watched.checks("sync")["broker"], "it says so")
    wait_until(lambda: watched.checks("sync")["database"] == "ok", "the database answers")
    for name in watched.ports:
        watched.wait(name, "live", 0)
    stack.valkey.start()
    for name in watched.ports:
        watched.wait(name, "ready", 0)
    lost = watched.log("sync").count("Connection to broker lost")
    with redis.Redis.from_url(stack.addresses.redis_url) as client:
        client.config_set("min-replicas-to-write", 1)  # it refuses to write, as with a full disk
        wait_until(lambda: watched.log("sync").count("Connection to broker lost") > lost, "it is refused")
        client.config_set("min-replicas-to-write", 0)
    for name in watched.ports:
        watched.wait(name, "live", 0)
    assert watched.fleet.died == []


@pytest.mark.slow
def test_a_main_loop_that_hangs_is_dead_though_its_threads_go_on(settings: Settings, tmp_path: Path) -> None:
    with watched_fleet(settings, tmp_path, SHORT_STALL_SECONDS) as watched:
        for name in watched.ports:
            watched.fleet.kill(name, signal.SIGXCPU)
        for name in watched.ports:
            wait_until(lambda name=name: watched.age(name) > 2 * SHORT_STALL_SECONDS, f"{name} hangs")  # type: ignore[misc]
            assert watched.check(name, "live") == 1
            wait_until(lambda name=name: watched.checks(name)["broker"] == "ok", "its other threads go on")  # type: ignore[misc]
            watched.fleet.kill(name)


@pytest.mark.slow
def test_a_port_in_use_is_reported_and_nothing_starts(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        variables = environment(settings) | {"BACKMARKET_HEALTH_PORT": str(taken.getsockname()[1])}
        with (
            Fleet(variables, directory=tmp_path, workers=(Pool("sync", ("orders",)),), beat=False) as fleet,
            pytest.raises(FleetError, match=r"sync ended with code 1(.|\n)*HEALTH_PORT \d+: Address already in use"),
        ):
            fleet.wait_ready()


def test_a_worker_waits_for_the_tables_that_it_knows(settings: Settings, tmp_path: Path, database_url: str) -> None:
    (port,) = free_ports(1)
    variables = environment(settings) | {"BACKMARKET_HEALTH_PORT": str(port)}
    with open_connection(database_url, autocommit=True) as connection:
        connection.execute("UPDATE backmarket.schema_version SET version = 1")
        with Fleet(variables, directory=tmp_path, workers=(Pool("sync", ("orders",)),), beat=False) as fleet:
            watched = Watched(fleet, {"sync": port}, tmp_path)
            wait_until(lambda: "schema.differs" in watched.log("sync"), "it says so")
            assert "has schema version 1, and this program needs" in watched.log("sync")
            assert "`backmarket db migrate`" in watched.checks("sync")["database"]
            connection.execute("UPDATE backmarket.schema_version SET version = 99")
            newer = "run a newer version of it"
            wait_until(lambda: newer in watched.checks("sync")["database"], "newer tables are not its own either")
            watched.wait("sync", "live", 0)
            watched.wait("sync", "ready", 1)
            connection.execute("UPDATE backmarket.schema_version SET version = %s", (SCHEMA_VERSION,))
            fleet.wait_ready()
            watched.wait("sync", "ready", 0)


@pytest.mark.parametrize(
    ("arguments", "port", "code", "said"),
    [
        ("live", "", 1, "Set BACKMARKET_HEALTH_PORT"),
        ("live", "0", 1, "Set BACKMARKET_HEALTH_PORT"),
        ("live", "many", 1, "No answer"),
        ("alive", "1", 2, "live|ready"),
        ("", "1", 2, "live|ready"),
    ],
)
def test_the_command_says_what_is_wrong_with_it(arguments: str, port: str, code: int, said: str) -> None:
    asked = ask(arguments, {"BACKMARKET_HEALTH_PORT": port})
    assert asked.returncode == code
    assert said in asked.stderr


def test_the_command_imports_next_to_nothing() -> None:
    show = "import runpy, sys; sys.argv[1:] = ['live']\ntry: runpy.run_module('workers.health', run_name='__main__')"
    show += "\nexcept SystemExit: print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", show], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    heavy = {"celery", "kombu", "redis", "psycopg", "pydantic", "http.client", "structlog", "asyncio"}
    assert heavy & set(shown.stdout.split()) == set()
