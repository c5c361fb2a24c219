"""The sellers of the demo and what goes wrong with them."""

from __future__ import annotations

import secrets
from typing import Final

from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.sandbox.world.sellers import SellerSpec

DEAD: Final = "closed-shop"
"""The seller whose token was revoked."""

SHIPS_ALONE: Final = "madrid-tablets"
"""The seller without a BackShip subscription: no deliveries and no returns."""

SELLERS: Final = tuple(
    SellerSpec(
        name=name, token=secrets.token_urlsafe(24), orders=orders, listings=listings, deliveries=60, returns=20,
        backship=name != SHIPS_ALONE, market=market,
    )
    for name, orders, listings, market in (
        ("paris-refurb", 1200, 400, "fr-fr"),
        ("berlin-phones", 300, 120, "de-de"),
        (SHIPS_ALONE, 300, 60, "es-es"),
        (DEAD, 100, 40, "fr-fr"),
    )
)  # fmt: skip
"""Together some 80 requests: far from the limit, so that the demo is short."""

ALIVE: Final = tuple(seller.name for seller in SELLERS if seller.name != DEAD)
"""The sellers whose tokens work, by name."""

FAULTS: Final[dict[FaultKind, float]] = {"status": 0.005, "reset": 0.005, "cut": 0.005, "garbage": 0.005}
"""Kinds and shares: 502, a reset connection, half an answer, HTML where JSON should be."""
