"""Messages as contracts: every name is a task, every message fits it, and both ends are set up alike."""

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from socket import TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT
from typing import Any

import pytest
from celery import Celery, Task

from backmarket import messages
from backmarket.messages import QUEUES, SYNC_TASKS, Nudge
from backmarket.producer import Producer, celery_settings
from backmarket.resources import RESOURCES
from tests.support.waiting import PATIENCE_SECONDS

CHECKOUT = Path(__file__).parents[2]
NAMES = {name: value for name, value in vars(messages).items() if name.isupper() and isinstance(value, str)}
DUMMY = "redis://127.0.0.1:1/0"
"""Nobody listens there."""

SETTINGS = (
    *("accept_content", "task_serializer", "result_backend", "task_ignore_result", "task_create_missing_queues"),
    *("task_acks_late", "task_reject_on_worker_lost", "worker_prefetch_multiplier", "worker_send_task_events"),
    *("broker_transport_options", "broker_connection_timeout", "task_default_queue", "task_routes", "timezone"),
)

OPTIONS = ("acks_late", "reject_on_worker_lost", "ignore_result", "send_events")

PROGRAM = "import json; from tests.unit.test_messages import facts; print(json.dumps(facts()))"


def facts() -> dict[str, Any]:
    """What the Celery application of the workers is made of; asked in a process of its own."""
    connections: list[str] = []
    sys.addaudithook(lambda event, _: connections.append(event) if event in OUTWARD else None)
    from workers.app import app

    app.loader.import_default_modules()
    app.finalize()
    tasks = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
    return {
        "connections": connections,
        "tasks": {
            name: {
                "strange": strange(task),
                "queue": app.amqp.router.route({}, name)["queue"].name,
                **{option: getattr(task, option) for option in OPTIONS},
            }
            for name, task in tasks.items()
        },
        "beat": {
            name: {**entry, "misfit": misfit(tasks[entry["task"]], entry.get("args", ()), entry.get("kwargs", {}))}
            for name, entry in app.conf.beat_schedule.items()
        },
        "nudges": {name: misfit(tasks[name], ("org",), {"nudge": True}) for name in SYNC_TASKS.values()},
        "queues": sorted(queue.name for queue in app.conf.task_queues),
        "settings": {name: app.conf[name] for name in SETTINGS},
    }


OUTWARD = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}


def strange(task: Task) -> list[str]:
    """Options that Celery does not know, which it takes without a word."""
    known = {*dir(Task), *(name for name, _ in Task.from_config), "_decorated"}
    given = {name for kind in task.__class__.__mro__ if kind not in Task.__mro__ for name in vars(kind)}
    return sorted(name for name in given - known if not name.startswith("__"))


