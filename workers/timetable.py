"""The whole timetable of beat: each tick tells a worker to look for due rows. Two beats at once do no harm."""

from __future__ import annotations

from typing import Any

from backmarket import messages

TICK = 1.0
"""Seconds between two ticks of the dispatcher: the longest wait of a walk that was handed on."""

UPKEEP_TICK = 5.0
"""Seconds between two checks of the row that says when the upkeep is due."""

SWEEP_TICK = 5.0
"""Seconds between two checks for queued deletions and for a due sweep of the bucket."""

PROBE_TICK = 5.0
"""Seconds between two checks for refused keys to probe."""

EVENT_TICK = 1.0
"""Seconds between two looks for events to be delivered: the longest wait of a new event."""

INBOX_TICK = 10.0
"""Seconds between two looks for what has begun to wait for a person."""

TIMETABLE: dict[str, dict[str, Any]] = {
    "dispatch": {"task": messages.DISPATCH, "schedule": TICK},
    "announce changes": {"task": messages.ANNOUNCE_CHANGES, "schedule": TICK},
    "record inbox": {"task": messages.RECORD_INBOX, "schedule": INBOX_TICK},
    "sweep bucket": {"task": messages.SWEEP_BUCKET, "schedule": SWEEP_TICK},
    "probe keys": {"task": messages.PROBE_KEYS, "schedule": PROBE_TICK},
    "deliver events": {"task": messages.DELIVER_EVENTS, "schedule": EVENT_TICK},
    "upkeep": {"task": messages.UPKEEP, "schedule": UPKEEP_TICK},
}
