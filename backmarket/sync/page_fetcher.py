"""Pages in flight: as many at once as window and limiter allow, requested in order, retried if they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import quote

from backmarket.client import Answer, Credentials, check
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS, send
from backmarket.errors import BackMarketError, NotFound, RateLimited, RequestRefused, TransientError
from backmarket.limits import Limiter, Slot, backoff, wait_for_slot
from backmarket.observability import telemetry
from backmarket.resources import Page, Resource, Row, parse_object, parse_page
from backmarket.services.request_threads import RequestThreads

if TYPE_CHECKING:
    from backmarket.client.transport import Transport

TRIES = 4
"""Maximum tries for one page in one slice; then the run fails and backs off."""

MIN_DENIED_SECONDS = 0.05
"""Minimum seconds until the limiter is asked again for slots that it did not grant: they come free one by one."""

SHORT_PAGES = 8
"""Maximum pages of a short list: one batch, which takes about a second."""

TRIES_REFUSED = 2
"""Maximum tries for a page that the API answers with a 4xx such as 400 or 409."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched page, or why it failed.

    Attributes:
        number: of the page, from 1.
        sent_at: when the request was sent, by the monotonic clock.
        page: None: the request failed.
        answer: None: there was none.
        error: None: the page was fetched.
    """

    number: int
    sent_at: float
    page: Page | None
    answer: Answer | None
    error: BackMarketError | None

    @property
    def is_only(self) -> bool:
        """Whether this first page says that no other follows; True as well if it was not fetched."""
        return self._counts(1)

    @property
    def is_short(self) -> bool:
        """Whether this first page says that its list is short; True as well if it was not fetched."""
        return self._counts(SHORT_PAGES)

    def _counts(self, pages: int) -> bool:
        page = self.page
        return page is None or (page.count is not None and page.count <= pages * page.size)


@dataclass
class Fetcher:
    """The requests of one slice.

    Slots are taken here, in the order of the pages, before a request goes to a thread: so a refusal of the
    limiter leaves no gap between the requested pages.

    Args:
        transport: sends.
        limiter: says when.
        credentials: of the connection.
        request_threads: fetch and parse.
        since: only rows modified at or after this time, in the API's format; None: all rows.
        retry_seconds: after which `one` does not try again, so that the caller's lease outlasts its last try.
    """

    transport: Transport
    limiter: Limiter
    credentials: Credentials
    resource: Resource
    request_threads: RequestThreads
    since: str | None = None
    retry_seconds: float = inf
    requests: int = 0
    paused_until: float = 0.0
    failed: BackMarketError | None = None
    """Why the last request failed that did; what the limiter does not grant is no request."""
    _in_flight: dict[Future[Fetched], int] = field(default_factory=dict)
    _tries: dict[int, int] = field(default_factory=dict)
    _later: dict[int, float] = field(default_factory=dict)
    _denied_at: float = 0.0
    _ended: set[int] = field(default_factory=set)
    """Pages requested again because the list seemed to end there."""

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._in_flight)

    @property
    def unfinished(self) -> int:
        """Requests without an answer, and pages that wait for a retry."""
        return len(self._in_flight) + len(self._later)

    def idle_for(self) -> float:
        """Seconds until a request can be sent again, if none of those in flight is answered before."""
        return max(self.pause(), min(self._later.values(), default=0.0) - monotonic())

    def pause(self) -> float:
        """Seconds until the limiter may grant a slot; 0: now."""
        return max(0.0, self.paused_until - monotonic())

    def first(self, number: int) -> Fetched | None:
        """Fetch one page in this thread; None if the limiter grants no slot.

        Raises:
            LimiterUnavailable: if Redis is unreachable.
        """
        slots = self._slots(1)
        if not slots:
            return None
        self.requests += 1
        return self._noted(self._fetch(number, slots[0]))

    def one(self, key: str) -> Row | None:
        """Fetch one row by its id, in this thread, with retries where they may help and the lease outlasts them.

        Returns:
            None if the answer has no usable id.

        Raises:
            NotFound: if the API does not know it.
            RateLimited: if it may not be requested now; the limiter has noted it.
            BackMarketError: if it could not be fetched.
        """
        began = monotonic()
        for attempt in range(1, TRIES + 1):
            slot = wait_for_slot(self.limiter, self.credentials.account, timeout=MAX_LIMITER_WAIT_SECONDS)
            self.requests += 1
            try:
                answer = self._send(f"{self.resource.path}/{quote(key, safe='')}", (), slot)
                return parse_object(self.resource, check(answer).body)
            except RateLimited as error:
                self.failed = error
                raise
            except TransientError:
                if attempt == TRIES or monotonic() - began > self.retry_seconds:
                    raise
                sleep(backoff.between_tries(attempt))
        raise AssertionError

    def fill(self, pages: Callable[[int], list[int]], window: int) -> None:
        """Send requests until the window is full, the limiter grants no slot, or no pages are left.

        Failed pages whose pause is over go first.

        Args:
            pages: returns up to the given number of further pages.
            window: maximum requests in flight.

        Raises:
            LimiterUnavailable: if Redis is unreachable.
        """
        free = window - len(self._in_flight)
        if free <= 0 or self.pause():
            return
        now = monotonic()
        due = [number for number, at in sorted(self._later.items()) if at <= now][:free]
        reserved = self.request_threads.reserve(free, patience=0.0 if self._in_flight else 0.2)
        slots: list[Slot] = []
        try:
            numbers = due[:reserved] + pages(reserved - len(due[:reserved]))
            slots = self._slots(len(numbers)) if numbers else []
        finally:
            self.request_threads.release(reserved - len(slots))
        for number in numbers[len(slots) :]:
            self._denied(number)
        for number, slot in zip(numbers, slots, strict=False):
            self._later.pop(number, None)
            self.requests += 1
            self._in_flight[self.request_threads.submit(partial(self._fetch, number, slot))] = number

    def collect(self, timeout: float) -> list[Fetched]:
        """Return the pages so far, waiting up to `timeout` seconds for the first."""
        if self._later:  # one that is due could not be sent: no slot was granted, or no thread is free
            timeout = min(timeout, max(self.idle_for(), MIN_DENIED_SECONDS))
        if not self._in_flight:
            return []
        done, _ = wait(self._in_flight, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in done:
            del self._in_flight[future]
        return [self._noted(future.result()) for future in done]

    def try_later(self, fetched: Fetched) -> bool:
        """Whether a failed page may be retried in this slice; if so, it is, after a jittered pause.

        A 429 does not count as a try. The page is retried when the limiter grants a slot.
        """
        number = fetched.number
        if isinstance(fetched.error, RateLimited):
            self._later[number] = monotonic()
            return True
        status = fetched.error.status if fetched.error else None
        redirected = status is not None and status < HTTPStatus.BAD_REQUEST
        if not isinstance(fetched.error, TransientError | RequestRefused) or redirected:
            return False
        timeout = status == HTTPStatus.REQUEST_TIMEOUT
        tries = TRIES if isinstance(fetched.error, TransientError) or timeout else TRIES_REFUSED
        self._tries[number] = self._tries.get(number, 0) + 1
        if self._tries[number] >= tries:
            return False
        self._later[number] = monotonic() + backoff.between_tries(self._tries[number])
        return True

    def ask_again(self, number: int) -> bool:
        """Whether a page at which the list seems to end too early is requested again: once per slice."""
        if number in self._ended:
            return False
        self._ended.add(number)
        self._later[number] = monotonic() + backoff.between_tries(1)
        return True

    def wait_at_least(self, seconds: float | None) -> None:
        """Note the pause that the limiter returned when it granted no slot."""
        self.paused_until = max(self.paused_until, monotonic() + (seconds or 0.0))

    def _noted(self, fetched: Fetched) -> Fetched:
        self.failed = fetched.error or self.failed
        return fetched

    def _denied(self, number: int) -> None:
        """The limiter granted no slot: the page is the next to be sent."""
        self._later.setdefault(number, self.paused_until)

    def drop_retries(self) -> None:
        """Forget the failed pages that wait for a retry: the slice ends."""
        self._later.clear()

    def _slots(self, want: int) -> list[Slot]:
        grant = self.limiter.acquire(self.credentials.account, want)
        if grant.slots:
            telemetry.emit("limiter_wait", seconds=monotonic() - self._denied_at if self._denied_at else 0.0)
            self._denied_at = 0.0
        if len(grant.slots) < want:
            self.paused_until = monotonic() + max(grant.wait, MIN_DENIED_SECONDS)
            self._denied_at = self._denied_at or monotonic()
        return list(grant.slots)

    def _fetch(self, number: int, slot: Slot) -> Fetched:
        """Runs in a thread of the pool: uses neither the database nor the slice's state."""
        parameters = [("page", str(number)), *self.resource.paging]
        if self.since is not None:
            parameters.append((self.resource.since, self.since))
        answer, sent_at = None, monotonic()
        try:
            answer = self._send(self.resource.path, parameters, slot)
            check(answer)
            return Fetched(number, sent_at, parse_page(self.resource, answer.body), answer, None)
        except NotFound as error:
            if number == 1:  # "Webservices unavailable", in the document's words
                return Fetched(1, sent_at, None, answer, _unavailable(error))
            return Fetched(number, sent_at, Page([], None, last=True), answer, None)
        except BackMarketError as error:
            return Fetched(number, sent_at, None, answer, error)

    def _send(self, path: str, parameters: Sequence[tuple[str, str]], slot: Slot) -> Answer:
        return send(self.transport, self.limiter, self.credentials, slot, path, parameters)


def _unavailable(error: NotFound) -> TransientError:
    return TransientError(
        "The API answers 404 for the list, which its document explains as 'Webservices unavailable'.",
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )
