"""Pagination of the lists: `{count, next, previous, results}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from backmarket.sandbox.api.responses import Answer, Refused, refusal
from backmarket.sandbox.settings import Assumptions

if TYPE_CHECKING:
    from backmarket.sandbox.api.calls import Call

R = TypeVar("R")

DEFAULT_SIZE: Final = 10
MAXIMUM_SIZE: Final = 50
"""Default and maximum, from the document's parameter `PageSize`."""

_MAXIMUM: Final = 10**9 - 1
WHOLE: Final = re.compile(r"-?[0-9]{1,99}")
"""A whole number as a query may have it; a quantity below zero is one, too."""
_WRONG_COUNT = {"exact": 0, "low": -3, "high": 3}


def whole_number(query: dict[str, str], name: str, default: int, *, lenient: bool = False) -> int:
    """A query parameter as a whole number of at least 1.

    Args:
        lenient: a number out of range becomes the nearest that is in it.

    Raises:
        Refused: if it is anything else (400).
    """
    text = query.get(name)
    if text is None:
        return default
    number = int(text) if WHOLE.fullmatch(text) else None
    if number is None or not (lenient or 0 < number <= _MAXIMUM):
        raise Refused(refusal(400, f"parameter {name} must be a whole number from 1", code="invalid-parameter"))
    return min(max(number, 1), _MAXIMUM)


def page_number(query: dict[str, str], assumptions: Assumptions) -> int:
    """The requested page, from 1; below that it is refused, or the first one where no page is refused."""
    return whole_number(query, "page", 1, lenient=assumptions.past_the_end == "empty")


def page_size(query: dict[str, str], assumptions: Assumptions) -> int:
    """The requested size; outside 1 to the maximum it is refused, or clamped if so assumed."""
    clamped = assumptions.page_size_above_maximum == "clamped"
    size = whole_number(query, "page-size", DEFAULT_SIZE, lenient=clamped)
    if size <= MAXIMUM_SIZE:
        return size
    if clamped:
        return MAXIMUM_SIZE
    raise Refused(refusal(400, f"parameter page-size must be at most {MAXIMUM_SIZE}", code="invalid-parameter"))


def page_of(
    rows: Sequence[R], page: int, size: int, call: Call, path: str, *, body: Callable[[R], bytes] = attrgetter("body")
) -> Answer:
    """One page of a list.

    Args:
        rows: the complete list, filtered and sorted.
        page: number of the page, from 1.
        size: number of rows on a page.
        call: the request; `next` and `previous` keep its parameters.
        path: the list's path.
        body: returns the JSON of a row.
    """
    assumed = call.world.settings.assumptions
    start = (page - 1) * size
    if start >= len(rows) and page > 1 and assumed.past_the_end != "empty":
        raise Refused(refusal(int(assumed.past_the_end), "Invalid page.", code="invalid-page"))
    count = max(0, len(rows) + _WRONG_COUNT[assumed.count])
    base = {"same_host": call.origin, "other_host": "https://bo.backmarket.example", "relative": ""}[assumed.next_url]

    def link(number: int, *, there: bool) -> bytes:
        if not there:
            return b"null"
        return msgspec.json.encode(f"{base}{path}?{urlencode({**call.query, 'page': number})}")

    return Answer(
        200,
        b"".join((
            b'{"count":', str(count).encode(),
            b',"next":', link(page + 1, there=start + size < len(rows)),
            b',"previous":', link(page - 1, there=page > 1),
            b',"results":[', b",".join([body(row) for row in rows[start : start + size]]), b"]}",
        )),
    )  # fmt: skip
