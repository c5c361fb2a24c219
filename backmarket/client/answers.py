"""What an answer means: the error tree, decided by status, headers and the shapes of error bodies.

The shapes (`ErrorResponseV1` to `V3`, RFC 7807, a bare string, HTML, nothing) are those of the published
document and of Cloudflare; see the section "Limits and refusals" of `docs/assumptions.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from backmarket.errors import (
    BackMarketError,
    FirewallBlocked,
    NotAvailable,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerError,
    Unauthorized,
)
from backmarket.observability.redaction import opaque_id, redact

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Maximum `Retry-After` that is obeyed: a wrong one must not stop an account for years."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: the whole of it, decompressed.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def date(self) -> datetime | None:
        """The server's clock when it answered, to the second; None where the header is missing or odd."""
        try:
            text = self.headers["date"]
            return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None


def check(answer: Answer) -> Answer:
    """The answer itself, if it is a 2xx.

    Raises:
        Unauthorized: 401.
        FirewallBlocked: 403 with the firewall's marks: a challenge code, or an HTML page.
        NotAvailable: any other 403.
        NotFound: 404.
        RateLimited: 429.
        ServerError: 5xx.
        RequestRefused: any other status.
    """
    if 200 <= answer.status < 300:
        return answer
    raise _error(answer)


def _error(answer: Answer) -> BackMarketError:
    fault = _Fault.read(answer)
    marks: dict[str, Any] = {
        "status": answer.status,
        "request_id": fault.request_id,
        "cf_ray": opaque_id(answer.headers.get("cf-ray")),
    }
    if answer.status == 403 and fault.firewall:
        return FirewallBlocked("The firewall in front of the API refused the request.", **marks)
    if answer.status == 429:
        return RateLimited("The API's rate limit was reached.", retry_after=retry_after(answer), **marks)
    if answer.status >= 500:
        return ServerError(f"The API failed{fault.said}.", **marks)
    kind, sentence = _REFUSALS.get(answer.status, (RequestRefused, "The API refused the request"))
    return kind(f"{sentence}{fault.said}.", **marks)


_REFUSALS: dict[int, tuple[type[BackMarketError], str]] = {
    401: (Unauthorized, "The API does not accept the key"),
    403: (NotAvailable, "The API does not allow this to the account"),
    404: (NotFound, "The API does not know this"),
}


_CLOUDFLARE = re.compile(r"error code: 1\d{3}\b")
"""Cloudflare's refusals of a request as plain text, such as `error code: 1020`."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """What an error body says, whichever of the shapes it has."""

    text: str
    code: str
    request_id: str | None
    firewall: bool

    @property
    def said(self) -> str:
        words = " ".join(word for word in (self.code, self.text) if word)
        return f": {words.rstrip('.')}" if words else ""

    @classmethod
    def read(cls, answer: Answer) -> _Fault:
        body = answer.body[:65536].decode("utf-8-sig", "replace").strip()
        if body.startswith("<") or _CLOUDFLARE.match(body):
            return cls("", "", None, firewall=True)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            # what is left of a cut object may quote a customer's data, member by member
            said = "" if body[:1] in {"{", "["} else redact(body)
            return cls(said, "", None, firewall=False)
        if isinstance(value, str):
            return cls(redact(value), "", None, firewall=False)
        if not isinstance(value, dict):
            return cls("", "", None, firewall=False)
        details = _details(value)
        codes = [_first(detail, "code", "type") for detail in details]
        text = next(filter(None, (_first(detail, "message", "detail", "title") for detail in details)), "")
        code = next(filter(None, codes), "")
        return cls(text, code, opaque_id(value.get("requestId")), firewall=any("challenge" in each for each in codes))


def _details(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Where an error body says what is wrong, the most telling place first."""
    inner = value.get("error") or value.get("errors") or ()
    each = inner if isinstance(inner, list | tuple) else [inner]
    return [*(detail if isinstance(detail, dict) else {"message": detail} for detail in each), value]


def _first(detail: dict[str, Any], *names: str) -> str:
    """The first of some members that is a text or a number, safe to show."""
    found = (detail.get(name) for name in names)
    texts = (redact(str(each)) for each in found if isinstance(each, str | int) and not isinstance(each, bool))
    return next(filter(None, texts), "")


def retry_after(answer: Answer) -> float | None:
    """Seconds after which the API wants to be asked again; None where it does not say, or says it in another way."""
    try:
        seconds = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS) if isfinite(seconds) else None
