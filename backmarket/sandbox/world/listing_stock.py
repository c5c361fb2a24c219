"""Listings as the sandbox keeps them: one stock, and a separate offer for each market."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Final

import msgspec

from backmarket.sandbox.world.catalog import Item, item, money
from backmarket.sandbox.world.people import MARKETS
from backmarket.sandbox.world.stock import Stock, Where

Body = dict[str, Any]

OFFER_FIELDS: Final = frozenset({"price", "currency", "comment", "warranty_delay", "min_price", "max_price"})
"""Members that belong to a market; all others, such as quantity, are the same in all markets."""

GRADES: Final = {"PREMIUM": 9, "EXCELLENT": 0, "VERY_GOOD": 1, "GOOD": 2, "FAIR": 3, "STALLONE": 4}
"""`AestheticGradeValue`, and the `ListingStateValue` that each replaces."""

PUBLICATION_STATES: Final = frozenset({0, 1, 2, 3, 4})

_RATES: Final = {"EUR": "1", "GBP": "0.86", "USD": "1.08", "SEK": "11.2", "JPY": "161", "AUD": "1.63"}


class Listing:
    """One listing. It is replaced when it changes, never altered.

    Attributes:
        id: the UUID.
        home: the seller's own market; offers of other markets are derived from its offer until they are set.
        shared: the members that are the same in all markets.
        offers: the members that belong to a market, by country code.
    """

    __slots__ = ("_rendered", "home", "id", "offers", "shared")

    def __init__(self, home: str, shared: Body, offers: dict[str, Body]) -> None:
        self.id: str = shared["id"]
        self.home = home
        self.shared = shared
        self.offers = offers
        self._rendered: dict[str, bytes] = {}

    @property
    def body(self) -> bytes:
        """JSON as the seller's own market shows it."""
        return self.rendered(self.home)

    def rendered(self, market: str) -> bytes:
        """JSON as one market shows it."""
        kept = self._rendered.get(market)
        if kept is None:
            kept = self._rendered[market] = msgspec.json.encode(self.seen_from(market))
        return kept

    def seen_from(self, market: str) -> Body:
        """All members as one market shows them."""
        return self.shared | self.offer(market)

    def offer(self, market: str) -> Body:
        """A market's offer; converted from the home market's if none was set."""
        offer = self.offers.get(market)
        if offer is not None:
            return offer
        home, currency = self.offers[self.home], MARKETS[market].currency
        rate = Decimal(_RATES[currency]) / Decimal(_RATES[home["currency"]])
        amounts = {
            name: None if home[name] is None else f"{Decimal(home[name]) * rate:.2f}"
            for name in ("price", "min_price", "max_price")
        }
        return home | amounts | {"currency": currency}

    def changed(self, market: str, fields: Body) -> Listing:
        """The listing with some members set; members of an offer in one market only."""
        offer = self.offer(market) | {name: value for name, value in fields.items() if name in OFFER_FIELDS}
        shared = self.shared | {name: value for name, value in fields.items() if name not in OFFER_FIELDS}
        if "publication_state" not in fields and shared["publication_state"] in {0, 1}:
            sellable = shared["quantity"] > 0 and Decimal(offer["price"]) <= Decimal(offer["max_price"])
            shared["publication_state"] = int(sellable)
        return Listing(self.home, shared, self.offers | {market: offer})


