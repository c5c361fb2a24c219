"""The limiter of one process, for the client that runs without Redis."""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from backmarket.limits.limiter import (
    MIN_ACCOUNTS_OF_EGRESS,
    RESERVATION_GRACE,
    SHARE_OF_EGRESS,
    Grant,
    Limiter,
    LimiterState,
    Slot,
)


class _Window:
    """Slots of one limit: those held, and when each comes free; those reserved, and until when."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free_at: dict[str, float] = {}
        self.reserved: dict[str, float] = {}

    def drop_free(self, now: float) -> None:
        """Forget free slots, and expired reservations."""
        self.free_at = {slot: free_at for slot, free_at in self.free_at.items() if free_at >= now}
        self.reserved = {name: until for name, until in self.reserved.items() if until >= now}

    def room(self, urgent: bool) -> int:
        """Number of slots that may be taken; an urgent caller may take reserved ones, too."""
        return max(self.limit - len(self.free_at) - (0 if urgent else len(self.reserved)), 0)

    def next_free(self, now: float, window: float, urgent: bool) -> float:
        """Seconds until one more slot may be free: one in flight may be answered now, and is free a window later."""
        ends: list[float] = [*self.free_at.values(), *(() if urgent else self.reserved.values())]
        over = len(ends) - self.limit
        if over < 0:
            return 0.0
        return min(heapq.nsmallest(over + 1, ends)[-1] - now, window)

    def reserve(self, urgent: str, slots: int, until: float) -> None:
        """Replace an urgent waiter's reservation."""
        self.reserved = {name: end for name, end in self.reserved.items() if not name.startswith(f"{urgent}:")}
        self.reserved.update((f"{urgent}:{number}", until) for number in range(slots))


class LocalLimiter(Limiter):
    """The rules of `SharedLimiter` inside one process; thread-safe.

    It does not know other processes that use the same key or address, nor what this process's
    predecessor sent: two such processes, or one restarted within the window, can exceed the limit
    together. Use `SharedLimiter` wherever more than one process sends.

    Args:
        limit: requests that one account may send in any window.
        window: seconds.
        sensitive_limit: requests to the sensitive endpoints in the same window.
        deadline: seconds after which a request without an answer is over.
        egress_limit: requests of all accounts together in a window; 0: no such limit.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        *,
        limit: int,
        window: float,
        sensitive_limit: int,
        deadline: float,
        egress_limit: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window, self._hold, self._clock = window, window + deadline, clock
        self._lock = threading.Lock()
        self._general = defaultdict[str, _Window](lambda: _Window(limit))
        self._sensitive = defaultdict[str, _Window](lambda: _Window(sensitive_limit))
        self._egress = _Window(egress_limit) if egress_limit else None
        self._blocked_until: dict[str, float] = {}
        self._egress_blocked_until = 0.0
        self._answered_at: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        """Take up to `want` slots; see `Limiter.acquire`."""
        if want < 1:
            raise ValueError("want must be at least 1")
        with self._lock:
            now, windows = self._clock(), self._windows(account, sensitive)
            for window in windows:
                window.drop_free(now)
            grant = self._grant(account, want, sensitive, urgent is not None, now)
            if urgent is not None:
                until = now + min(grant.wait, self._window) + RESERVATION_GRACE
                for window in windows:
                    window.reserve(urgent, want - len(grant.slots), until)
            return grant

    def _grant(self, account: str, want: int, sensitive: bool, urgent: bool, now: float) -> Grant:
        blocked_for = max(self._account_blocked_for(account, now), self._egress_blocked_until - now)
        if blocked_for > 0:
            return Grant((), blocked_for, blocked=True)
        windows = self._windows(account, sensitive)
        fits = min([want, *(window.room(urgent) for window in windows)])
        slots = tuple(Slot(account, secrets.token_hex(8), sensitive) for _ in range(fits))
        for window in windows:
            window.free_at.update((slot.id, now + self._hold) for slot in slots)
        short = fits < want
        wait = max(window.next_free(now, self._window, urgent) for window in windows) if short else 0.0
        return Grant(slots, wait, blocked=False)

    def complete(self, slots: Sequence[Slot]) -> None:
        """The answers arrived; see `Limiter.complete`."""
        with self._lock:
            now = self._clock()
            free_at = now + self._window
            for slot in slots:
                self._answered_at[slot.account] = now
                for window in self._windows(slot.account, slot.sensitive):
                    window.free_at[slot.id] = free_at

    def release(self, slots: Sequence[Slot]) -> None:
        """The requests were never sent; see `Limiter.release`."""
        with self._lock:
            for slot in slots:
                for window in self._windows(slot.account, slot.sensitive):
                    window.free_at.pop(slot.id, None)

    def block(self, account: str, retry_after: float | None = None) -> None:
        """The API answered 429; see `Limiter.block`."""
        with self._lock:
            now = self._clock()
            until = now + max(self._window, retry_after or 0.0)
            self._blocked_until[account] = max(until, self._blocked_until.get(account, 0.0))
            self._answered_at = self._within_window(self._answered_at, now) | {account: now}
            self._refused_at = self._within_window(self._refused_at, now) | {account: now}
            answered, refused = len(self._answered_at), len(self._refused_at)
            if answered >= MIN_ACCOUNTS_OF_EGRESS and refused >= SHARE_OF_EGRESS * answered:
                self._egress_blocked_until = max(now + self._window, self._egress_blocked_until)

    def peek(self, account: str) -> LimiterState:
        """Return the account's state; see `Limiter.peek`."""
        with self._lock:
            now = self._clock()
            general, sensitive = self._general[account], self._sensitive[account]
            for window in (general, sensitive, self._egress):
                if window:
                    window.drop_free(now)
            account_for = self._account_blocked_for(account, now)
            egress_for = max(self._egress_blocked_until - now, 0.0)
            blocked_for = max(account_for, egress_for)
            return LimiterState(
                used=len(general.free_at),
                limit=general.limit,
                sensitive_used=len(sensitive.free_at),
                sensitive_limit=sensitive.limit,
                egress_used=len(self._egress.free_at) if self._egress else 0,
                egress_limit=self._egress.limit if self._egress else 0,
                blocked_for=blocked_for,
                blocked_by=None if not blocked_for else "account" if account_for >= egress_for else "egress",
            )

    def skip_recovery(self) -> None:
        """Nothing to skip: this limiter starts as if nothing had been sent."""

    def close(self) -> None:
        """Nothing to close: this limiter has no connection."""

    def _within_window(self, moments: dict[str, float], now: float) -> dict[str, float]:
        return {account: at for account, at in moments.items() if at > now - self._window}

    def _account_blocked_for(self, account: str, now: float) -> float:
        return max(self._blocked_until.get(account, 0.0) - now, 0.0)

    def _windows(self, account: str, sensitive: bool) -> list[_Window]:
        windows = [self._general[account]]
        if sensitive:
            windows.append(self._sensitive[account])
        if self._egress:
            windows.append(self._egress)
        return windows
