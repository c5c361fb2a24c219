"""Events of tasks, which Flower reads: several threads report them, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from celery import Celery

from workers.celery_overrides.events import ThreadSafeEventDispatcher


class Broker:
    """Takes events like kombu's producer, or raises instead; `meanwhile` runs before it has taken them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.is_away = False
        self.meanwhile: Callable[[], object] = lambda: None

    def publish(self, event: Any, **_: Any) -> None:
        events = [each["uuid"] for each in event] if isinstance(event, list) else [event["uuid"]]
        if self.is_away:
            raise ConnectionError
        self.meanwhile()
        self.taken += events


@pytest.fixture
def broker() -> Broker:
    return Broker()


def dispatcher_to(broker: Broker) -> ThreadSafeEventDispatcher:
    app = Celery(broker="memory://", set_as_current=False)
    dispatcher = ThreadSafeEventDispatcher(app.connection_for_write(), app=app, buffer_group=["task"])
    dispatcher.producer = broker
    return dispatcher


def in_another_thread(report: Callable[[], object]) -> None:
    thread = Thread(target=report)
    thread.start()
    thread.join()


def test_what_a_thread_reports_while_others_are_sent_is_sent_next(broker: Broker) -> None:
    dispatcher = dispatcher_to(broker)
    dispatcher.send("task-started", uuid="first")
    broker.meanwhile = lambda: in_another_thread(lambda: dispatcher.send("task-started", uuid="second"))
    dispatcher.flush()
    broker.meanwhile = lambda: None
    dispatcher.flush()
    assert broker.taken == ["first", "second"]


def test_no_thread_of_the_pool_sends_anything_itself(broker: Broker) -> None:
    dispatcher = dispatcher_to(broker)
    for number in range(100):
        dispatcher.send("task-started", uuid=str(number))
    assert broker.taken == []
    dispatcher.flush()
    assert broker.taken == [str(number) for number in range(100)]


def test_what_cannot_be_sent_is_sent_in_its_order_with_the_next_connection(broker: Broker) -> None:
    old = dispatcher_to(broker)
    broker.is_away = True
    old.send("worker-heartbeat", uuid="beat")
    old.send("task-started", uuid="first")
    old.flush()
    old.flush()
    old.send("task-started", uuid="second")
    new = dispatcher_to(broker)
    new.extend_buffer(old)
    old.send("task-succeeded", uuid="of a task that began before")
    broker.is_away = False
    new.flush()
    assert broker.taken == ["beat", "first", "second", "of a task that began before"]
