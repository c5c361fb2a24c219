"""Map answers to the error tree, by status, headers and the shapes of error bodies.

The shapes (`ErrorResponseV1` to `V3`, RFC 7807, a bare string, HTML, nothing) are those of the published
document and of Cloudflare; see the section "Limits and refusals" of `docs/assumptions.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from math import isfinite
from typing import Any, Literal

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
"""Maximum `Retry-After` obeyed, in seconds: a wrong one must not stop an account for years."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request.

    Attributes:
        status: HTTP status.
        headers: with names in lower case.
        body: complete, decompressed.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def date(self) -> datetime | None:
        """The server's time of the answer, to the second; None if the header is missing or malformed."""
        try:
            text = self.headers["date"]
            return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None


LIMIT_CODE = "E008"
"""The code by which `/ws/sav` says, with whatever status, that the limit of one of its operations was reached."""


def limit_reached(answer: Answer) -> Literal["account", "operation"] | None:
    """Whose rate limit the answer says was reached; None: it says nothing of a limit."""
    if answer.status == 429:
        return "account"
    return "operation" if LIMIT_CODE.encode() in answer.body[:1024] and _Fault.read(answer).code == LIMIT_CODE else None


def check(answer: Answer) -> Answer:
    """Return the answer itself, if it is a 2xx.

    Raises:
        Unauthorized: if it is a 401.
        FirewallBlocked: if it is a 403 with the firewall's marks: a challenge code, or an HTML page.
        NotAvailable: if it is any other 403.
        NotFound: if it is a 404.
        RateLimited: if it is a 429, or says `E008`, whatever its status.
        ServerError: if it is a 5xx.
        RequestRefused: if it has any other status.
    """
    if 200 <= answer.status < 300 and limit_reached(answer) is None:
        return answer
    raise _error(answer)


def is_of_sku_quota(answer: Answer) -> bool:
    """Whether the 429 of an operation that counts SKU lines concerns these: then it is the API's own, as JSON.

    The firewall says that there were too many requests by an HTML page, or by a text such as `error code: 1015`.
    """
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS and _is_json(answer.body)


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict | list | str)
    except (ValueError, RecursionError):
        return False


def _error(answer: Answer) -> BackMarketError:
    fault = _Fault.read(answer)
    marks: dict[str, Any] = {
        "status": answer.status,
        "request_id": fault.request_id,
        "cf_ray": opaque_id(answer.headers.get("cf-ray")),
    }
    if answer.status == 403 and fault.firewall:
        return FirewallBlocked("The firewall in front of the API refused the request.", **marks)
    if limit_reached(answer):
        by_api = _is_json(answer.body)
        return RateLimited("The API's rate limit was reached.", retry_after=retry_after(answer), by_api=by_api, **marks)
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
    """The content of an error body of any shape."""

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
            # the rest of a truncated object may quote a customer's data, member by member
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
    """The parts of an error body that say what is wrong, the most specific first."""
    inner = value.get("error") or value.get("errors") or ()
    each = inner if isinstance(inner, list | tuple) else [inner]
    return [*(detail if isinstance(detail, dict) else {"message": detail} for detail in each), value]


def _first(detail: dict[str, Any], *names: str) -> str:
    """The first of the named members that is a text or a number, safe to show."""
    found = (detail.get(name) for name in names)
    texts = (redact(str(each)) for each in found if isinstance(each, str | int) and not isinstance(each, bool))
    return next(filter(None, texts), "")


def retry_after(answer: Answer) -> float | None:
    """Seconds after which the API allows a retry; None if it does not say, or in another form."""
    try:
        seconds = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS) if isfinite(seconds) else None
