"""Remote control while the broker is away: what asks and what answers gives up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool, reset

from backmarket.standalone.embedded.valkey import Valkey
from workers.celery_overrides.producer import BoundedProducer
from workers.config import worker_settings


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path, durable=False)
    server._password = "word"
    server.start()
    yield server
    server.kill()


@pytest.fixture
def celery(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setattr(ProducerPool, "Producer", BoundedProducer)
    app = Celery("asks")
    app.conf.update(worker_settings(valkey.url))
    yield app
    app.close()
    reset()


@pytest.mark.timeout(120)  # without the bound it never ends
def test_a_command_ends_though_the_broker_went_away_and_the_next_one_arrives(celery: Celery, valkey: Valkey) -> None:
    celery.control.enable_events()  # over a connection that is kept
    valkey.kill()
    with pytest.raises(OperationalError):
        celery.control.enable_events()
    valkey.start()
    celery.control.enable_events()


@pytest.mark.timeout(120)
def test_an_answer_ends_though_the_broker_went_away(celery: Celery, valkey: Valkey) -> None:
    with celery.connection_for_write() as connection:
        node = celery.control.mailbox(connection).Node("worker", channel=connection.default_channel)
        asker = {"exchange": "reply.celery.pidbox", "routing_key": "asker"}
        node.reply({"worker": "pong"}, ticket="1", **asker)
        valkey.kill()
        with pytest.raises(OperationalError):
            node.reply({"worker": "pong"}, ticket="1", **asker)
