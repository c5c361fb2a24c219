"""The broker is a border: a user with few rights suffices, and whoever else reaches it changes no worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from backmarket.messages import SYNC_ORDERS
from backmarket.producer import celery_settings
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from chaos.clocks import Clock
from tests.support.bad_messages import message
from tests.support.redis_users import redis_users
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders",), 2))
ORG = "auth0|1"
COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "cancel_consumer": {"queue": "orders"},
    "rate_limit": {"task_name": SYNC_ORDERS, "rate_limit": "1/h"},
    "time_limit": {"task_name": SYNC_ORDERS, "soft": 1, "hard": 1},
    "pool_shrink": {"n": 10},
    "revoke": {"task_id": "x", "terminate": True},
}


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings, sandbox.control)
        shop.sell(ORG, orders=3)
        shop.every(2)
        yield shop
        shop.services.close()


def runs(shop: Shop) -> int:
    return int(shop.one("SELECT sum(runs) FROM backmarket.sync_state"))


def goes_on(shop: Shop, what: str) -> None:
    before = runs(shop)
    wait_until(lambda: runs(shop) > before + 1, f"syncs go on: {what}")


def events(directory: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{name}.log").read_text().splitlines()]


@pytest.mark.parametrize("left_out", ["", "+info"])
def test_the_rights_of_a_worker_suffice_for_all(shop: Shop, tmp_path: Path, left_out: str) -> None:
    name, at = "worker", urlsplit(shop.settings.need("redis_url"))
    listed = redis_users(database=int(at.path.removeprefix("/")))[name]
    rules = [rule for rule in listed if rule != left_out]
    with redis.Redis.from_url(at.geturl()) as admin:
        admin.execute_command("ACL", "SETUSER", name, *rules)
        admin.execute_command("ACL", "LOG", "RESET")
        try:
            url = at._replace(netloc=f"{name}:word@{at.hostname}:{at.port}").geturl()
            shop.restart(redis_url=url)
            with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
                fleet.wait_ready(PATIENCE_SECONDS)
                goes_on(shop, "with few rights")
                assert fleet.stop() == []
            refused = {entry["object"] for entry in admin.acl_log() if entry["username"] == name}
            assert refused <= {"client|setinfo", left_out.removeprefix("+")}
        finally:
            admin.execute_command("ACL", "DELUSER", name)


def test_strangers_messages_run_no_other_task_and_stop_no_worker(shop: Shop, tmp_path: Path) -> None:
    stranger = Celery(set_as_current=False)
    stranger.conf.update(celery_settings(shop.settings.need("redis_url")))
    linked = message(SYNC_ORDERS, ["nobody"], body=json.dumps([["nobody"], {}, {"chain": [{"task": "x"}]}]).encode())
    waiting = message(SYNC_ORDERS, ["nobody"])
    waiting["headers"]["eta"] = "2099-01-01T00:00:00+00:00"
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        pids = fleet.pids
        with redis.Redis.from_url(shop.settings.need("redis_url")) as client:
            many = message("celery.map", [{"task": SYNC_ORDERS, "args": []}, ["nobody"] * 1000])
            client.lpush("orders", *(json.dumps(each) for each in (linked, waiting, many)))
            wait_until(lambda: told(tmp_path, "message.refused") == 3, "each was refused in a line")
        control = stranger.control
        for name, arguments in COMMANDS.items():
            control.broadcast(name, arguments=arguments)
        wait_until(lambda: told(tmp_path, "control.refused") == len(COMMANDS), "each command was refused in a line")
        assert {name.partition("@")[0] for answer in control.ping(timeout=5) for name in answer} == {"dispatch", "sync"}
        goes_on(shop, "in spite of strangers")
        assert fleet.pids == pids
    stranger.close()
    assert not [line for line in events(tmp_path, "sync") if line.get("organization") == "nobody"]


def told(directory: Path, event: str) -> int:
    return sum(line["event"] == event for line in events(directory, "sync"))


def test_clocks_that_are_hours_apart_stop_nothing_and_are_named(shop: Shop, tmp_path: Path) -> None:
    names = {"dispatch": 7200, "sync": -7200, "beat": 7200}
    clocks = {name: Clock(tmp_path / f"{name}.clock") for name in names}
    assert all(clock.works for clock in clocks.values())
    for name, apart in names.items():
        clocks[name].set(apart)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=(), beat=False) as fleet:
        fleet.start_worker(("dispatch",), "dispatch", 1, environment=clocks["dispatch"].environment)
        fleet.start_worker(("orders",), "sync", 2, environment=clocks["sync"].environment)
        fleet.start_beat(environment=clocks["beat"].environment)
        fleet.wait_ready(PATIENCE_SECONDS)
        goes_on(shop, "with clocks hours apart")
        clocks["beat"].set(-7200)
        goes_on(shop, "after beat's clock was set back")
        said = dict(
            shop.execute("SELECT split_part(process, '@', 1), round(ahead_seconds / 3600)::int FROM backmarket.clocks")
        )
        assert said == {"dispatch": 2, "sync": -2}
