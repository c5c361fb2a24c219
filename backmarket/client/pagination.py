"""Read whole lists, page by page: page numbers are counted here, and addresses from the API are never followed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any
from urllib.parse import parse_qs, urlsplit

from backmarket.client.arguments import Uuid
from backmarket.client.caller import Caller
from backmarket.client.operation import Operation
from backmarket.client.types.buyback import BuybackListing, BuybackListings
from backmarket.client.types.pages import Page, Row
from backmarket.errors import BrokenAnswer, IncompleteWalk, NotFound


class Seen:
    """The rows of a list that were already returned.

    Args:
        key: field that identifies a row; None: the whole row does.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._names: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, row: Any) -> bool:
        """Remember a row; returns whether it is new."""
        name = row.get(self._key) if isinstance(row, dict) else None
        text = json.dumps(row if name is None else name, sort_keys=True)
        new = text not in self._names
        self._names.add(text)
        return new


def walk(caller: Caller, operation: Operation[Page[Row]], arguments: Mapping[str, Any]) -> Iterator[Row]:
    """Every row of a list, each once, in the API's order.

    A row that moves to another page during the walk can be missed, unnoticed if another takes its place in the
    count. For complete lists use `BackMarket`, whose syncs walk again.

    Raises:
        IncompleteWalk: if the list ended, or a page held nothing new, before as many rows came as the API counted.
    """
    seen = Seen(operation.key)
    number, count = 0, -1
    while True:
        number += 1
        page = _page(caller, operation, {**arguments, "page": number})
        new = [row for row in page.get("results", ()) if seen.add(row)]
        yield from new
        count = _counted(page, count)
        if len(seen) >= count and not (new and page.get("next")):
            return
        if not new:
            raise IncompleteWalk(
                f"The list of {operation.name} ended at page {number}: {len(seen)} rows came, and it counts {count}."
            )


def _page(caller: Caller, operation: Operation[Page[Row]], arguments: Mapping[str, Any]) -> Page[Row]:
    """A page; one past the end is empty, also if the API answers 404."""
    try:
        return caller.call(operation, arguments)
    except NotFound:
        if arguments["page"] == 1:
            raise
        return {}


def _counted(page: Page[Any], before: int) -> int:
    """The number of rows in the list, by this page or the last one that said it."""
    count: Any = page.get("count")
    return int(count) if isinstance(count, int | float) and 0 <= count < inf else before


def walk_by_cursor(
    caller: Caller, operation: Operation[BuybackListings], arguments: Mapping[str, Any]
) -> Iterator[BuybackListing]:
    """Every row of a list with cursors, each once.

    Raises:
        IncompleteWalk: if a page led back to an earlier one.
        BrokenAnswer: if a page names a next one without a cursor.
    """
    seen, cursors = Seen(operation.key), set[str]()
    cursor: str | None = None
    while True:
        page = caller.call(operation, {**arguments, "cursor": cursor})
        yield from (row for row in page["results"] if seen.add(row))
        if not (following := page.get("next")):
            return
        cursor = cursor_of(following)
        if cursor in cursors:
            raise IncompleteWalk(f"The list of {operation.name} loops back to an earlier page: {len(seen)} rows came.")
        cursors.add(cursor)


def cursor_of(following: Any) -> str:
    """The cursor in the address of the next page, which is not used otherwise; or the cursor itself.

    Raises:
        BrokenAnswer: if it has no cursor.
    """
    try:
        text = str(following)
        found = parse_qs(urlsplit(text).query).get("cursor", [text])
        return Uuid().sent(found[0])
    except ValueError:
        raise BrokenAnswer("The API's answer names a next page without a cursor.") from None
