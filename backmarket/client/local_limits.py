"""The limits that one process keeps for its typed clients: the account's, and those of single operations.

All clients of this process with the same key share them; they do not count requests of other processes.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from backmarket.client.credentials import Credentials
from backmarket.client.operation import Limit, Operation
from backmarket.client.rate_limited import Held
from backmarket.errors import RateLimited
from backmarket.limits import Limiter, LocalLimiter, Slot, account_name
from backmarket.limits.limiter import MIN_PAUSE_SECONDS
from backmarket.settings import Settings

_HASHED_WITH = secrets.token_hex(16)
_limiters: dict[Hashable, LocalLimiter] = {}
_lock = threading.Lock()


def name_account(api_key: str) -> str:
    """This process's name for the account of a key; another process uses another name."""
    return account_name(api_key, _HASHED_WITH)


def _shared(key: Hashable, make: Callable[[], LocalLimiter]) -> LocalLimiter:
    """The limiter of this process for a key, created at first use."""
    with _lock:
        if key not in _limiters:
            _limiters[key] = make()
        return _limiters[key]


class OwnLimits:
    """Decides when a client may send.

    Args:
        settings: the account's figures.
        patience: seconds that a call waits for its slots.
    """

    def __init__(self, settings: Settings, *, patience: float) -> None:
        figures = {
            "limit": settings.rate_limit,
            "window": settings.rate_window,
            "sensitive_limit": settings.sensitive_rate_limit,
            "deadline": settings.request_longest,
            "egress_limit": settings.egress_rate_limit,
        }
        self._account = _shared(tuple(figures.values()), lambda: LocalLimiter(**figures))  # type: ignore[arg-type]
        self._deadline = settings.request_longest
        self._patience = patience

    def take(self, operation: Operation[Any], credentials: Credentials) -> Held:
        """Wait until an operation may be sent; the caller must send it at once.

        Raises:
            RateLimited: if it may not be sent within `patience`; `retry_after` has the seconds to wait.
        """
        until = time.monotonic() + self._patience
        while True:
            held, wait, limit = self._try(operation, credentials)
            if held is not None:
                return held
            pause = max(wait, MIN_PAUSE_SECONDS)
            if time.monotonic() + pause > until:
                raise RateLimited(_used_up(operation, limit), retry_after=wait)
            time.sleep(pause)

    def _try(self, operation: Operation[Any], credentials: Credentials) -> tuple[Held | None, float, Limit | None]:
        """A slot of each limit; or none of them, the seconds to wait, and the limit to wait for."""
        taken: list[tuple[Limiter, Slot]] = []
        for limit in (*operation.limits, None):
            if limit is None:
                limiter, account = self._account, credentials.account
                grant = limiter.acquire(account, sensitive=operation.sensitive)
            else:
                limiter = self._of_operation(operation, limit)
                grant = limiter.acquire(_counted(limit, credentials))
            if not grant.slots:
                Held(tuple(taken)).release()
                return None, grant.wait, limit
            taken.append((limiter, grant.slots[0]))
        return Held(tuple(taken)), 0.0, None

    def _of_operation(self, operation: Operation[Any], limit: Limit) -> LocalLimiter:
        def make() -> LocalLimiter:
            figure = limit.requests
            return LocalLimiter(limit=figure, window=limit.seconds, sensitive_limit=figure, deadline=self._deadline)

        return _shared((operation.name, limit, self._deadline), make)


def _counted(limit: Limit, credentials: Credentials) -> str:
    """The name under which a limit counts requests together."""
    return f"{credentials.account} {credentials.locale}" if limit.each == "locale" else credentials.account


def _used_up(operation: Operation[Any], limit: Limit | None) -> str:
    if limit is None:
        return "The account has used up its requests for now. Retry later."
    figures = f"{limit.requests} in {limit.seconds:g} s, for each {limit.each}"
    return f"The requests that the API allows for {operation.name} are used up for now ({figures})."
