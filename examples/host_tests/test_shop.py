"""The host's own tests, with real servers and without a worker: `pytest examples/host_tests`."""

from __future__ import annotations

import pytest
from shop import ship, to_ship

from backmarket.errors import ServerError
from backmarket.testing import ConnectedSeller


def test_a_shipped_order_is_shipped_at_back_market(connected_seller: ConnectedSeller) -> None:
    seller = connected_seller
    assert seller.sync("orders").rows_created == 60
    order_id = min(to_ship(seller.bm, seller.organization_id))

    handle = ship(seller.bm, seller.organization_id, order_id, "1Z999")
    seller.send(handle)

    theirs = {order["order_id"]: order for order in seller.sandbox.truth(seller.organization_id)}
    assert theirs[order_id]["tracking_number"] == "1Z999"
    assert order_id not in to_ship(seller.bm, seller.organization_id)


def test_orders_come_once_back_market_answers_again(connected_seller: ConnectedSeller) -> None:
    seller = connected_seller
    seller.sandbox.add_fault("status", status=503, operation="orders.list")
    with pytest.raises(ServerError):
        seller.sync("orders")
    assert to_ship(seller.bm, seller.organization_id) == set()

    seller.sandbox.remove_faults()
    seller.sync("orders")
    assert to_ship(seller.bm, seller.organization_id)
