"""Small plots of the copies' lag, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log

from markupsafe import Markup

from backmarket.status.lag_history import LagSample

HOURS = 24
SLOTS = 48
_WIDTH, _HEIGHT, _STEP = 96, 22, 2
_LEAST, _MOST = 60.0, 86400.0
"""Seconds at the bottom and at the top; the scale is logarithmic: five minutes and five hours are both visible."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar of the plot: half an hour.

    Attributes:
        seconds: maximum lag; None: unknown.
        failed: whether a run failed.
    """

    seconds: float | None = None
    failed: bool = False


def slots_of(samples: Sequence[LagSample], now: datetime, lag: float | None) -> list[Slot]:
    """The slots of the last day, the oldest first.

    Args:
        samples: the samples of one organization and resource.
        now: the end of the last slot.
        lag: current lag in seconds; None: never synced.
    """
    slots = [Slot()] * SLOTS
    width = timedelta(hours=HOURS) / SLOTS
    for sample in samples:
        index = SLOTS - 1 - int((now - sample.at) / width)
        if 0 <= index < SLOTS:
            before = slots[index]
            slots[index] = Slot(max(before.seconds or 0.0, sample.seconds), before.failed or sample.failed)
    if lag is not None:
        slots[-1] = Slot(max(slots[-1].seconds or 0.0, lag), slots[-1].failed)
    return slots


def sparkline(samples: Sequence[LagSample], now: datetime, lag: float | None, title: str) -> Markup:
    """The plot.

    Args:
        samples: see `slots_of`.
        now: see `slots_of`.
        lag: see `slots_of`.
        title: its text for screen readers.
    """
    bars: dict[bool, list[str]] = {False: [], True: []}
    for index, slot in enumerate(slots_of(samples, now, lag)):
        if slot.seconds is not None:
            bars[slot.failed].append(f"M{index * _STEP + _STEP // 2} {_HEIGHT - 1}v-{_height(slot.seconds)}")
    return Markup(
        '<svg class="spark" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">'
        '<title>{title}</title><path class="base" d="M0 {base}.5H{w}"/><path d="{good}"/><path class="bad" d="{bad}"/>'
        "</svg>"
    ).format(w=_WIDTH, h=_HEIGHT, base=_HEIGHT - 1, title=title, good="".join(bars[False]), bad="".join(bars[True]))


def in_words(samples: Sequence[LagSample], lag: float | None, span: str) -> str:
    """The description of a plot."""
    failed = sum(each.failed for each in samples)
    trouble = f", {failed} runs failed" if failed else ""
    return f"The last 24 hours: at worst {span} behind{trouble}" if samples or lag is not None else "Never synced"


def worst(samples: Sequence[LagSample], lag: float | None) -> float | None:
    """Maximum lag in seconds; None: unknown."""
    return max([*(each.seconds for each in samples), *([lag] if lag is not None else [])], default=None)


def _height(seconds: float) -> int:
    """The height of a bar; all bars are in one path, since a page has a hundred plots."""
    share = log(min(max(seconds, _LEAST), _MOST) / _LEAST) / log(_MOST / _LEAST)
    return 2 + round(share * (_HEIGHT - 4))
