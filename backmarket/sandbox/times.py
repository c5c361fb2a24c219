"""Times as the API writes them, and as it reads them in a query.

The document's examples show microseconds, milliseconds, whole seconds, `Z`, an offset, and no offset at all;
a client that handles only one of them must fail against the sandbox.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from random import Random
from typing import Final, Literal

TimeStyle = Literal["micro", "milli", "second", "offset", "naive"]

STYLES: Final[tuple[TimeStyle, ...]] = (
    "micro", "micro", "micro", "milli", "milli", "second", "second", "offset", "naive",
)  # fmt: skip
"""Styles; the share of each in this tuple is its frequency."""

LOCAL: Final = timezone(timedelta(hours=2))
"""Zone of times that are written with an offset, and of those without one if they are assumed to be local."""


def write_time(instant: datetime, style: TimeStyle, *, naive_zone: tzinfo = UTC) -> str:
    """An instant, given in UTC, in one of the API's notations.

    Args:
        instant: the instant to write.
        style: `naive` is the wall clock of `naive_zone`; all others are unambiguous.
        naive_zone: see `style`.
    """
    if style == "micro":
        return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if style == "milli":
        return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    if style == "second":
        return instant.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if style == "offset":
        return instant.astimezone(LOCAL).isoformat(timespec="seconds")
    return instant.astimezone(naive_zone).replace(tzinfo=None).isoformat(timespec="seconds")


class Pen:
    """Writes times in notations drawn from `rng`; times without an offset are in `naive_zone`."""

    def __init__(self, rng: Random, naive_zone: tzinfo = UTC) -> None:
        self._rng = rng
        self._naive_zone = naive_zone

    def any(self, instant: datetime) -> str:
        """An instant in one of the notations."""
        return self.write(instant, STYLES[int(self._rng.random() * len(STYLES))])

    def write(self, instant: datetime, style: TimeStyle) -> str:
        """An instant in this notation."""
        return write_time(instant, style, naive_zone=self._naive_zone)


def parse_time(text: str, *, naive_zone: tzinfo | None = None) -> datetime:
    """The instant that a query parameter names.

    Args:
        text: RFC 3339, such as `2014-06-24T12:55:57Z`.
        naive_zone: the zone of a time without an offset; such a time is refused if None.

    Raises:
        ValueError: if it is not such a time. A `+` that is not percent-encoded arrives as a space, and is refused here.
    """
    if len(text) < 19 or text[10] not in "Tt":
        raise ValueError(text)
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is not None:
        return instant.astimezone(UTC)
    if naive_zone is None:
        raise ValueError(text)
    return instant.replace(tzinfo=naive_zone).astimezone(UTC)
