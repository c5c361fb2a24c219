"""Refused logins and acts in the audit trail: few rows, however many there are."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock

from backmarket.audit import Act
from backmarket.errors import BackMarketError
from backmarket.facade import BackMarket

PAUSE_SECONDS = 60.0
"""Seconds between two rows of the same key."""
MAX_ROWS = 30
"""Maximum number of rows of all keys within these seconds: an attacker may use many addresses."""
REMEMBERED = 10_000
"""Maximum number of remembered keys; the oldest are forgotten first."""


@dataclass(slots=True)
class _Key:
    recorded_at: float
    unrecorded: int = 0


class Refusals:
    """Records refusals, the first of a key at once. Those in the pause after it are counted in the key's next row.

    Args:
        bm: the object that records them.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, bm: BackMarket, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bm = bm
        self._clock = clock
        self._lock = Lock()
        self._keys: OrderedDict[Hashable, _Key] = OrderedDict()
        self._since = clock()
        self._rows = 0
        self._unrecorded = 0

    def record(self, key: Hashable, act: Act, code: str) -> None:
        """Record a refusal, unless there are too many. While PostgreSQL is away, it is not recorded.

        Args:
            key: who was refused what; one row a minute.
            act: what was refused.
            code: the reason.
        """
        counted = self._count(key)
        if counted is not None:
            with suppress(BackMarketError):
                self._bm.record_console_refusal(replace(act, details={**act.details, **counted}), code)

    def _count(self, key: Hashable) -> dict[str, int] | None:
        """Refusals without a row since the one before, of this key and of keys that had none; None: no row now."""
        with self._lock:
            now = self._clock()
            known = self._keys.get(key)
            if known is not None and now - known.recorded_at < PAUSE_SECONDS:
                known.unrecorded += 1
                return None
            if now - self._since >= PAUSE_SECONDS:
                self._since, self._rows = now, 0
            if self._rows >= MAX_ROWS:
                self._unrecorded += 1
                return None
            self._rows += 1
            counted = {"unrecorded": known.unrecorded if known else 0, "unrecorded_of_others": self._unrecorded}
            self._unrecorded = 0
            self._keys[key] = _Key(now)
            self._keys.move_to_end(key)
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)
            return {name: number for name, number in counted.items() if number}
