"""Beat's entries are timed by the monotonic clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery

from backmarket import messages
from workers.celery_overrides import scheduler
from workers.celery_overrides.scheduler import SteadyEntry


def test_an_entry_is_due_after_its_interval_whatever_the_host_s_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    passed = [1000.0]
    monkeypatch.setattr(scheduler, "monotonic", lambda: passed[0])
    entry = SteadyEntry("tick", "task", schedule=1.0, app=app)
    monkeypatch.setattr(app, "now", lambda: pytest.fail("the host's clock was asked"))
    assert not entry.is_due().is_due
    passed[0] += 1.0
    assert entry.is_due().is_due
    following = entry._next_instance()
    assert following.last_run_at - entry.last_run_at == timedelta(seconds=1)
    assert not following.is_due().is_due
    app.close()


def test_the_timetable_is_filled_once_and_ticks_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": messages.DISPATCH, "schedule": 1.0}}
    passed = [1000.0]
    monkeypatch.setattr(scheduler, "monotonic", lambda: passed[0])
    beat = scheduler.MemoryScheduler(app, lazy=True)
    beat.setup_schedule()
    sent: list[str] = []
    monkeypatch.setattr(beat, "apply_entry", lambda entry, producer=None: sent.append(entry.name))
    filled = []
    fill = beat.populate_heap

    def fill_and_note() -> None:
        filled.append(1)
        fill()

    monkeypatch.setattr(beat, "populate_heap", fill_and_note)
    for _ in range(3):
        passed[0] += 1.0
        while beat.tick() == 0:
            pass
    assert (sent, filled) == (["tick"] * 3, [1])
    app.close()


def test_beat_wakes_when_an_entry_is_due_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": messages.DISPATCH, "schedule": 1.0}}
    app.conf.beat_max_loop_interval = 5
    passed = [1000.0]
    monkeypatch.setattr(scheduler, "monotonic", lambda: passed[0])
    beat = scheduler.MemoryScheduler(app, lazy=True)
    beat.setup_schedule()
    sent: list[float] = []
    monkeypatch.setattr(beat, "apply_entry", lambda *_, **__: sent.append(passed[0]))
    looks = 0
    while passed[0] < 1009.5:
        looks += 1
        passed[0] += max(0.0, beat.tick())  # as Celery sleeps: not at all if nothing is left
        passed[0] += 0.000_1
    assert len(sent) == 9
    assert looks <= 2 * len(sent) + 2
    app.close()
