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

OFFER_FIELDS: Final = frozenset({
    "price", "currency", "comment", "warranty_delay", "min_price", "max_price", "publication_state",
})  # fmt: skip
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
        self._rendered: dict[tuple[str, str | None], bytes] = {}

    @property
    def body(self) -> bytes:
        """JSON as the seller's own market shows it."""
        return self.rendered(self.home)

    def rendered(self, market: str, state_in: str | None = None) -> bytes:
        """JSON as one market shows it; see `seen_from`."""
        kept = self._rendered.get((market, state_in))
        if kept is None:
            kept = self._rendered[market, state_in] = msgspec.json.encode(self.seen_from(market, state_in))
        return kept

    def seen_from(self, market: str, state_in: str | None = None) -> Body:
        """All members as one market shows them.

        Args:
            market: the market.
            state_in: the market whose publication state is shown; None: the same.
        """
        return self.shared | self.offer(market) | {"publication_state": self.state(state_in or market)}

    def state(self, market: str) -> int:
        """The publication state in one market: what would be online is not while it cannot be sold there."""
        offer = self.offer(market)
        wanted: int = offer["publication_state"]
        sellable = self.shared["quantity"] > 0 and Decimal(offer["price"]) <= Decimal(offer["max_price"])
        return 0 if wanted == 1 and not sellable else wanted

    def is_offered(self, market: str) -> bool:
        """Whether a market has an offer of its own."""
        return market in self.offers

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
        return Listing(self.home, shared, self.offers | {market: offer})

    def withdrawn(self, market: str) -> Listing:
        """The listing without the offer of its own that a market has."""
        return Listing(self.home, self.shared, {name: offer for name, offer in self.offers.items() if name != market})


class ListingStock(Stock[Listing]):
    """The listings of one seller.

    Args:
        home: the seller's own market.
        items: the catalogue; its first `count` items are listed.
        count: initial number of listings.
        rng: the source of everything else.
        base: offset that makes integer ids unique across sellers.
        markets: further markets in which each listing has an offer of its own.
        market_rng: the source of those offers.
    """

    name = "listings"

    def __init__(
        self,
        home: str,
        items: Sequence[Item],
        count: int,
        rng: Random,
        base: int,
        markets: Sequence[str] = (),
        market_rng: Random | None = None,
    ) -> None:
        super().__init__(rng)
        self.home = home
        self._markets = markets
        self._market_rng = market_rng or rng
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
        for each in new.offers:
            new = new.changed(each, {"publication_state": 2})
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

    def modify(self, row: Listing, now: datetime, fields: Body, *, silent: bool, market: str = "") -> None:
        """Sell one piece and cut the price by a cent, or set some members, in one market (empty: the home market)."""
        market = market or self.home
        sold: Body = {
            "quantity": max(0, row.shared["quantity"] - 1),
            "price": f"{Decimal(row.offer(market)['price']) - Decimal('0.01'):.2f}",
        }
        self.put(row.changed(market, fields or sold))

    def remove(self, row: Listing, market: str = "") -> None:
        """Remove a listing; or its offer in one market, which then lists it no more, where markets list only offers."""
        if market:
            self.put(row.withdrawn(market))
            return
        super().remove(row)
        self._by_sku.pop(row.shared["sku"].lower(), None)
        self._by_number.pop(row.shared["listing_id"], None)

    def truth(self, market: str = "") -> Iterator[bytes]:
        """Every listing as one market shows it (empty: the home market), by integer id."""
        return (listing.rendered(market or self.home) for listing in self.shown())

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
            "publication_state": 1 if quantity == 0 or chance < 0.85 else 2 + int(chance * 3000) % 3,
        }
        listing = Listing(self.home, shared, {self.home: offer})
        for market in self._markets:
            listing = listing.changed(market, self._offer_in(listing.offer(market)))
        return listing

    def _offer_in(self, converted: Body) -> Body:
        """What a further market has of its own: other prices and states, converted ones to begin with."""
        chance = self._market_rng.random()
        price = Decimal(converted["price"]) * Decimal(f"{0.9 + chance / 5:.3f}")
        return {
            "price": f"{price:.2f}",
            "min_price": f"{price * Decimal('0.9'):.2f}" if chance > 0.5 else None,
            "publication_state": 1 if chance < 0.8 else 0 if chance < 0.9 else 3,
        }


def number_of(listing: Listing) -> int:
    """The integer id, which rises with age."""
    number: int = listing.shared["listing_id"]
    return number


def _shipping(market: str) -> Body:
    return {
        "country_code": market, "shipper": "Colissimo", "shipper_display": "Colissimo",
        "shipping_delay": 48, "shipping_price": "0.00",
    }  # fmt: skip
