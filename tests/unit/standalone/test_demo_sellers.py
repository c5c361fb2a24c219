"""The demo's sellers: what its checks take for granted of the invented rows."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

from backmarket.resources import RESOURCES
from backmarket.sandbox import World
from backmarket.sandbox.world.shipment_stock import Kind
from backmarket.standalone.demo.sellers import ALIVE, SELLERS, SHIPS_ALONE
from backmarket.sync.lookback import MARGIN


def test_what_a_sync_reads_again_fits_one_page() -> None:
    """Else a second sync costs two requests for a shipment if the mark of a lookback lies just before it."""
    world = World()
    for seller in [world.add(spec) for spec in SELLERS]:
        if seller.name == SHIPS_ALONE or seller.name not in ALIVE:
            continue
        for kind in get_args(Kind):
            reach = timedelta(seconds=max(lookback.within for lookback in RESOURCES[kind].lookbacks)) + MARGIN
            recent = [row for row in seller.shipments(kind).rows if row.created >= world.start - reach]
            assert len(recent) <= world.settings.shipping_page_size
