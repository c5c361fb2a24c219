"""Parts of several answers: pages and amounts."""

from __future__ import annotations

from typing import Generic, TypedDict, TypeVar

Row = TypeVar("Row")


class Page(TypedDict, Generic[Row], total=False):
    """A page of a list. `next` and `previous` are never followed."""

    count: int
    next: str | None
    previous: str | None
    results: list[Row]


class MonetaryAmount(TypedDict, total=False):
    """An amount in a currency."""

    amount: str
    currency: str
