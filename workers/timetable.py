"""The whole timetable of beat: ticks that say 'look what is due'. Every entry expires; two beats do no harm."""

from __future__ import annotations

from typing import Any

from backmarket import messages

TICK = 1.0
"""Seconds between two looks at what is due: a walk that was handed on waits no longer."""

UPKEEP_TICK = 5.0
"""Seconds between two looks whether the upkeep is due; when it is, a row knows."""

SWEEP_TICK = 5.0
"""Seconds between two looks whether something is to be deleted from the bucket, or the bucket to be swept."""

TIMETABLE: dict[str, dict[str, Any]] = {
    "dispatch": {"task": messages.DISPATCH, "schedule": TICK, "options": {"expires": 5}},
    "announce changes": {"task": messages.ANNOUNCE_CHANGES, "schedule": TICK, "options": {"expires": 5}},
    "sweep bucket": {"task": messages.SWEEP_BUCKET, "schedule": SWEEP_TICK, "options": {"expires": 5}},
    "upkeep": {"task": messages.UPKEEP, "schedule": UPKEEP_TICK, "options": {"expires": 5}},
}