class ListingStock(Stock[Listing]):
    """The listings of one seller.

    Args:
        home: the seller's own market.
        items: the catalogue; its first `count` items are listed.
        count: initial number of listings.
        rng: the source of everything else.
        base: offset that makes integer ids unique across sellers.
    """

    name = "listings"

    def __init__(self, home: str, items: Sequence[Item], count: int, rng: Random, base: int) -> None:
        super().__init__(rng)
        self.home = home
        self._base = base
        self._by_sku: dict[str, str] = {}
        self._by_number: dict[int, str] = {}
        self._next = len(items)
        for one in items[:count]:
            self.put(self._listing(one))

    def put(self, listing: Listing) -> None:
        """Add a listing, or replace the one with the same id."""
        self.rows.put([listing])
        self._by_sku[listing.shared["sku"].lower()] = listing.id
        self._by_number[listing.shared["listing_id"]] = listing.id

    def by_sku(self, sku: str) -> Listing | None:
        """The listing with this SKU, whatever its case."""
        return self.rows.get(self._by_sku.get(sku.lower()))

    def by_number(self, listing_id: int) -> Listing | None:
        """The listing with this integer id."""
        return self.rows.get(self._by_number.get(listing_id))

    def new_item(self) -> Item:
        """An offer that the catalogue does not have yet."""
        self._next += 1
        return item(self._next, self._base, self.rng)

    def create(self, sku: str, market: str, fields: Body) -> Listing:
        """A listing created by a bulk file; it waits for validation (publication state 2)."""
        new = self._listing(self.new_item()._replace(sku=sku))
        listing = new.changed(market, {"publication_state": 2} | fields)
        self.put(listing)
        return listing

    def shown(self) -> list[Listing]:
        """All listings, oldest first."""
        return self.rows.listed("shown", order=number_of)

    def add(self, now: datetime, where: Where) -> Listing:
        """A new listing; the list is ordered by ids, so it is always the newest."""
        listing = self._listing(self.new_item())
        self.put(listing)
        return listing

    def modify(self, row: Listing, now: datetime, fields: Body, *, silent: bool) -> None:
        """Sell one piece and cut the price by a cent, or set some members in the home market."""
        sold: Body = {
            "quantity": max(0, row.shared["quantity"] - 1),
            "price": f"{Decimal(row.offers[self.home]['price']) - Decimal('0.01'):.2f}",
        }
        self.put(row.changed(self.home, fields or sold))

    def remove(self, row: Listing) -> None:
        """Remove a listing."""
        super().remove(row)
        self._by_sku.pop(row.shared["sku"].lower(), None)
        self._by_number.pop(row.shared["listing_id"], None)

    def truth(self) -> Iterator[bytes]:
        """Every listing as its home market shows it, by integer id."""
        return (listing.body for listing in self.shown())

    def _listing(self, one: Item) -> Listing:
        chance = self.rng.random()
        quantity = 0 if chance < 0.1 else 1 + int(chance * 40)
        grade = ("PREMIUM", "EXCELLENT", "VERY_GOOD", "GOOD", "FAIR")[int(self.rng.random() * 5)]
        shared: Body = {
            "id": one.uuid,
            "listing_id": one.listing_id,
            "product_id": one.product_uuid,
            "backmarket_id": one.product_id,
            "title": one.title,
            "shippings": [_shipping(self.home)] if chance > 0.5 else [],
            "state": GRADES[grade],
            "grade": grade,
            "quantity": quantity,
            "sku": one.sku,
            "publication_state": 0 if quantity == 0 else 1 if chance < 0.85 else 2 + int(chance * 3000) % 3,
        }
        if chance > 0.3:
            shared["new_battery"] = chance > 0.9
        offer = {
            "price": money(one.cents),
            "currency": MARKETS[self.home].currency,
            "comment": f"Comme neuf, {one.title}" if chance < 0.6 else None if chance < 0.8 else "",
            "warranty_delay": 12 if chance < 0.7 else 24,
            "min_price": money(one.cents * 9 // 10) if chance < 0.4 else None,
            "max_price": money(one.cents * 3 // 2),
        }
        return Listing(self.home, shared, {self.home: offer})


def number_of(listing: Listing) -> int:
    """The integer id, which rises with age."""
    number: int = listing.shared["listing_id"]
    return number


def _shipping(market: str) -> Body:
    return {
        "country_code": market, "shipper": "Colissimo", "shipper_display": "Colissimo",
        "shipping_delay": 48, "shipping_price": "0.00",
    }  # fmt: skip
