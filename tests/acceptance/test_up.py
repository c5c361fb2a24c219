"""`backmarket up` as a person runs it: everything starts, is found by other terminals, is kept alive, and ends."""

from __future__ import annotations

import base64
import http.client
import re
import signal
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from backmarket.standalone.up.supervisor import MAX_RESTART_PAUSE_SECONDS, Supervised, Supervisor
from tests.support.up import Up
from tests.support.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*options: str, name: str = "stack", **environment: str) -> Up:
        started.append(Up(tmp_path / name, *options, **environment))
        return started[-1]

    yield start
    for up in started:
        up.close()


def all_synced(up: Up) -> bool:
    found = up.ask("status")["items"]
    return len(found) == 12 and all(each["state"] == "ok" for each in found)


def flower(said: str, path: str, *, with_password: bool = True) -> tuple[int, str]:
    """Ask Flower where and as `up` says it."""
    shown = re.search(r"Flower +http://127\.0\.0\.1:(\d+)   user (\S+), password (\S+)", said)
    assert shown
    connection = http.client.HTTPConnection("127.0.0.1", int(shown[1]), timeout=PATIENCE_SECONDS)
    login = base64.b64encode(f"{shown[2]}:{shown[3]}".encode()).decode()
    connection.request("GET", path, headers={"Authorization": f"Basic {login}"} if with_password else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def console(said: str) -> str:
    """The console's first page, for whom `up` says may log in."""
    shown = re.search(r"Console +(http://127\.0\.0\.1:\d+)   user (\S+), password (\S+)", said)
    assert shown
    with httpx.Client(base_url=shown[1], timeout=PATIENCE_SECONDS, follow_redirects=True) as client:
        token = client.get("/").text.partition('name="csrf" value="')[2].partition('"')[0]
        return client.post("/login", data={"csrf": token, "name": shown[2], "password": shown[3]}).text


def flower_shows_a_sync(up: Up) -> bool:
    """Ask for one, and look: Flower shows what happens from the moment at which it listens."""
    up.ask("sync", "seller-1")
    return "seller-1" in flower(up.said(), "/api/tasks")[1]


@pytest.mark.slow
def test_everything_runs_until_it_is_told_to_end_and_is_found_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Everything runs")
    wait_until(lambda: all_synced(up), "the sandbox's sellers are synced")
    assert flower(up.said(), "/api/tasks", with_password=False)[0] == 401
    wait_until(lambda: flower_shows_a_sync(up), "Flower shows the syncs")
    assert 'href="/o/seller-1"' in console(up.said())
    private = [up.directory / name for name in ("env", "state.json", "logs/sync.log")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert re.search(r'"sync@[^"\s]+ ready\.', (up.directory / "logs" / "sync.log").read_text()), "it says who it is"
    orders = up.ask("orders", "list", "seller-1")
    before = up.variables()
    assert up.end(signal.SIGINT) == 0
    up.assert_gone()
    assert "killed" not in up.said()

    again = start("--no-sandbox")
    again.wait_for("Everything runs")
    assert again.ask("orders", "list", "seller-1") == orders, "what was stored is still there"
    same = ("BACKMARKET_SECRET_KEYS", "BACKMARKET_LIMITER_KEY", "BACKMARKET_REDIS_URL")
    assert all(again.variables()[name] == before[name] for name in same)
    assert {each["state"] for each in again.ask("status")["items"]} == {"disabled"}, "their sandbox is not there"
    assert again.end(signal.SIGTERM) == 0
    again.assert_gone()


@pytest.mark.slow
def test_what_dies_is_reported_and_started_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("Everything runs")
    wait_until(lambda: all_synced(up), "no lease is held that would have to run out")
    for words in (
        "-m workers beat",
        "-n sync@",
        "valkey-server",
        "sandbox --child",
        "-m backmarket.console",
    ):
        up.one(words).kill()
    for name in ("beat", "sync", "Valkey", "The sandbox", "The console"):
        up.wait_for(f"{name} was started again.")
    assert "sync ended with code -9" in up.said()
    up.ask("sync", "seller-1", "--wait")
    assert up.end(signal.SIGINT) == 0
    up.assert_gone()


@pytest.mark.slow
def test_nothing_is_left_when_it_was_killed_and_two_at_once_do_not_meet(start: Callable[..., Up]) -> None:
    up, other = start("--no-sandbox"), start("--no-sandbox", name="other")
    up.wait_for("Everything runs")
    other.wait_for("Everything runs")
    refused = start("--no-sandbox")
    assert refused.process.wait(PATIENCE_SECONDS) == 2
    assert f"A stack runs in {up.directory} already" in refused.said()
    up.output = refused.output
    up.end(signal.SIGKILL)
    up.assert_gone()
    assert len(other.left()) == len(other.family), "the other one goes on"
    again = start("--no-sandbox")
    again.wait_for("Everything runs")
    assert again.end(signal.SIGINT) == 0
    assert other.end(signal.SIGHUP) == 0
    again.assert_gone()
    other.assert_gone()


@pytest.mark.slow
@pytest.mark.parametrize("words", ["Starting PostgreSQL", "Starting a sandbox", "Starting workers"])
def test_ctrl_c_while_it_starts_leaves_nothing(start: Callable[..., Up], words: str) -> None:
    up = start()
    up.wait_for(words)
    assert up.end(signal.SIGINT) == 130
    up.assert_gone()


@pytest.mark.slow
def test_a_database_of_the_users_own_takes_its_own_keys_and_no_sandbox(
    start: Callable[..., Up], database_url: str
) -> None:
    up = start(BACKMARKET_DATABASE_URL=database_url)
    assert up.process.wait(PATIENCE_SECONDS) == 2
    assert "Set BACKMARKET_SECRET_KEYS" in up.said()
    keys = {"BACKMARKET_SECRET_KEYS": base64.urlsafe_b64encode(bytes(32)).decode(), "BACKMARKET_LIMITER_KEY": "x" * 24}
    up = start(BACKMARKET_DATABASE_URL=database_url, **keys)
    up.wait_for("Everything runs")
    assert "Sandbox" not in up.said()
    assert up.variables()["BACKMARKET_DATABASE_URL"] == database_url
    assert up.ask("connections", "list")["items"] == []
    assert up.end(signal.SIGINT) == 0


class TestSupervisor:
    def test_the_pauses_grow_and_begin_anew_after_a_steady_life(self) -> None:
        now, living = [0.0], [True]
        said: list[str] = []
        starts: list[float] = []
        supervised = Supervised("it", lambda: living[0], lambda: "it died", lambda: starts.append(now[0]))
        supervisor = Supervisor([supervised], said.append, clock=lambda: now[0])

        def until(end: float) -> None:
            while now[0] < end:
                now[0] += 0.5
                supervisor.check()

        until(10)
        assert (said, starts) == ([], [])
        living[0] = False
        until(400)
        gaps = [round(later - earlier) for earlier, later in pairwise(starts)]
        assert gaps[:5] == [2, 4, 8, 16, 32], "and half a second to see it"
        assert gaps[-1] == round(MAX_RESTART_PAUSE_SECONDS)
        living[0] = True
        until(500)
        living[0], starts[:] = False, []
        until(505)
        assert starts[0] <= 502
