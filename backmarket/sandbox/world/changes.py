"""Changes that sellers and customers make without the client: at once, or in the middle of a walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from backmarket.sandbox.world.stock import Stock, Where

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backmarket.sandbox.world.sellers import Seller


class Change(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A change to a seller's rows. Its parts are applied in this order: remove, hide, modify, add.

    Attributes:
        seller: the seller's name.
        resource: the kind of rows.
        remove: number of rows that vanish as if they had never existed (404 by id, too).
        hide: number of orders that reach state 8, which takes them off the list.
        modify: number of rows that progress, or get `fields`.
        add: number of new rows, at the newest or the oldest end (`anywhere` counts as newest).
        where: the rows to change; `anywhere` draws them from the seed.
        ids: exactly these rows, for each of remove, hide, modify that is 1 or more.
        fields: members to set on each modified row, instead of its ordinary progress.
        silent: whether `date_modification` of the modified and hidden orders stays.
        market: listings are modified in this market, and removed from it alone; empty: modified in the home market,
            removed from all.
        after: delay, as a number of further answers of `operation` to the seller.
        operation: see `after`.
    """

    seller: str
    resource: Literal["orders", "listings", "deliveries", "returns"] = "orders"
    remove: int = 0
    hide: int = 0
    modify: int = 0
    add: int = 0
    where: Where = "anywhere"
    ids: list[int | str] = []
    fields: dict[str, Any] = {}
    silent: bool = False
    market: str = ""
    after: int | None = None
    operation: str = "orders.list"


class Changed(msgspec.Struct, kw_only=True):
    """The ids of the rows that a change touched."""

    removed: list[int | str] = []
    hidden: list[int | str] = []
    modified: list[int | str] = []
    added: list[int | str] = []


def apply(sellers: Mapping[str, Seller], change: Change, now: datetime) -> Changed:
    """Make a change at once.

    Args:
        sellers: all of them, by name.
        change: the change.
        now: the time of the world's clock.

    Raises:
        KeyError: if there is no such seller.
        ValueError: if rows of this kind cannot be changed like this.
    """
    stock = sellers[change.seller].stocks[change.resource]
    done = Changed()
    for row in _chosen(stock, change, change.remove):
        stock.remove(row, change.market)
        done.removed.append(row.id)
    for row in _chosen(stock, change, change.hide):
        stock.hide(row, now, silent=change.silent)
        done.hidden.append(row.id)
    for row in _chosen(stock, change, change.modify):
        stock.modify(row, now, change.fields, silent=change.silent, market=change.market)
        done.modified.append(row.id)
    done.added = [stock.add(now, change.where).id for _ in range(change.add)]
    return done


def _chosen(stock: Stock[Any], change: Change, wanted: int) -> list[Any]:
    if wanted and change.ids:
        return [row for row in map(stock.rows.get, change.ids) if row is not None]
    return stock.pick(wanted, change.where)


class Schedule:
    """Changes that wait for a number of answers."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Change, int]] = []

    def add(self, change: Change) -> None:
        """Delay a change until its `after` answers, counted from now."""
        self._waiting.append((change, change.after or 0))

    def answered(self, seller: str, operation: str) -> list[Change]:
        """Count an answer that is about to be sent; returns the changes that are due with it."""
        if not self._waiting:
            return []
        due: list[Change] = []
        still: list[tuple[Change, int]] = []
        for change, left in self._waiting:
            matches = change.seller == seller and change.operation == operation
            if matches and left <= 1:
                due.append(change)
            else:
                still.append((change, left - matches))
        self._waiting = still
        return due

    def __len__(self) -> int:
        return len(self._waiting)

    def clear(self) -> None:
        """Discard the changes that still wait."""
        self._waiting.clear()
