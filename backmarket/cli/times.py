"""Times as people read and type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import typer

from backmarket.observability.durations import UNITS, duration


def seconds(text: str) -> float:
    """A duration as typed: `300`, `90s`, `5m`, `2h` or `1d`.

    Raises:
        typer.BadParameter: if it is invalid.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|m|min|h|d|)", text.strip().lower(), re.ASCII)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 300, 90s, 5m, 2h or 1d.")
    return float(found[1]) * {unit[:1]: size for unit, size in UNITS}[found[2][:1] or "s"]


def relative(at: datetime | None, now: datetime) -> str:
    """A moment from now, such as `2 min ago` or `in 3 h`; None: `never`."""
    if at is None:
        return "never"
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(seconds)} ago"


def ago(at: datetime | None) -> str:
    """The same, from now."""
    return relative(at, datetime.now(UTC))


def moment(text: str) -> datetime:
    """A moment as typed: an ISO date or time, in UTC unless it names an offset.

    Raises:
        typer.BadParameter: if it is invalid.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-01-31 or 2026-01-31T09:00+01:00.") from None
