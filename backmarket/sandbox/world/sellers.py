"""The seller accounts of the sandbox, and their specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from backmarket.sandbox.settings import Assumptions
from backmarket.sandbox.times import Pen
from backmarket.sandbox.world import catalog
from backmarket.sandbox.world.bulk_tasks import SkuLedger, TaskList
from backmarket.sandbox.world.listing_stock import ListingStock
from backmarket.sandbox.world.order_stock import OrderFactory, OrderStock
from backmarket.sandbox.world.seeded_random import seeded_random
from backmarket.sandbox.world.shipment_stock import Kind, ShipmentStock
from backmarket.sandbox.world.stock import Ids, Stock


class SellerSpec(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The specification of a seller account.

    Attributes:
        name: the seller's name everywhere but in the API itself.
        token: the seller's token, sent after `Authorization: Basic `.
        orders: number of orders that the list shows.
        hidden: number of additional orders in states 0 and 8, found by id only.
        listings: number of listings.
        deliveries: number of BackShip deliveries.
        returns: number of BackShip returns.
        backship: false: deliveries and returns answer 403, as for an account without a subscription.
        market: the country code of most customers, and the market of the prices in the truth.
        markets: further markets in which listings have prices and states of their own.
        created_between: range of the orders' creation; by default, half a year before the world's start.
    """

    name: str
    token: str
    orders: int = 300
    hidden: int = 0
    listings: int = 40
    deliveries: int = 20
    returns: int = 5
    backship: bool = True
    market: str = "fr-fr"
    markets: list[str] = []
    created_between: tuple[datetime, datetime] | None = None


class Numbering:
    """The ids of one world: unique across its sellers, as the API's are."""

    def __init__(self, seed: int) -> None:
        self.orders = Ids(1_000_000, seeded_random(seed, "order ids"), gap=7)
        self.lines = Ids(2_000_000, seeded_random(seed, "line ids"), gap=3)
        self.shipments = Ids(3_000_000, seeded_random(seed, "shipment ids"), gap=5)
        self.tasks = Ids(1_011_000, seeded_random(seed, "task ids"), gap=9)
        self._catalogues = 0

    def catalogue(self) -> int:
        """The first integer id of a seller's listings."""
        self._catalogues += 1
        return self._catalogues * 1_000_000


class Seller:
    """One account: its credentials and data.

    Args:
        spec: the numbers of rows.
        seed: determines the data, together with the seller's name.
        between: range of the orders' creations and changes.
        numbering: the source of ids.
        assumed: the assumptions that the data follow.
    """

    def __init__(
        self,
        spec: SellerSpec,
        seed: int,
        between: tuple[datetime, datetime],
        numbering: Numbering,
        assumed: Assumptions,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.token = spec.token
        self.revoked = False
        self.backship = spec.backship
        base, rng = numbering.catalogue(), seeded_random(seed, spec.name, "catalogue")
        items = [catalog.item(index, base, rng) for index in range(max(spec.listings, 20))]
        order_rng = seeded_random(seed, spec.name, "orders")
        factory = OrderFactory(order_rng, items, spec.market, assumed=assumed, line_ids=numbering.lines)
        self.orders = OrderStock(factory, numbering.orders, order_rng)
        self.orders.fill(spec.orders, spec.hidden, *between)
        self.listings = ListingStock(
            spec.market,
            items,
            spec.listings,
            seeded_random(seed, spec.name, "listings"),
            base,
            spec.markets,
            seeded_random(seed, spec.name, "markets"),
        )
        self.deliveries = self._shipments("deliveries", seed, numbering, between[1], assumed.naive_zone)
        self.returns = self._shipments("returns", seed, numbering, between[1], assumed.naive_zone)
        self.stocks: dict[str, Stock[Any]] = {
            stock.name: stock for stock in (self.orders, self.listings, self.deliveries, self.returns)
        }
        self.invoices: list[dict[str, Any]] = []
        self.writes: list[dict[str, Any]] = []
        self.tasks = TaskList(numbering.tasks)
        self.sku_ledger = SkuLedger()

    def _shipments(self, kind: Kind, seed: int, numbering: Numbering, latest: datetime, zone: tzinfo) -> ShipmentStock:
        rng = seeded_random(seed, self.name, kind)
        stock = ShipmentStock(kind, numbering.shipments, rng, Pen(rng, zone), self.orders.shown)
        stock.fill(getattr(self.spec, kind), latest)
        return stock

    def shipments(self, kind: Kind) -> ShipmentStock:
        """The deliveries or the returns."""
        return self.deliveries if kind == "deliveries" else self.returns

    def applied(self, operation: str, object_id: object, fields: Mapping[str, Any]) -> None:
        """Record a write that took place, so that a write that took place twice is noticed.

        Args:
            operation: the operation, such as `orders.update`.
            object_id: the changed object.
            fields: the fields sent.
        """
        self.writes.append({"operation": operation, "object": str(object_id), "fields": fields})

    def truth(self, resource: str, now: datetime, market: str = "") -> Iterator[bytes]:
        """Every row of a resource as a faultless client would have it, or the writes that the API does not show.

        Args:
            resource: orders, listings, deliveries, returns, invoices, or writes.
            now: tasks that are due by this time are run first.
            market: in which listings are shown; empty: the home market.

        Raises:
            KeyError: if there is no such resource.
        """
        self.tasks.finish_due(now)
        if resource == "invoices":
            return (msgspec.json.encode(invoice) for invoice in self.invoices)
        if resource == "writes":
            return (msgspec.json.encode(write) for write in self.writes)
        return self.stocks[resource].truth(market)
