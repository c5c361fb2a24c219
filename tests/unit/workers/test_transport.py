"""What a worker gives back at its end is a line of the log, and nothing beside it on standard error."""

from types import SimpleNamespace

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
