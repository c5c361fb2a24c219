"""The host application's Celery task: a message for each event, in order, at least once."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from backmarket.events import delivery
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.integration.events.conftest import Office


@pytest.fixture
def event_settings(event_settings: Settings) -> Settings:
    return event_settings.model_copy(update={"event_task": "shop.tasks.on_change", "event_queue": "shop"})


@pytest.fixture
def queue(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def messages(queue: redis.Redis) -> list[tuple[str, dict[str, Any]]]:
    """Task and argument of each message that waits, the oldest first."""
    found = []
    for text in reversed(queue.lrange("shop", 0, -1)):
        message = json.loads(text)
        (arguments, _, _) = json.loads(b64decode(message["body"]))
        found.append((message["headers"]["task"], arguments[0]))
    return found


def test_each_event_is_a_message_from_the_first_start_on(office: Office, queue: redis.Redis) -> None:
    office.happen("before")
    office.slice()
    office.happen(*range(600), field_values={"state": [1, 3]})
    while office.slice().delivered:
        pass
    found = messages(queue)
    assert [event["external_id"] for _, event in found] == [str(number) for number in range(600)]
    task, event = found[0]
    assert (task, event["kind"], event["values"]) == ("shop.tasks.on_change", "updated", {"state": [1, 3]})
    assert office.execute("SELECT endpoint_id FROM backmarket.event_attempts") == []


def test_nothing_is_sent_while_the_queue_is_full(
    office: Office, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.slice()
    monkeypatch.setattr(delivery, "QUEUE_FULL", 2)
    queue.lpush("shop", "a", "b")
    office.happen(1)
    assert office.slice().failed == 1
    (endpoint,) = office.bm.get_event_endpoints()
    assert (endpoint.kind, endpoint.error_code) == ("task", "broker_unavailable")
    queue.delete("shop")
    office.make_due()
    office.slice()
    assert [event["external_id"] for _, event in messages(queue)] == ["1"]


def test_a_broker_that_is_away_or_was_emptied_loses_nothing(office: Office, queue: redis.Redis, stack: Stack) -> None:
    office.slice()
    stack.valkey.kill()
    office.happen(1)
    assert office.slice().failed == 1
    stack.valkey.start()
    queue.flushdb()
    office.make_due()
    office.slice()
    assert [event["external_id"] for _, event in messages(queue)] == ["1"]


def test_it_is_never_disabled_for_failing(office: Office, stack: Stack) -> None:
    office.slice()
    stack.valkey.kill()
    office.happen(1)
    office.slice()
    office.execute("UPDATE backmarket.event_endpoints SET failing_since = now() - interval '9 days'")
    office.make_due()
    assert office.slice().disabled == 0
    stack.valkey.start()


def test_without_the_setting_it_waits(office: Office, queue: redis.Redis) -> None:
    office.slice()
    office.happen(1)
    without = office.services.settings.model_copy(update={"event_task": ""})
    own = type(office.services)(without)
    from backmarket.events.engine import run_slice

    assert run_slice(own).delivered == 0
    own.close()
    office.slice()
    assert len(messages(queue)) == 1
