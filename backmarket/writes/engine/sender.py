"""Sends writes and reads them back, one request per thread. No database access here.

Back Market does not know our leases. So a request that was delayed between its row's commit and its first byte is not
sent, and a write that was sent is read back only after its request can no longer arrive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backmarket.client import Answer, Credentials, check
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS, with_slot
from backmarket.errors import BackMarketError, BrokenAnswer, Crashed, RateLimited
from backmarket.limits import Limiter, Slot, wait_for_slot
from backmarket.observability.logs import Logger, error_location
from backmarket.resources import Resource, Row, as_in, listings_in, parse_object
from backmarket.work.send_deadline import SEND_WITHIN, Stopwatch, late
from backmarket.writes.models import Write
from backmarket.writes.request.http import Request
from backmarket.writes.targets import Shown, Subject, subject_of

if TYPE_CHECKING:
    from backmarket.bucket.client import Bucket
    from backmarket.client.transport import Transport


log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a request that changes something.

    Attributes:
        error: why it failed, or why its outcome is unknown; None: the API accepted it.
        shown: the changed object, in the markets where the change shows; none: unknown.
        lines_used_up: the API says that the account has sent too many SKU lines.
    """

    error: BackMarketError | None = None
    shown: tuple[Shown, ...] = ()
    lines_used_up: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """The result of reading a write back.

    Attributes:
        error: why the request failed.
        seen: the object, in the locale of the write.
        shown: the object as it is stored, in the markets where the change shows; none: it could not be fetched.
    """

    error: BackMarketError | None = None
    seen: dict[str, Any] | None = None
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file from the bucket, or why it could not be read."""

    error: BackMarketError | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class WriteSender:
    """Sends the requests of one slice; safe to use in many threads.

    Args:
        transport: sends the requests.
        limiter: grants the slots.
        credentials: of the connection, in its locale.
        bucket: opens the bucket with the invoices; called only when needed.
        markets: further markets whose listings are stored.
    """

    transport: Transport
    limiter: Limiter
    credentials: Credentials
    bucket: Callable[[], Bucket]
    markets: Collection[str] = ()

    def send(self, write: Write, request: Request, slot: Slot, began: Stopwatch) -> Sent:
        """Send a write, unless it was delayed, and fetch the object as it is now.

        Args:
            write: the write; its row says `sending`.
            request: the request to send.
            slot: the limiter's slot.
            began: runs since the transaction that stored `sending` began.
        """
        if began.elapsed() > SEND_WITHIN:
            self.limiter.release([slot])
            return Sent(late())
        try:
            answer = with_slot(
                self.limiter,
                slot,
                partial(
                    self.transport.send,
                    self._speaking(write.locale),
                    request.method,
                    request.path,
                    body=request.body,
                    content_type=request.content_type,
                ),
                counts_sku_lines=write.kind == "update_listing",
            )
            _check_yes(answer)
        except BackMarketError as error:
            return Sent(error, lines_used_up=_lines_used_up(write, error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the request may have been sent
            return Sent(crashed(write, error))
        return Sent(shown=self._shown_after(write, answer))

    def read(self, write: Write, slot: Slot) -> Read:
        """Fetch the object in the write's locale, and in the connection's locale where that is stored."""
        subject = subject_of(write)
        if subject is None:
            return Read(Crashed("This write cannot be read back."))
        locale = write.locale if write.kind == "update_listing" else self.credentials.locale
        try:
            seen = self._get(subject, locale, slot)
        except BackMarketError as error:
            return Read(error)
        shown = self._shown(write, subject, locale, lambda resource: as_in(resource, seen))
        return Read(seen=json.loads(seen.raw), shown=shown)

    def load(self, write: Write) -> Loaded:
        """Read the file of an invoice from the bucket."""
        try:
            with self.bucket().get(write.object_key or "") as content:
                return Loaded(content=b"".join(content.chunks))
        except BackMarketError as error:
            return Loaded(error)

    def _shown_after(self, write: Write, answer: Answer) -> tuple[Shown, ...]:
        """The object after a write: from the answer if it contains the whole of it, else fetched."""
        subject = subject_of(write)
        if subject is None:
            return ()
        body = b"" if write.kind == "update_orderline" else answer.body
        return self._shown(write, subject, write.locale, lambda resource: _whole(resource, subject, body))

    def _shown(
        self, write: Write, subject: Subject, locale: str, seen: Callable[[Resource], Row | None]
    ) -> tuple[Shown, ...]:
        """The object in the markets that are stored and that a write changes.

        Args:
            write: the write.
            subject: its object.
            locale: in which the API has just shown it.
            seen: returns it as it was shown; None: it is fetched.
        """
        of_market = write.kind == "update_listing" and write.locale in self.markets
        resources = [listings_in(write.locale)] if of_market else []
        if not of_market or "quantity" in write.request.get("changes", {}):  # which all markets share
            resources.append(subject.resource)
        found = []
        for resource in resources:
            row = seen(resource) if locale == (resource.market or self.credentials.locale) else None
            row = row or self._fetched(resource, subject)
            found += [] if row is None else [Shown(resource, row)]
        return tuple(found)

    def _fetched(self, resource: Resource, subject: Subject) -> Row | None:
        """Fetch an object in the market of a resource; None: that failed, and the next sync brings it."""
        try:
            slot = wait_for_slot(self.limiter, self.credentials.account, urgent=True, timeout=MAX_LIMITER_WAIT_SECONDS)
            asked = replace(subject, resource=resource)
            return self._get(asked, resource.market or self.credentials.locale, slot)
        except BackMarketError as error:
            log.info("writes.not_refreshed", code=error.code, error=error.message)
            return None

    def _get(self, subject: Subject, locale: str, slot: Slot) -> Row:
        path = f"{subject.resource.path}/{quote(subject.key, safe='')}"
        asked = partial(self.transport.get, self._speaking(locale), path)
        row = parse_object(subject.resource, check(with_slot(self.limiter, slot, asked)).body)
        if row is None or str(row.key) != subject.key:
            raise BrokenAnswer(f"The API's answer for one of {subject.resource.name} is for another row.")
        return row

    def _speaking(self, locale: str) -> Credentials:
        return replace(self.credentials, locale=locale)


def _whole(resource: Resource, subject: Subject, body: bytes) -> Row | None:
    """The object that an answer contains; None: it contains none, or not the whole one."""
    try:
        row = parse_object(resource, body)
    except BrokenAnswer:
        return None
    whole = row is not None and str(row.key) == subject.key and (row.lines or not resource.lines)
    return row if whole else None


def crashed(write: Write, error: Exception) -> Crashed:
    """Log an internal error, with its location but never its text."""
    log.error("writes.crashed", write=write.id, **error_location(error))
    return Crashed.of(error)


def _check_yes(answer: Answer) -> None:
    """Check that the API itself accepted the request: an HTML page with status 200 comes from a proxy in between.

    Raises:
        BackMarketError: as for `check`; a `BrokenAnswer` means that the request's outcome is unknown.
    """
    check(answer)
    if answer.body.lstrip()[:1] == b"<":
        raise BrokenAnswer("The answer is a web page, not the API's.", status=answer.status)


def _lines_used_up(write: Write, error: BackMarketError) -> bool:
    """Whether a refusal concerns the hourly SKU lines. A refusal for too many requests is the firewall's page."""
    return write.kind == "update_listing" and isinstance(error, RateLimited) and error.by_api
