"""What every limiter offers, whether it is shared through Redis or lives in one process."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from backmarket.errors import RateLimited
from backmarket.observability import telemetry

MIN_PAUSE_SECONDS = 0.01
"""Minimum seconds between two requests of one waiter for a slot: many waiters must not become a busy loop."""
MIN_ACCOUNTS_OF_EGRESS, SHARE_OF_EGRESS = 5, 0.8
"""429s are the egress address's if, within one window, at least so many accounts were answered, and at least this share
of them with a 429; `block.lua` has the same figures."""
RESERVATION_GRACE = 1.0
"""Seconds that a reservation outlives the time at which its waiter should retry: allows for a busy machine, and bounds
what a killed waiter costs beyond its wait."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to send one request, now.

    Attributes:
        account: whose limit it counts against, as `account_name` gives it.
        id: unique among all slots ever granted.
        sensitive: it counts against the limit of the sensitive endpoints, too.
    """

    account: str
    id: str
    sensitive: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """Result of `Limiter.acquire`.

    Attributes:
        slots: the granted slots, as many as were wanted or fewer.
        wait: seconds until at least one more slot may come free; 0.0 if all wanted were granted.
        blocked: the reason is a 429 or an emptied Redis, not the ordinary window.
        recovering: the reason is an emptied Redis.
    """

    slots: tuple[Slot, ...]
    wait: float
    blocked: bool
    recovering: bool = False


@dataclass(frozen=True, slots=True)
class LimiterState:
    """State of one account's limits, for operators.

    Attributes:
        used: slots held or not yet free again.
        limit: requests that the account may send in any window.
        sensitive_used: of these, the ones on sensitive endpoints.
        sensitive_limit: their limit.
        egress_used: slots of all accounts that share the egress address.
        egress_limit: their limit; 0: none.
        blocked_for: seconds until the last block ends; 0.0 when nothing is blocked.
        blocked_by: the block that ends last: a 429 on the account, 429s on the egress address,
            or an emptied Redis.
    """

    used: int
    limit: int
    sensitive_used: int
    sensitive_limit: int
    egress_used: int
    egress_limit: int
    blocked_for: float
    blocked_by: Literal["account", "egress", "emptied"] | None


class Limiter(Protocol):
    """Grants slots so that no window of the server's sees more requests than its limit.

    The caller takes a slot before it sends a request, and must then call exactly one of `complete` (an
    answer arrived, whatever its status) or `release` (the request was never sent). If neither is known
    (no answer, or the process died), nothing is called, and the slot is held until the request's
    deadline and one more window have passed.

    The caller must send the request at once, and end it within `deadline` seconds of calling `acquire`.
    """

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        """Take up to `want` slots; never waits for the limit.

        Args:
            account: whose limit counts, as `account_name` gives it.
            want: slots wanted, at least 1; as many as fit are granted.
            sensitive: the requests go to sensitive endpoints (catalogue, category).
            urgent: name of a waiter that goes before those without a name. Slots denied to it are reserved for it
                until it retries under the same name, or for a second more than `Grant.wait`; never for longer than
                a window and that second.

        Raises:
            LimiterUnavailable: if the limiter cannot be reached; nothing may be sent.
            ValueError: if `want` is below 1.
        """
        ...

    def complete(self, slots: Sequence[Slot]) -> None:
        """The answers arrived: each slot comes free one window from now. Only logs errors of Redis."""
        ...

    def release(self, slots: Sequence[Slot]) -> None:
        """The requests were never sent: the slots are free at once. Only logs errors of Redis."""
        ...

    def block(self, account: str, retry_after: float | None = None) -> None:
        """The API answered 429: block the account's slots for a while. Only logs errors of Redis.

        Args:
            account: that got the 429.
            retry_after: seconds that the answer named, if any; the block lasts at least a window.
        """
        ...

    def peek(self, account: str) -> LimiterState:
        """Return the account's state; changes nothing.

        Raises:
            LimiterUnavailable: if the limiter cannot be reached.
        """
        ...

    def skip_recovery(self) -> None:
        """Skip the pause after Redis lost its count: the caller knows that nothing was sent lately.

        Raises:
            LimiterUnavailable: if the limiter cannot be reached.
        """
        ...

    def close(self) -> None:
        """Close its connections; the next use opens them again."""
        ...


def wait_for_slot(
    limiter: Limiter,
    account: str,
    *,
    sensitive: bool = False,
    urgent: bool = False,
    timeout: float,
    sleep: Callable[[float], object] = time.sleep,
) -> Slot:
    """Wait for one slot, but not beyond `timeout` seconds.

    Args:
        limiter: grants it.
        sensitive: the request goes to a sensitive endpoint.
        urgent: go before waiters that are not urgent.
        timeout: seconds.
        sleep: sleeps for some seconds.

    Raises:
        RateLimited: if no slot can come free in time; `retry_after` says in how many seconds one may.
        LimiterUnavailable: if the limiter cannot be reached.
    """
    begun, waiter = time.monotonic(), secrets.token_hex(8) if urgent else None
    until = begun + timeout
    while True:
        grant = limiter.acquire(account, sensitive=sensitive, urgent=waiter)
        if grant.slots:
            telemetry.emit("limiter_wait", seconds=time.monotonic() - begun)
            return grant.slots[0]
        pause = max(grant.wait, MIN_PAUSE_SECONDS)
        if time.monotonic() + pause > until:
            raise RateLimited(_why_not(grant), retry_after=grant.wait)
        sleep(pause)


def _why_not(grant: Grant) -> str:
    if grant.recovering:
        return (
            "Redis has lost its count of requests: it is another one, was emptied or restarted. Nothing is sent for"
            f" {grant.wait:.0f} s more, so that the limit holds. Retry then."
        )
    if grant.blocked:
        return f"Back Market answered 429, so nothing is sent for {grant.wait:.0f} s. Retry then."
    return "The account has used up its requests for now. Retry later."


def account_name(api_key: str, limiter_key: str) -> str:
    """Name an account: the same for organizations with the same API key, so that they share its limit; hides the key.

    Args:
        api_key: the key as it is sent to Back Market.
        limiter_key: the setting `LIMITER_KEY`; it stays while `SECRET_KEYS` rotate.

    Returns:
        32 hexadecimal digits (HMAC-SHA256, its first half).
    """
    return hmac.new(limiter_key.encode(), api_key.encode(), hashlib.sha256).hexdigest()[:32]
