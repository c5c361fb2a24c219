"""What we override of Celery and kombu is in the installed ones, by the names that we use; and it stands together."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from celery.app.events import Events
from celery.app.utils import Settings
from celery.beat import ScheduleEntry, Scheduler
from celery.concurrency.base import BasePool
from celery.concurrency.thread import ApplyResult, TaskPool
from celery.events.dispatcher import EventDispatcher
from celery.worker import control
from celery.worker.consumer import Consumer
from kombu import Connection
from kombu.asynchronous import Hub
from kombu.message import Message
from kombu.messaging import Producer
from kombu.pidbox import Mailbox, Node
from kombu.pools import ProducerPool
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import NoPermissionError, OutOfMemoryError
from structlog.testing import capture_logs

import workers.celery_overrides
from backmarket import producer
from workers.celery_overrides import consumer, events, pool, scheduler, transport
from workers.celery_overrides import control as our_control
from workers.celery_overrides import producer as our_producer

CHECKOUT = Path(__file__).parents[3]

OVERRIDES: dict[type, type] = {
    consumer.HeartbeatConsumer: Consumer,
    consumer.FlushingConsumer: Consumer,
    consumer.RejectingConsumer: Consumer,
    pool.WakingPool: TaskPool,
    transport.QoS: redis.QoS,
    transport.Channel: redis.Channel,
    transport.Transport: redis.Transport,
    scheduler.MemoryScheduler: Scheduler,
    scheduler.SteadyEntry: ScheduleEntry,
    events.ThreadSafeEventDispatcher: EventDispatcher,
    events.ThreadSafeEvents: Events,
    our_control.StrictNode: Node,
    our_producer.BoundedProducer: Producer,
    producer._OurCelery: Celery,
}
"""Our class, and theirs."""

OWN = {
    "_ended",
    "_on_wake",
    "_reject",
    "our_broker_url",
    "_is_full",
    "_shared",
    "_full_since",
    "_told",
    "_server_clock",
    "_server_time",
    "_buffering",
}
"""Names of ours in these classes."""

USED: list[tuple[Any, str]] = [
    (Consumer, "register_with_event_loop"),
    (Consumer, "ensure_connected"),
    (Consumer, "create_task_handler"),
    (Consumer, "update_strategies"),
    (control.Panel, "data"),
    (Mailbox, "node_cls"),
    (Node, "handle_message"),
    (ProducerPool, "Producer"),
    (Connection, "ensure_connection"),
    (Message, "reject_log_error"),
    (Message, "acknowledged"),
    (TaskPool, "on_apply"),
    (BasePool, "register_with_event_loop"),
    (redis.QoS, "restore_unacked_once"),
    (redis.QoS, "append"),
    (redis.QoS, "restore_visible"),
    (redis.QoS, "restore_by_tag"),
    (redis.QoS, "pipe_or_acquire"),
    (redis.QoS, "unacked_key"),
    (redis.QoS, "unacked_index_key"),
    (redis.QoS, "unacked_mutex_key"),
    (redis.QoS, "unacked_mutex_expire"),
    (redis.QoS, "visibility_timeout"),
    (redis, "Mutex"),
    (redis, "MutexHeld"),
    (redis.Channel, "_brpop_read"),
    (redis.Channel, "QoS"),
    (redis.Channel, "_q_for_pri"),
    (redis.Channel, "_inplace_augment_message"),
    (redis.Channel, "prepare_message"),
    (redis.Channel, "conn_or_acquire"),
    (redis.Channel, "_create_client"),
    (redis.Channel, "pool"),
    (redis.Transport, "_deliver"),
    (redis.Transport, "Channel"),
    (Scheduler, "tick"),
    (Scheduler, "schedules_equal"),
    (Scheduler, "populate_heap"),
    (Scheduler, "apply_entry"),
    (Scheduler, "apply_async"),
    (Scheduler, "_ensure_connected"),
    (Scheduler, "producer"),
    (Scheduler, "Entry"),
    (ScheduleEntry, "default_now"),
    (Events, "dispatcher_cls"),
    (EventDispatcher, "send"),
    (EventDispatcher, "flush"),
    (EventDispatcher, "extend_buffer"),
    (EventDispatcher, "_publish"),
    (Consumer, "on_send_event_buffered"),
    (Consumer, "_flush_events"),
    (Consumer, "shutdown"),
    (Celery, "connection_for_write"),
    (Celery, "thread_oid"),
    (AMQP, "as_task_v2"),
]
"""What we call or override there, public or not."""

ELSEWHERE = {"backmarket/producer.py": {"_OurCelery"}, "tasks/base.py": {"BackMarketTask"}}
"""Subclasses of Celery's that stand in another place: applications import the one without workers, tasks the other."""


