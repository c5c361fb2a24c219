"""A row of the page "To ship": an order, what was requested of it, and how that went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backmarket.console import paths
from backmarket.facade import BackMarket
from backmarket.queries.to_ship import OrderToShip, ShippingStep
from backmarket.writes.models import Write, WriteState

NEWS = timedelta(minutes=15)
"""How long a row shows that a change succeeded."""

JUST_NOW = timedelta(seconds=30)
"""Longer than reading a page of orders takes."""


@dataclass
class ShippingRow:
    """One order on the page.

    Attributes:
        order: the order.
        writes: its newest writes, the newest first.
        faults: why a submitted form did nothing: of the order (None), or of a line, by its id.
        sent: what that form contained.
    """

    order: OrderToShip
    writes: Sequence[Write] = ()
    faults: Mapping[int | None, str] = field(default_factory=dict)
    sent: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """How forms name it."""
        return paths.order_key(*self.order.key)

    @property
    def moves(self) -> list[Write]:
        """What the row says about its moves: those that have not ended, the newest if it failed, and news."""
        moves = [write for write in self.writes if write.kind == "update_order"]
        return [write for number, write in enumerate(moves) if write.open or self._is_told(write, number)]

    @property
    def is_moving(self) -> bool:
        """Whether a move has not ended: no other can be requested."""
        return any(write.open for write in self.moves)

    @property
    def waits(self) -> bool:
        """Whether an outcome will come by itself."""
        return any(write.open and not write.undecided for write in self.writes)

    @property
    def progress(self) -> str:
        """The states of its open writes as one word, by which a page knows whether they have changed."""
        return "-".join(write.state.value for write in self.writes if write.open) or "none"

    @property
    def newest(self) -> int:
        """Its newest write; a page knows by it that an answer was read before a form was sent."""
        return max((write.id for write in self.writes), default=0)

    @property
    def is_shipped(self) -> bool:
        """Whether the row shows an order that was shipped from it."""
        newest = next(iter(self.moves), None)
        return (
            self.order.step is None
            and newest is not None
            and newest.state == WriteState.SUCCEEDED
            and newest.request.get("new_state") == 3
        )

    @property
    def awaits_label(self) -> bool:
        """Whether Back Market makes its label, and it is not stored yet."""
        parcels = self.order.parcels
        is_stored = bool(parcels) and all(each.label_state == "stored" for each in parcels)
        return bool(self.order.is_backship) and self.order.step == ShippingStep.SHIP and not is_stored

    @property
    def labels(self) -> str:
        """The states of its labels as one word, by which a page knows whether they have changed."""
        return "-".join(each.label_state or "none" for each in self.order.parcels) or "none"

    @property
    def tracking_number(self) -> str:
        """What the field begins with: what was sent, or the number of the only parcel."""
        parcels = self.order.parcels
        return self.sent.get("tracking_number") or (parcels[0].tracking_number or "" if len(parcels) == 1 else "")

    def registration(self, line: int) -> Write | None:
        """The newest registration of a line's device."""
        own = (write for write in self.writes if write.kind == "update_orderline" and write.object_id == str(line))
        return next(own, None)

    def _is_told(self, write: Write, number: int) -> bool:
        if write.state != WriteState.SUCCEEDED:
            return number == 0
        return write.settled_at is not None and datetime.now(UTC) - write.settled_at < NEWS


def rows_of(bm: BackMarket, orders: Sequence[OrderToShip]) -> list[ShippingRow]:
    """The rows of some orders. An order whose change has just ended is read again: it was perhaps read before."""
    writes = bm.get_newest_writes([order.key for order in orders])
    since = datetime.now(UTC) - JUST_NOW
    changed = [key for key, own in writes.items() if any(each.settled_at and each.settled_at > since for each in own)]
    again = {order.key: order for order in bm.get_orders_by_keys(changed)} if changed else {}
    return [ShippingRow(again.get(order.key, order), writes.get(order.key, ())) for order in orders]


def rows_of_keys(bm: BackMarket, keys: Sequence[str]) -> list[ShippingRow]:
    """The rows of the orders that a form names, in its order; names of none are left out."""
    named = dict.fromkeys(filter(None, map(paths.order_of_key, keys)))
    return rows_of(bm, bm.get_orders_by_keys([*named]))
