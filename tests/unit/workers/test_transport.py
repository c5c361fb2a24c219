"""What a worker gives back at its end, and how often it looks for what another one left behind."""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import structlog

from workers.celery_overrides import transport


def test_what_is_given_back_is_a_line_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    restored: list[str] = []
    channel = SimpleNamespace(do_restore=True, _restore=restored.append, _closing=False)
    qos = transport.QoS(channel)
    qos.restore_at_shutdown = True

    def restore_unacked() -> None:
        restored.extend(qos._delivered)
        qos._delivered.clear()

    qos.restore_unacked = restore_unacked
    qos._delivered["tag"] = "a message"
    with structlog.testing.capture_logs() as told:
        qos.restore_unacked_once()
    assert restored == ["tag"]
    assert [(line["event"], line["count"]) for line in told] == [("messages.given_back", 1)]
    assert capfd.readouterr() == ("", "")
    assert transport.Channel.QoS is transport.QoS


def test_messages_of_a_killed_worker_are_looked_for_at_each_call() -> None:
    """Kombu calls each 10 s and looks at every 10th call; a dead connection is noticed then, too."""
    client = MagicMock()
    client.time.return_value = (1_000, 0)
    client.zrangebyscore.return_value = []
    options = {"visibility_timeout": 900, "unacked_mutex_key": "mutex", "unacked_mutex_expire": 300}
    channel = SimpleNamespace(
        do_restore=True, conn_or_acquire=lambda: nullcontext(client), unacked_index_key="index", **options
    )
    qos = transport.QoS(channel)
    for _ in range(3):
        qos.restore_visible(num=10)
    assert client.zrangebyscore.call_count == 3


def test_flower_puts_no_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport.QoS, "restore_visible", transport.QoS.restore_visible)
    transport.restore_nothing()
    channel = MagicMock()
    transport.QoS(channel).restore_visible(num=10)
    channel.conn_or_acquire.assert_not_called()


def test_a_channel_makes_one_client_for_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = transport.Channel.__new__(transport.Channel)
    monkeypatch.setattr(transport.Channel, "_create_client", lambda self: SimpleNamespace(connection_pool=self.pool))
    channel._pool = "first"
    clients = []
    for _ in range(3):
        with channel.conn_or_acquire() as client:
            clients.append(client)
    channel._pool = "after a fork, or when the channel was closed"
    with channel.conn_or_acquire() as client:
        clients.append(client)
    assert clients[0] is clients[1] is clients[2] is not clients[3]
    with channel.conn_or_acquire(clients[0]) as client:
        assert client is clients[0]
    channel.closed = True
