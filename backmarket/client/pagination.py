"""Lists as a whole, page by page: the pages are counted here, and an address that the API names is never followed."""

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
    """Which rows of a list came already.

    Args:
        key: the field that names a row; None: all of it does.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._names: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, row: Any) -> bool:
        """Remember a row; whether it is new."""
        name = row.get(self._key) if isinstance(row, dict) else None
        text = json.dumps(row if name is None else name, sort_keys=True)
        new = text not in self._names
        self._names.add(text)
        return new


def walk(caller: Caller, operation: Operation[Page[Row]], arguments: Mapping[str, Any]) -> Iterator[Row]:
    """Every row of a list, each once, in the order in which they come.

    A row that moves to another page while the pages are asked can be missed, without a trace if another takes its
    place in the count. Lists that must be complete are the work of `BackMarket`, whose syncs walk again.

    Raises:
        IncompleteWalk: the list ended, or a page held nothing new, before as many rows came as the API counted.
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
    """A page; one past the end is empty, whether the API answers so or with 404."""
    try:
        return caller.call(operation, arguments)
    except NotFound:
        if arguments["page"] == 1:
            raise
        return {}


def _counted(page: Page[Any], before: int) -> int:
    """How many rows the list has, by this page, or by the one before it that said so."""
    count: Any = page.get("count")
    return int(count) if isinstance(count, int | float) and 0 <= count < inf else before


def walk_by_cursor(
    caller: Caller, operation: Operation[BuybackListings], arguments: Mapping[str, Any]
) -> Iterator[BuybackListing]:
    """Every row of a list that goes on from a cursor, each once.

    Raises:
        IncompleteWalk: a page led back to one that was there before.
        BrokenAnswer: a page named a next one without a cursor.
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
            raise IncompleteWalk(f"The list of {operation.name} leads back to where it was: {len(seen)} rows came.")
        cursors.add(cursor)


def cursor_of(following: Any) -> str:
    """The cursor in the address of the next page, of which nothing else is used; or the cursor itself.

    Raises:
        BrokenAnswer: there is none.
    """
    try:
        text = str(following)
        found = parse_qs(urlsplit(text).query).get("cursor", [text])
        return Uuid().sent(found[0])
    except ValueError:
        raise BrokenAnswer("The API's answer names a next page without a cursor.") from None
