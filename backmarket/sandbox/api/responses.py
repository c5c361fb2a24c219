"""Answers, and the various shapes of the API's refusals."""

from __future__ import annotations

from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]

HTML = b"text/html; charset=UTF-8"
JSON = b"application/json"

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
}
_numbers = count(1)


class Answer(NamedTuple):
    """One answer before it is sent."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()


class Refused(Exception):
    """Ends an operation with the given answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def request_id() -> str:
    """An id of one refusal, as the API gives it for its support."""
    return f"sandbox-{next(_numbers):08x}"


def in_json(value: Any, status: int = 200) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(value))


def refusal(status: int, message: str, *, code: str = "", shape: str = "v1") -> Answer:
    """A refusal in one of the API's shapes.

    Args:
        status: the HTTP status.
        message: the readable text.
        code: the API's own code; by default derived from the status.
        shape: `v1` (`error`), `v2` (`errors`), `v3` (`error` with status, title, type), `problem` (RFC 7807),
            `string` (a bare JSON string), `html`, or `empty`.
    """
    title = _TITLES.get(status, "Error")
    code = code or title.lower().replace(" ", "-")
    if shape == "html":
        return html_page(status, title)
    if shape == "empty":
        return Answer(status, b"")
    return in_json(_refusal_body(shape, status, title, {"code": code, "message": message}), status)


def _refusal_body(shape: str, status: int, title: str, error: dict[str, str]) -> Any:
    kind = f"/errors/{error['code']}"
    if shape == "string":
        return error["message"]
    if shape == "problem":
        return {"type": kind, "title": title, "status": status, "detail": error["message"]}
    if shape == "v2":
        return {"errors": [error], "requestId": request_id()}
    more = {"status": status, "title": title, "type": kind} if shape == "v3" else {}
    return {"error": error, **more, "requestId": request_id()}


def html_page(status: int, title: str, *, headers: Headers = ()) -> Answer:
    """An HTML page, as a load balancer sends it."""
    head = f"<head><title>{title}</title></head>"
    page = f"<!DOCTYPE html><html>{head}<body><h1>{status} {title}</h1></body></html>"
    return Answer(status, page.encode(), HTML, headers)


FIREWALL: Final[Headers] = ((b"server", b"cloudflare"), (b"cf-ray", b"931354450813d142-CDG"))
"""Headers of the firewall's own answers."""


def firewall_page() -> Answer:
    """403 as Cloudflare sends it: HTML that names Cloudflare."""
    return html_page(403, "Attention Required! | Cloudflare", headers=FIREWALL)


def rate_limited() -> Answer:
    """429 as Cloudflare sends it: HTML, without Retry-After."""
    return html_page(429, "Too Many Requests", headers=((b"server", b"cloudflare"),))
