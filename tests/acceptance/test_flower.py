"""Flower as it is started for real: it wants a password, shows readable tasks, and tells how each ended."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from backmarket.messages import NUDGED_TASKS, SYNC_ORDERS, Nudge
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet, FleetError
from backmarket.standalone.pools import FLEET, Pool
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
SYNC = Pool("sync", ("orders",))
LOGIN = "someone:secret"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        changes = {"rate_limit": 100_000, "request_deadline": PATIENCE_SECONDS}
        shop = Shop(settings.model_copy(update=changes), sandbox.control)
        yield shop
        shop.services.close()


def synced(shop: Shop) -> bool:
    return bool(shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"))


def saw_a_task(shop: Shop, port: int, path: str) -> bool:
    """Whether Flower knows of a sync; one that ran before it listened is none that it saw."""
    shop.services.producer.nudge([Nudge("orders", ORG)])
    return "sync_orders" in ask(port, path, LOGIN)[1]


class TestFlower:
    @pytest.mark.slow
    def test_it_asks_for_a_password_and_shows_readable_tasks(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        with Fleet(settings, directory=tmp_path, flower_port=port) as fleet:
            fleet.wait_ready()
            assert {ask(port, path)[0] for path in ("/", "/tasks", "/api/tasks", "/api/workers")} == {401}
            assert ask(port, "/api/tasks", "someone:wrong")[0] == 401
            shop.sell(ORG, orders=60)
            wait_until(lambda: synced(shop), "synced")
            wait_until(lambda: saw_a_task(shop, port, "/api/tasks"), "it saw the task")
            tasks = json.loads(ask(port, "/api/tasks", LOGIN)[1]).values()
            shown = {task["args"] for task in tasks if task["name"] == "backmarket.sync_orders"}
            assert shown == {f"('{ORG}',)"}
            assert all(address.ip == "127.0.0.1" for address in listening(fleet.pids["flower"]))

    @pytest.mark.slow
    def test_workers_tell_of_their_tasks_only_as_long_as_it_runs(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        shop.every(1)
        shop.sell(ORG, orders=60)
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        with (
            Fleet(settings, directory=tmp_path, flower_port=port) as fleet,
            redis.Redis.from_url(settings["BACKMARKET_REDIS_URL"]) as client,
            client.pubsub(ignore_subscribe_messages=True) as heard,
        ):
            fleet.wait_ready()
            heard.psubscribe("*celeryev*")
            wait_until(lambda: b"/task." in next_message(heard), "a task is told of")
            fleet.kill("flower", signal.SIGTERM)
            assert fleet.wait_exit("flower", PATIENCE_SECONDS) == 0
            wait_until(lambda: syncs_in_silence(shop, heard), "a whole sync of which nothing was told")

    @pytest.mark.slow
    def test_it_ends_when_it_is_told_to_though_the_broker_went_first(
        self, shop: Shop, stack: Stack, tmp_path: Path
    ) -> None:
        (port,) = free_ports(1)
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        with Fleet(settings, directory=tmp_path, workers=(), beat=False, flower_port=port) as fleet:
            fleet.wait_ready()
            stack.valkey.kill()
            try:
                fleet.kill("flower", signal.SIGTERM)
                assert fleet.wait_exit("flower", PATIENCE_SECONDS) == 0
            finally:
                stack.valkey.start()

    @pytest.mark.slow
    def test_behind_a_prefix_what_it_saw_survives_a_restart(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        settings = environment(shop.settings) | {
            "FLOWER_BASIC_AUTH": LOGIN,
            "FLOWER_DB": str(tmp_path / "seen"),
            "FLOWER_URL_PREFIX": "flower",
        }
        with Fleet(settings, directory=tmp_path, workers=(SYNC,), beat=False, flower_port=port) as fleet:
            fleet.wait_ready()
            told = "/flower/api/tasks"
            wait_until(lambda: saw_a_task(shop, port, told), "it saw the task")
            assert "flower_events_total{" in ask(port, "/flower/metrics")[1]
            fleet.kill("flower", signal.SIGTERM)
            assert fleet.wait_exit("flower", PATIENCE_SECONDS) == 0
            fleet.kill("sync")
            fleet.restart("flower")
            fleet.wait_ready()
            assert "sync_orders" in ask(port, told, LOGIN)[1]
            assert ask(port, told)[0] == 401

    @pytest.mark.slow
    def test_with_a_login_by_oauth_an_empty_password_opens_nothing(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        settings = environment(shop.settings) | {
            "FLOWER_BASIC_AUTH": "",
            "FLOWER_AUTH": r".*@shop\.example",
            "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
            **{f"FLOWER_OAUTH2_{name}": "x" for name in ("KEY", "SECRET", "REDIRECT_URI")},
        }
        with Fleet(settings, directory=tmp_path, workers=(), beat=False, flower_port=port) as fleet:
            fleet.wait_ready()
            assert {ask(port, "/tasks", login)[0] for login in ("", ":", "someone:")} == {302}

    @pytest.mark.slow
    @pytest.mark.parametrize("empty", [{}, {"FLOWER_BASIC_AUTH": "", "FLOWER_AUTH": ""}])
    def test_without_a_password_it_does_not_start(self, shop: Shop, tmp_path: Path, empty: dict[str, str]) -> None:
        (port,) = free_ports(1)
        nothing = environment(shop.settings) | empty
        with (
            Fleet(nothing, directory=tmp_path, workers=(), beat=False, flower_port=port) as fleet,
            pytest.raises(FleetError, match="Set FLOWER_BASIC_AUTH"),
        ):
            fleet.wait_ready()


def ask(port: int, path: str, login: str = "") -> tuple[int, str]:
    """Status and body of an answer of Flower's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def syncs_in_silence(shop: Shop, heard: Any) -> bool:
    """Let two syncs pass; whether no task was told of meanwhile."""
    list(iter(lambda: next_message(heard), b""))
    runs = shop.one("SELECT runs FROM backmarket.sync_state")
    wait_until(lambda: shop.one("SELECT runs FROM backmarket.sync_state") > runs + 1, "two more syncs")
    return not [told for told in iter(lambda: next_message(heard), b"") if b"/task." in told]


