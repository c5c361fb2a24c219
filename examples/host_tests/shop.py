"""A host application: what it does with the orders of its customers."""

from __future__ import annotations

from backmarket import BackMarket, OrderLineState, WriteHandle


def to_ship(bm: BackMarket, organization_id: str) -> set[int]:
    """The orders with lines that were accepted and are not shipped yet, by id."""
    lines = bm.iter_orderlines(organization_id, state=OrderLineState.ACCEPTED)
    return {line.order_id for line in lines}


def ship(bm: BackMarket, organization_id: str, order_id: int, tracking_number: str) -> WriteHandle:
    """Tell Back Market that an order is on its way, once however often this is called."""
    return bm.update_order(
        organization_id,
        order_id,
        OrderLineState.SHIPPED,
        tracking_number=tracking_number,
        idempotency_key=f"shipped/{order_id}",
    )