def misfit(task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why a task cannot be called so; empty if it can."""
    try:
        signature(task.run).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def worker() -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=CHECKOUT,
        env={**os.environ, "BACKMARKET_REDIS_URL": DUMMY},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_importing_the_application_sends_nothing(worker: dict[str, Any]) -> None:
    assert worker["connections"] == []


def test_without_a_broker_it_ends_with_a_sentence() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import workers.app"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stderr.startswith("Set BACKMARKET_REDIS_URL: ")) == (1, True)


def test_every_name_is_a_task_and_every_task_has_a_name(worker: dict[str, Any]) -> None:
    assert set(NAMES.values()) == set(worker["tasks"]) == set(QUEUES)


def test_every_resource_has_a_task_of_its_own() -> None:
    assert set(SYNC_TASKS) == set(RESOURCES)
    assert len(set(SYNC_TASKS.values())) == len(SYNC_TASKS)


def test_every_task_has_its_queue(worker: dict[str, Any]) -> None:
    assert {name: task["queue"] for name, task in worker["tasks"].items()} == QUEUES
    assert worker["queues"] == sorted(set(QUEUES.values()))
    assert worker["settings"]["task_default_queue"] in worker["queues"]


def test_every_task_is_late_and_silent(worker: dict[str, Any]) -> None:
    for name, task in worker["tasks"].items():
        assert (name, task["acks_late"], task["reject_on_worker_lost"], task["ignore_result"]) == (
            name,
            True,
            True,
            True,
        )


def test_every_option_is_one_that_celery_knows(worker: dict[str, Any]) -> None:
    assert [(name, option) for name, task in worker["tasks"].items() for option in task["strange"]] == []


def test_a_misspelt_option_is_found() -> None:
    app = Celery("test", broker="memory://", set_as_current=False)

    def nothing() -> None: ...

    known = app.task(nothing, name="known", acks_late=True, expires=5, rate_limit="1/s")
    misspelt = app.task(nothing, name="misspelt", ack_late=True, expire=5)
    assert (strange(known), strange(misspelt)) == ([], ["ack_late", "expire"])


def test_every_beat_entry_fits_its_task_and_never_expires(worker: dict[str, Any]) -> None:
    assert {name: entry["misfit"] for name, entry in worker["beat"].items()} == dict.fromkeys(worker["beat"], "")
    assert {name: set(entry) - {"task", "schedule", "misfit"} for name, entry in worker["beat"].items()} == {
        name: set() for name in worker["beat"]
    }


def test_the_dispatcher_looks_every_second(worker: dict[str, Any]) -> None:
    ticks = [entry["schedule"] for entry in worker["beat"].values() if entry["task"] == messages.DISPATCH]
    assert ticks == [1.0]


def test_a_call_that_does_not_fit_is_found() -> None:
    app = Celery("test", broker="memory://", set_as_current=False)

    @app.task(name="one")
    def task(resource: str) -> None: ...

    assert misfit(task, ("orders",), {}) == ""
    assert misfit(task, (), {}) == "missing a required argument: 'resource'"
    assert misfit(task, ("orders", "more"), {}) == "too many positional arguments"


def test_nudges_fit_their_tasks(worker: dict[str, Any]) -> None:
    assert worker["nudges"] == dict.fromkeys(SYNC_TASKS.values(), "")


def test_a_broker_that_is_away_loses_a_nudge_without_an_error() -> None:
    producer = Producer(DUMMY)
    assert producer.nudge([Nudge("orders", "org")]) == 0
    producer.close()


def test_json_only_no_results_and_no_queue_by_a_misspelling(worker: dict[str, Any]) -> None:
    settings = worker["settings"]
    assert (settings["accept_content"], settings["task_serializer"]) == (["json"], "json")
    assert (settings["result_backend"], settings["task_ignore_result"]) == (None, True)
    assert settings["task_create_missing_queues"] is False


def test_flower_hears_of_work_and_not_of_ticks(worker: dict[str, Any]) -> None:
    ticks = {entry["task"] for entry in worker["beat"].values()}
    assert {name for name, task in worker["tasks"].items() if not task["send_events"]} == ticks


def test_late_one_by_one_and_without_events(worker: dict[str, Any]) -> None:
    settings = worker["settings"]
    assert (settings["task_acks_late"], settings["task_reject_on_worker_lost"]) == (True, True)
    assert (settings["worker_prefetch_multiplier"], settings["worker_send_task_events"]) == (1, False)


KEEPALIVE = {
    str(number): value
    for number, value in {TCP_KEEPIDLE: 2, TCP_KEEPINTVL: 1, TCP_KEEPCNT: 2, TCP_USER_TIMEOUT: 4000}.items()
}
"""As JSON has it."""


def test_the_broker_is_used_as_it_was_measured(worker: dict[str, Any]) -> None:
    """As docs/decisions/0002 says; whoever changes one measures again."""
    assert worker["settings"]["broker_transport_options"] == {
        "visibility_timeout": 900,
        "priority_steps": [0],
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "socket_keepalive_options": KEEPALIVE,
        "health_check_interval": 10,
    }


def test_producers_and_workers_are_set_up_alike(worker: dict[str, Any]) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings(DUMMY))
    ends = {"task_acks_late", "task_reject_on_worker_lost", "worker_prefetch_multiplier", "worker_send_task_events"}
    shared = {name: app.conf[name] for name in SETTINGS if name not in ends}
    assert json.loads(json.dumps(shared)) == {name: worker["settings"][name] for name in shared}