def next_message(heard: Any) -> bytes:
    """The channel of an event, such as `/0.celeryev/task.multi`; empty: none within a tenth of a second."""
    message = heard.get_message(timeout=0.1)
    return bytes(message["channel"]) if message else b""


def listening(pid: int) -> list[Any]:
    return [
        connection.laddr
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


TASKS = 5000
MAX_TASKS = 2000
"""Tasks that Flower remembers; see `flowerconfig.py`."""
NOBODY = "http://127.0.0.1:1"


class TestTruth:
    @pytest.mark.slow
    def test_what_failed_what_was_handed_on_and_what_is_done_are_told_apart(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        shop.resources = ("orders", "deliveries")
        shop.sandbox.add_fault("forbidden", operation="orders.list", seller="refused")
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        settings |= {"BACKMARKET_TASK_BUDGET_PAGES": "2", "BACKMARKET_S3_ENDPOINT_URL": NOBODY}
        with Fleet(settings, directory=tmp_path, flower_port=port) as fleet:
            fleet.wait_ready()
            wait_until(lambda: workers_send_events(port), "Flower hears of all workers")
            shop.sell("refused", orders=3)
            shop.sell(ORG, orders=5000, deliveries=3)  # far more pages than are requested ahead
            wait_until(lambda: told(port) >= TOLD, "Flower tells what happened")
            seen = tasks(port).values()
            shown = re.findall('data-column="(.*?)"', ask(port, "/tasks", LOGIN)[1])
            assert {"state", "result", "exception"} <= set(shown), "its page tells it, too"
            wait_until(lambda: not any(shop.services.producer.lengths().values()), "no message comes again")
            assert fleet.stop() == []
            url = settings["BACKMARKET_REDIS_URL"]
        with redis.Redis.from_url(url, decode_responses=True) as client:
            assert list(client.scan_iter("celery-task-meta-*")) == [], "no result is stored"
        assert {task["name"] for task in seen} <= {*NUDGED_TASKS.values()}, "ticks are not told of"
        failed = [task for task in seen if task["state"] == "FAILURE"]
        assert {(task["exception"].partition(":")[0], task["retries"]) for task in failed} == {
            ("forbidden", 0),
            ("bucket_unavailable", 0),
        }
        assert all(task["exception"].partition(": ")[2].endswith(".") for task in failed), "with its text"
        log = [json.loads(line) for line in (tmp_path / "sync.log").read_text().splitlines()]
        ran = Counter(line["task_id"] for line in log if line["event"] == "sync.slice")
        assert set(ran.values()) == {1}, "no message was delivered again"
        assert {line["logger"].partition(".")[0] for line in log if line["level"] != "info"} == {"backmarket"}
        assert not [line for line in log if line["event"].startswith("task.") or "at" in line]

    @pytest.mark.slow
    def test_thousands_of_short_tasks_all_end(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        shop.sell(ORG, orders=3)
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        with Fleet(settings, directory=tmp_path, workers=(SYNC,), beat=False, flower_port=port) as fleet:
            fleet.wait_ready()
            wait_until(lambda: saw_a_task(shop, port, "/api/tasks"), "it listens")
            shop.services.producer.nudge([Nudge("orders", ORG)] * TASKS)
            wait_until(lambda: not any(shop.services.producer.lengths().values()), "all were done")
            before = set(tasks(port))
            wait_until(lambda: saw_one_end(shop, port, before), "what was told before is seen")
            assert unended(port) == set()
            assert Counter(task["state"] for task in tasks(port).values())["SUCCESS"] == MAX_TASKS
            heard = dict(counted(port, SYNC_ORDERS))
            assert heard["task-received"] == heard["task-started"] == heard["task-succeeded"] > TASKS

    @pytest.mark.slow
    def test_the_last_task_of_a_worker_that_is_told_to_end_ends_in_flower_too(self, shop: Shop, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        settings = environment(shop.settings) | {"FLOWER_BASIC_AUTH": LOGIN}
        with Fleet(settings, directory=tmp_path, workers=(SYNC,), beat=False, flower_port=port) as fleet:
            fleet.wait_ready()
            wait_until(lambda: saw_a_task(shop, port, "/api/tasks"), "it listens")
            shop.sandbox.settings(latency=1.0)
            shop.sell(ORG, orders=10_000)
            shop.services.producer.nudge([Nudge("orders", ORG)])
            wait_until(lambda: shop.sandbox.stats().requests, "it asks the API")
            fleet.kill("sync", signal.SIGTERM)
            assert fleet.wait_exit("sync", PATIENCE_SECONDS) == 0
            wait_until(lambda: ("SUCCESS", "'handed_on'") in told(port), "it was handed on")
            assert unended(port) == set()


TOLD = {
    ("SUCCESS", "'done'"),
    ("SUCCESS", "'handed_on'"),
    ("FAILURE", "forbidden"),
    ("FAILURE", "bucket_unavailable"),
}
"""States of tasks, with their result, or the code of their error."""


def tasks(port: int) -> dict[str, dict[str, Any]]:
    """The tasks that Flower remembers."""
    found: dict[str, dict[str, Any]] = json.loads(ask(port, "/api/tasks", LOGIN)[1])
    return found


def told(port: int) -> set[tuple[str, str]]:
    """As `TOLD`."""
    return {
        (task["state"], (task["exception"] or task["result"] or "").partition(":")[0]) for task in tasks(port).values()
    }


def unended(port: int) -> set[str]:
    """States of tasks that Flower takes to wait or to run."""
    return {task["state"] for task in tasks(port).values()} - {"SUCCESS", "FAILURE"}


def saw_one_end(shop: Shop, port: int, before: set[str]) -> bool:
    """Send one more; whether Flower knows that one which it had not known before has ended."""
    shop.services.producer.nudge([Nudge("orders", ORG)])
    return any(task["state"] == "SUCCESS" for key, task in tasks(port).items() if key not in before)


def counted(port: int, task: str) -> Iterator[tuple[str, float]]:
    """How often Flower heard of each kind of event of a task.

    Args:
        task: its name; Flower knows none of a task that was received before it listened.
    """
    for family in text_string_to_metric_families(ask(port, "/metrics", LOGIN)[1]):
        for sample in family.samples:
            if sample.name == "flower_events_total" and sample.labels["task"] == task:
                yield sample.labels["type"], sample.value


def workers_send_events(port: int) -> bool:
    """Whether Flower has heard of all workers."""
    metrics = ask(port, "/metrics", LOGIN)[1]
    return all(f'flower_worker_online{{worker="{pool.name}@' in metrics for pool in FLEET)
