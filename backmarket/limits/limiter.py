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
"""Seconds between two questions of one waiter: many waiters must not turn into a busy loop."""
RESERVATION_GRACE = 1.0
"""Seconds that a reservation outlives the moment at which its waiter should ask again: a busy machine's delay, and
what one that was killed costs beyond its wait."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to send one request, now.

    Attributes:
        account: whose limit it counts against, as `account_name` gives it.
        id: names the slot among all slots ever granted.
        sensitive: it counts against the limit of the sensitive endpoints too.
    """

    account: str
    id: str
    sensitive: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What `Limiter.acquire` answers.

    Attributes:
        slots: the slots granted, as many as were wanted or fewer.
        wait: seconds until at least one more slot may come free; 0.0 when all wanted were granted.
        blocked: a 429 or an emptied Redis stands in the way, not the ordinary window.
    """

    slots: tuple[Slot, ...]
    wait: float
    blocked: bool


@dataclass(frozen=True, slots=True)
class LimiterState:
    """What a limiter knows of one account, for a person to read.

    Attributes:
        used: slots that are held or not yet free again.
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

    A slot is taken before a request is sent, and is the caller's duty from then on: exactly one of
    `complete` (an answer came, whatever its status) or `release` (it was never sent). Where neither is
    known (no answer came, or the process died), nothing is called, and the slot is held until the
    request's deadline and one window more have passed.

    The request must be sent at once, and be over `deadline` seconds after `acquire` was called.
    """

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        """Take up to `want` slots; never waits for the limit.

        Args:
            account: whose limit counts, as `account_name` gives it.
            want: slots wanted, at least 1; as many as fit are granted.
            sensitive: the requests go to sensitive endpoints (catalogue, category).
            urgent: names a waiter that goes before those without a name. What it is denied is reserved for it, until
                it has asked again under the same name, or for a second more than `Grant.wait`; never for longer
                than a window and that second.

        Raises:
            LimiterUnavailable: the limiter can't be asked; nothing may be sent.
            ValueError: `want` is below 1.
        """
        ...

    def complete(self, slots: Sequence[Slot]) -> None:
        """The answers arrived: each slot comes free one window from now. Never raises for Redis."""
        ...

    def release(self, slots: Sequence[Slot]) -> None:
        """The requests were never sent: the slots are free at once. Never raises for Redis."""
        ...

    def block(self, account: str, retry_after: float | None = None) -> None:
        """A 429 was answered: nobody gets a slot of this account for a while. Never raises for Redis.

        Args:
            account: the account that was refused.
            retry_after: seconds that the answer named, if it named any; the block lasts at least a window.
        """
        ...

    def peek(self, account: str) -> LimiterState:
        """What is used and what is blocked; changes nothing.

        Raises:
            LimiterUnavailable: the limiter can't be asked.
        """
        ...

    def skip_recovery(self) -> None:
        """Skip the pause after a new or emptied Redis: the caller knows that nothing was sent lately.

        Raises:
            LimiterUnavailable: the limiter can't be asked.
        """
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
        account: whose limit counts.
        sensitive: the request goes to a sensitive endpoint.
        urgent: before those who are not, while this waits.
        timeout: seconds.
        sleep: waits for some seconds.

    Raises:
        RateLimited: no slot can come free in time; `retry_after` says in how many seconds one may.
        LimiterUnavailable: the limiter can't be asked.
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
            raise RateLimited("The account's requests are used up for now.", retry_after=grant.wait)
        sleep(pause)


def account_name(api_key: str, limiter_key: str) -> str:
    """Name an account so that organizations with the same API key share its limit and nobody reads the key.

    Args:
        api_key: the key as it is sent to Back Market.
        limiter_key: the setting `LIMITER_KEY`; it stays while `SECRET_KEYS` rotate.

    Returns:
        32 hexadecimal digits (HMAC-SHA256, its first half).
    """
    return hmac.new(limiter_key.encode(), api_key.encode(), hashlib.sha256).hexdigest()[:32]
