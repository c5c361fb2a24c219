"""Requests of a slice: a few at once, within the limits, and what stops the slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from backmarket.client import Answer, Credentials, check
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS, with_slot
from backmarket.connections.credentials import SealedCredentials
from backmarket.errors import (
    BackMarketError,
    FirewallBlocked,
    LimiterUnavailable,
    RateLimited,
    Unauthorized,
)
from backmarket.limits import Slot, wait_for_slot
from backmarket.services import Services
from backmarket.work.backoff import FIREWALL_SECONDS, growing

WINDOW = 8
"""Questions of one slice that are under way at once."""

LIMITER_AWAY = 5.0
"""Seconds until another slice tries, while Redis is away."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that is asked for.

    Args:
        path: such as `/ws/tasks/1`.
        parameters: of the query.
        locale: the market that is meant; None: the connection's.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    locale: str | None = None


@dataclass
class Asker:
    """Sends the requests of one slice.

    Args:
        services: of the process.
        sealed: what is asked with.
    """

    services: Services
    sealed: SealedCredentials
    requests: int = 0
    pause: float | None = None
    """Seconds that this slice must not ask any more; None: it may."""
    refused: Unauthorized | None = None
    """The API does not accept the key."""
    _credentials: dict[str | None, Credentials] = field(default_factory=dict)

    def credentials(self, locale: str | None = None) -> Credentials:
        """What a request for a market is sent with."""
        if locale not in self._credentials:
            vault, settings = self.services.vault, self.services.settings
            self._credentials[locale] = self.sealed.unseal(vault, settings, locale=locale)
        return self._credentials[locale]

    @property
    def stopped(self) -> bool:
        """Whether this slice may ask nothing any more."""
        return self.pause is not None or self.refused is not None or self.services.stopping.is_set()

    def ask(self, questions: Sequence[Question]) -> list[Answer | BackMarketError]:
        """Ask at most `WINDOW` questions at once.

        Returns:
            Answers of 2xx, or why there is none, to the first so many questions as the limiter let through.
        """
        slots = self._slots(len(questions[:WINDOW]))
        asked = list(zip(questions, slots, strict=False))
        reserved = self.services.request_threads.reserve(len(asked) - 1, patience=0.2) if len(asked) > 1 else 0
        given_up = asked[reserved + 1 :]
        self.services.limiter.give_back([slot for _, slot in given_up])
        futures = [self.services.request_threads.submit(partial(self._get, *each)) for each in asked[1 : reserved + 1]]
        answers = [self._get(*each) for each in asked[:1]] + [future.result() for future in futures]
        self.requests += len(answers)
        for answer in answers:
            self.heed(answer)
        return answers

    def slot(self) -> Slot | None:
        """The right to send one request; None: not now."""
        try:
            return wait_for_slot(self.services.limiter, self.sealed.account, timeout=MAX_LIMITER_WAIT_SECONDS)
        except RateLimited as error:
            self.pause = error.retry_after or MAX_LIMITER_WAIT_SECONDS
        except LimiterUnavailable:
            self.pause = LIMITER_AWAY
        return None

    def post(self, slot: Slot, path: str, body: bytes, locale: str) -> Answer:
        """Send something that may change something.

        Raises:
            BackMarketError: the API refused it, or no answer came; see `check` and `Transport.send`.
        """
        self.requests += 1
        send = partial(self.services.transport.send, self.credentials(locale), "POST", path, body=body)
        return check(with_slot(self.services.limiter, slot, send))

    def heed(self, answer: Answer | BackMarketError, tries: int = 0) -> None:
        """Stop the slice where an answer says so.

        Args:
            answer: or the error that it means.
            tries: refusals of the firewall before it, in a row.
        """
        if isinstance(answer, Unauthorized):
            self.refused = answer
        elif isinstance(answer, RateLimited):
            self.pause = max(self.pause or 0.0, answer.retry_after or 0.0, self.services.settings.rate_window)
        elif isinstance(answer, FirewallBlocked):
            self.pause = max(self.pause or 0.0, growing(tries, FIREWALL_SECONDS))

    def _slots(self, want: int) -> list[Slot]:
        if want == 0:
            return []
        first = self.slot()
        if first is None or want == 1:
            return [first] if first else []
        try:
            return [first, *self.services.limiter.acquire(self.sealed.account, want - 1).slots]
        except LimiterUnavailable:
            return [first]

    def _get(self, question: Question, slot: Slot) -> Answer | BackMarketError:
        """Runs in a thread of the pool, too: no database here."""
        credentials = self._credentials[question.locale]
        ask = partial(self.services.transport.get, credentials, question.path, question.parameters)
        try:
            return check(with_slot(self.services.limiter, slot, ask))
        except BackMarketError as error:
            return error
