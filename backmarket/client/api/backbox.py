"""How listings compare with those of other sellers."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.types.backbox import BackboxRow, Competitor
from backmarket.client.types.pages import Page
from backmarket.errors import NotFound


class BackboxCalls(Calls):
    """The operations on the Backbox, each with a limit of its own."""

    def get_backbox(self, *, page: int | None = None, page_size: int | None = None) -> Page[BackboxRow]:
        """A page of listings compared with others, in the market of the client's locale; two pages an hour.

        The document calls it deprecated: `get_competitors` is its successor.

        Args:
            page: from 1.
            page_size: at most 50; the API's default is 10.
        """
        return self._call(operations.GET_BACKBOX, page=page, page_size=page_size)

    def iter_backbox(self) -> Iterator[BackboxRow]:
        """All of them, 50 per page; after two pages it raises `RateLimited`, which says how long to wait."""
        return self._walk(operations.GET_BACKBOX, page_size=50)

    def get_competitors(self, listing_id: UUID | str) -> list[Competitor]:
        """How a listing compares with others, market by market; empty: it has no competitors. Two calls a second."""
        try:
            return self._call(operations.GET_COMPETITORS, listing_id=listing_id)
        except NotFound:
            return []