@pytest.mark.parametrize(("owner", "name"), USED, ids=[f"{owner.__name__}.{name}" for owner, name in USED])
def test_what_we_use_is_there(owner: Any, name: str) -> None:
    assert hasattr(owner, name)


@pytest.mark.parametrize("ours", OVERRIDES, ids=lambda ours: ours.__name__)
def test_what_we_override_is_theirs(ours: type) -> None:
    theirs = OVERRIDES[ours]
    assert issubclass(ours, theirs)
    names = {name for name in vars(ours) if not re.fullmatch(r"__\w+__", name)} - OWN
    assert {name for name in names if not hasattr(theirs, name)} == set()


@pytest.mark.parametrize("ours", OVERRIDES, ids=lambda ours: ours.__name__)
def test_each_says_which_behaviour_it_is_there_for(ours: type) -> None:
    assert re.search(r"\b(Celery|Kombu)\b", ours.__doc__ or "")


def test_what_we_use_has_the_form_that_we_use() -> None:
    assert "retry" in inspect.signature(EventDispatcher.send).parameters
    assert {"producer", "advance"} <= set(inspect.signature(Scheduler.apply_async).parameters)
    assert {"errback", "max_retries", "callback"} <= set(inspect.signature(Connection._ensure_connection).parameters)
    assert "conn.ensure_connection(" in inspect.getsource(Consumer.ensure_connected)
    assert "self._ensure_connected()" in inspect.getsource(Scheduler)
    assert "_delivered" in inspect.getsource(redis.QoS.__mro__[1])
    assert "self.f = " in inspect.getsource(ApplyResult)
    assert {"redis", "rediss"} <= set(TRANSPORT_ALIASES)
    assert {"_ready", "_ready_lock"} <= vars(Hub()).keys()
    assert {"_group_buffer", "_outbound_buffer", "buffer_limit", "mutex"} <= set(
        re.findall(r"self\.(\w+) = ", inspect.getsource(EventDispatcher.__init__))
    )
    assert "CELERY_BROKER_URL" in inspect.getsource(Settings)


def foreign_classes(tree: ast.Module) -> Iterator[str]:
    """Classes of a source that inherit from a class of Celery's or kombu's."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {"celery", "kombu"}:
            names |= {alias.asname or alias.name: node.module for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0]: alias.name for alias in node.names}
    foreign = {name for name, origin in names.items() if origin.split(".")[0] in {"celery", "kombu"}}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            roots = {ast.unparse(base).split(".")[0].split("[")[0] for base in node.bases}
            if roots & foreign:
                yield node.name


def test_they_stand_together() -> None:
    room = Path(workers.celery_overrides.__file__).parent
    layers = [CHECKOUT / layer for layer in ("backmarket", "tasks", "workers")]
    found = {}
    for path in sorted(path for layer in layers for path in layer.rglob("*.py")):
        classes = set(foreign_classes(ast.parse(path.read_text())))
        if classes and room not in path.parents:
            found[str(path.relative_to(CHECKOUT))] = classes
    assert found == ELSEWHERE


def test_a_message_that_redis_cannot_note_as_taken_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(redis.Transport, "_deliver", full)
    with pytest.raises(OutOfMemoryError):
        transport.Transport._deliver(transport.Transport(Connection("redis://")), {}, "orders")


def test_why_the_broker_cannot_be_used_is_told_in_its_own_words() -> None:
    with capture_logs() as told:
        consumer._log_unavailable(NoPermissionError("User poor has no permissions to run 'brpop'"), 2.0)
    assert told[0]["error"] == "User poor has no permissions to run 'brpop'"
