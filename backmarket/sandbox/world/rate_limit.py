"""The rate limit as in the guidelines, and an exact count of how often it was exceeded.

200 requests in 10 seconds, 20 for sensitive operations; more are refused for 10 seconds. Whether it applies
to an account or an address is not documented: `Assumptions.limit_scope`.
"""

from __future__ import annotations

from collections import deque

from backmarket.sandbox.settings import Settings


class Window:
    """The arrivals of one account or address in the last `window` seconds, and the violations."""

    def __init__(self) -> None:
        self.arrivals: deque[float] = deque()
        self.violations = 0
        self.blocked_until = 0.0

    def arrive(self, now: float, limit: int, seconds: float) -> bool:
        """Count one arrival; true if `limit` others arrived in the `seconds` before it.

        Args:
            now: the arrival, on the monotonic clock, never before the previous one.
            limit: requests allowed in any window.
            seconds: the window's length; an arrival exactly this long ago is outside.
        """
        arrivals = self.arrivals
        while arrivals and arrivals[0] <= now - seconds:
            arrivals.popleft()
        over = len(arrivals) >= limit
        arrivals.append(now)
        self.violations += over
        return over


class Limits:
    """All windows of one sandbox. Both scopes are always counted; only the active one refuses."""

    def __init__(self) -> None:
        self.windows: dict[tuple[str, str, bool], Window] = {}

    def arrive(self, account: str, address: str, *, sensitive: bool, now: float, settings: Settings) -> bool:
        """Count one request and say whether it is refused with 429.

        Args:
            account: the seller's name, or a shared one for unknown tokens.
            address: the client's IP address.
            sensitive: whether the lower limit applies, too.
            now: the arrival on the monotonic clock, before any latency.
            settings: the current figures.
        """
        verdicts = {
            scope: self._arrive((scope, who), sensitive, now, settings)
            for scope, who in (("account", account), ("address", address))
        }
        return settings.enforce_limit and verdicts[settings.assumptions.limit_scope]

    def _arrive(self, who: tuple[str, str], sensitive: bool, now: float, settings: Settings) -> bool:
        """Count an arrival in one scope, under one limit or both; true if it is over or within a block."""
        ordinary = self._window(*who, False)
        refused = _refuse(ordinary, settings.limit, now, settings)
        if sensitive:
            narrow = self._window(*who, True)
            refused |= _refuse(narrow, settings.sensitive_limit, now, settings)
            if settings.assumptions.sensitive_block == "everything":
                ordinary.blocked_until = max(ordinary.blocked_until, narrow.blocked_until)
        return refused

    def _window(self, scope: str, who: str, sensitive: bool) -> Window:
        key = (scope, who, sensitive)
        if key not in self.windows:
            self.windows[key] = Window()
        return self.windows[key]

    def violations(self, scope: str, *, sensitive: bool = False) -> dict[str, int]:
        """Number of requests over the limit, for each account or address."""
        return {
            who: window.violations
            for (of, who, kind), window in self.windows.items()
            if of == scope and kind == sensitive
        }

    def reset(self) -> None:
        """Forget all arrivals, blocks and violations."""
        self.windows.clear()


def _refuse(window: Window, limit: int, now: float, settings: Settings) -> bool:
    over = window.arrive(now, limit, settings.window)
    blocked = now < window.blocked_until
    if over and not blocked and settings.enforce_limit:
        window.blocked_until = now + settings.block
    return over or blocked
