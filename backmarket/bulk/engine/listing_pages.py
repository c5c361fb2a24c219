"""Reads listings back by pages of their list, where that takes fewer requests than one for each line."""

from __future__ import annotations

import json
from collections.abc import Set
from math import ceil
from typing import Any, NamedTuple

from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.engine.requests import WINDOW, ApiRequest
from backmarket.client import Answer
from backmarket.client.skus import sku_key
from backmarket.errors import BackMarketError

PAGE_ROWS = 50
"""Listings of a page, the API's maximum."""

PAGES_AT_ONCE = 64
"""Pages read before the neighbours' turn: an account with more listings is read in several goes."""


class PagesRead(NamedTuple):
    """What some pages showed.

    Attributes:
        listings: the wanted listings, by `sku_key`.
        next_page: the page to continue with; None: no further one, as the list has ended or single requests are fewer.
        whole: all pages were read in one go and agree on how many listings there are: what is missing is not there.
        failed: a page cannot be read.
    """

    listings: dict[str, dict[str, Any]]
    next_page: int | None
    whole: bool = False
    failed: bool = False


class _Page(NamedTuple):
    total: int
    listings: dict[str, dict[str, Any]]


def read(context: SliceContext, first: int, wanted: Set[str], locale: str | None) -> PagesRead:
    """Read pages until each wanted listing was seen, the list ends, or the rest is cheaper one by one.

    Args:
        context: of the slice.
        first: the first page to read.
        wanted: the `sku_key` of each.
        locale: the market.
    """
    found: dict[str, dict[str, Any]] = {}
    totals: set[int] = set()
    page, batch = first, 1  # the first page tells how many there are
    while batch and not context.over and page < first + PAGES_AT_ONCE:
        answers = context.api.ask([_request(each, locale) for each in range(page, page + batch)])
        context.renew_if_old()
        for answer in answers:
            shown = _page(answer)
            if shown is None:
                return PagesRead(found, page, failed=True)
            totals.add(shown.total)
            found |= {sku: listing for sku, listing in shown.listings.items() if sku in wanted}
            page += 1
        left = ceil(max(totals, default=0) / PAGE_ROWS) - page + 1
        if left <= 0 or left > len(wanted) - len(found):
            return PagesRead(found, None, whole=left <= 0 and first == 1 and len(totals) == 1)
        batch = min(WINDOW, left) if answers else 0
    return PagesRead(found, page)


def _request(page: int, locale: str | None) -> ApiRequest:
    return ApiRequest("/ws/listings", (("page", str(page)), ("page-size", str(PAGE_ROWS))), locale)


def _page(answer: Answer | BackMarketError) -> _Page | None:
    """The content of a page; None: it cannot be read."""
    if not isinstance(answer, Answer):
        return None
    try:
        value = json.loads(answer.body)
        total, results = value["count"], value["results"]
        rows = [row for row in results if isinstance(row, dict) and isinstance(row.get("sku"), str)]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    known = isinstance(total, int) and not isinstance(total, bool)
    return _Page(total, {sku_key(row["sku"]): row for row in rows}) if known else None
