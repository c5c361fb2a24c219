"""The API requests of a slice: a few at once, within the limits, and what stops the slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from backmarket.client import Answer, Credentials, check
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS, with_slot
from backmarket.connections.credentials import EncryptedCredentials
from backmarket.errors import (
    BackMarketError,
    FirewallBlocked,
    LimiterUnavailable,
    RateLimited,
    Unauthorized,
)
from backmarket.limits import Slot, wait_for_slot
from backmarket.services import Services
from backmarket.work.backoff import FIREWALL_SECONDS

WINDOW = 8
"""Requests of one slice that are in flight at once."""

LIMITER_AWAY = 5.0
"""Seconds until the next slice, while Redis is away."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A GET request.

    Args:
        path: such as `/ws/tasks/1`.
        parameters: of the query.
        locale: the market; None: the connection's.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    locale: str | None = None


@dataclass
class ApiRequests:
    """Sends the requests of one slice.

    Args:
        encrypted: the connection's credentials.
    """

    services: Services
    encrypted: EncryptedCredentials
    requests: int = 0
    pause: float | None = None
    """Seconds that the slice must not send requests; None: it may send."""
    refused: Unauthorized | None = None
    """The error, once the API refused the key."""
    stopped_by: Unauthorized | FirewallBlocked | None = None
    """The error, once the API refused the key, or the firewall more than one request."""
    _credentials: dict[str | None, Credentials] = field(default_factory=dict)

    def credentials(self, locale: str | None = None) -> Credentials:
        """The credentials for requests to a market."""
        if locale not in self._credentials:
            cipher, settings = self.services.key_cipher, self.services.settings
            self._credentials[locale] = self.encrypted.decrypt(cipher, settings, locale=locale)
        return self._credentials[locale]

    @property
    def stopped(self) -> bool:
        """Whether this slice may send no more requests."""
        return self.pause is not None or self.refused is not None or self.services.stopping.is_set()

    def ask(self, requests: Sequence[ApiRequest]) -> list[Answer | BackMarketError]:
        """Send at most `WINDOW` requests at once.

        Returns:
            Answers of 2xx, or errors, for as many of the first requests as the limiter granted slots.
        """
        slots = self._slots(len(requests[:WINDOW]))
        asked = list(zip(requests, slots, strict=False))
        reserved = self.services.request_threads.reserve(len(asked) - 1, patience=0.2) if len(asked) > 1 else 0
        given_up = asked[reserved + 1 :]
        self.services.limiter.release([slot for _, slot in given_up])
        futures = [self.services.request_threads.submit(partial(self._get, *each)) for each in asked[1 : reserved + 1]]
        answers = [self._get(*each) for each in asked[:1]] + [future.result() for future in futures]
        self.requests += len(answers)
        blocked = [answer for answer in answers if isinstance(answer, FirewallBlocked)]
        for answer in answers:
            if not isinstance(answer, FirewallBlocked):
                self.apply_backpressure(answer)
        if len(blocked) == len(answers) > 1:  # the firewall may refuse one object alone: its neighbours continue
            self.apply_backpressure(blocked[0])
        return answers

    def slot(self) -> Slot | None:
        """Acquire a slot for one request; None: none is free now."""
        try:
            return wait_for_slot(self.services.limiter, self.encrypted.account, timeout=MAX_LIMITER_WAIT_SECONDS)
        except RateLimited as error:
            self.pause = error.retry_after or MAX_LIMITER_WAIT_SECONDS
        except LimiterUnavailable:
            self.pause = LIMITER_AWAY
        return None

    def post(self, slot: Slot, path: str, body: bytes, locale: str) -> Answer:
        """Send a bulk file.

        Raises:
            BackMarketError: if the API refused it, or no answer came; see `check` and `Transport.send`.
        """
        self.requests += 1
        send = partial(self.services.transport.send, self.credentials(locale), "POST", path, body=body)
        return check(with_slot(self.services.limiter, slot, send, counts_sku_lines=True))

    def apply_backpressure(self, answer: Answer | BackMarketError) -> None:
        """Pause the slice after a 429, a refused key or a firewall block, whichever part it struck."""
        if isinstance(answer, (Unauthorized, FirewallBlocked)):
            self.stopped_by = answer
        if isinstance(answer, Unauthorized):
            self.refused = answer
        elif isinstance(answer, RateLimited):
            self.rest(max(answer.retry_after or 0.0, self.services.settings.rate_window))
        elif isinstance(answer, FirewallBlocked):
            self.rest(FIREWALL_SECONDS)

    def rest(self, seconds: float) -> None:
        """Send nothing more in this slice, and begin the next one after this pause."""
        self.pause = max(self.pause or 0.0, seconds)

    def _slots(self, want: int) -> list[Slot]:
        if want == 0:
            return []
        first = self.slot()
        if first is None or want == 1:
            return [first] if first else []
        try:
            return [first, *self.services.limiter.acquire(self.encrypted.account, want - 1).slots]
        except LimiterUnavailable:
            return [first]

    def _get(self, request: ApiRequest, slot: Slot) -> Answer | BackMarketError:
        """Also runs in threads of the pool: no database access."""
        credentials = self._credentials[request.locale]
        ask = partial(self.services.transport.get, credentials, request.path, request.parameters)
        try:
            return check(with_slot(self.services.limiter, slot, ask))
        except BackMarketError as error:
            return error
