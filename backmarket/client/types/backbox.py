"""How listings compare with others, in the API's form."""

from __future__ import annotations

from typing import Any, TypedDict

from backmarket.client.types.pages import MonetaryAmount


class BackboxRow(TypedDict, total=False):
    """How a listing compares with others."""

    buybox: bool
    condition: int
    currency: str
    current: Any
    price: float
    price_for_buybox: float
    product: int
    quantity: int
    same_merchant_winner: bool
    sku: str


class Competitor(TypedDict, total=False):
    """How a listing compares with others, in one market."""

    is_winning: bool
    listing_id: str
    market: str
    min_price: MonetaryAmount | None
    price: MonetaryAmount
    price_to_win: MonetaryAmount
    product_id: str
    winner_price: MonetaryAmount | None
