"""Queries of the stored rows: PostgreSQL only, no API requests."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from backmarket import audit, connections
from backmarket.facade.part import FacadePart
from backmarket.queries import find, listings
from backmarket.queries.find import Found
from backmarket.queries.listings import Listing, ListingFilter
from backmarket.queries.orders import STORED_ORDERLINES, STORED_ORDERS, Order, OrderFilter, OrderLine, OrderLineFilter
from backmarket.queries.pagination import Page, check_limit, every
from backmarket.queries.shipments import (
    STORED_DELIVERIES,
    STORED_RETURNS,
    Delivery,
    DeliveryFilter,
    Return,
    ReturnFilter,
    ShipmentStage,
    stage_of,
)


class StoredRows(FacadePart):
    """The methods of `BackMarket` that read the tables."""

    def find(self, text: str, *, organization_id: str | None = None, limit: int = 20) -> Found:
        """Find orders, listings, deliveries and returns by what people have at hand.

        That is an order number, a SKU, an IMEI or serial number, a tracking number, each as a whole, or the beginning
        of the customer's last name, in which `dup`, `dupont marie` and `marie dup` find Marie Dupont. Case is ignored,
        and so are accents in names and spaces and dashes in numbers. An order whose personal data was erased is not
        found by it. The audit trail records that a search was made and how many rows it found, not the text.

        Args:
            text: up to 200 characters.
            organization_id: only of this organization; None: of all.
            limit: of each kind, 1 to 100.

        Raises:
            InvalidArgument: if an argument is invalid.
            DatabaseUnavailable: if the search takes longer than 5 s.
        """
        with self._attempt("rows.find", organization_id), self._services.database.transaction() as transaction:
            found = find.find(transaction, text, organization_id, limit)
            audit.record(transaction, audit.Act("rows.find", organization_id, details=found.counts))
        return found

    def get_orders(
        self,
        organization_id: str,
        *,
        state: int | None = None,
        country_code: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        modified_after: datetime | None = None,
        sku: str | None = None,
        tracking_number: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Order]:
        """Stored orders, newest first; see `OrderFilter` and `Stored.page`.

        Raises:
            InvalidArgument: if the limit or the cursor is invalid.
        """
        where = OrderFilter(state, country_code, created_after, created_before, modified_after, sku, tracking_number)
        return STORED_ORDERS.page(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_orders = every(get_orders)

    def get_order_by_id(self, organization_id: str, order_id: int) -> Order | None:
        """One stored order; None: it is not stored."""
        return STORED_ORDERS.get(self._services.database, organization_id, order_id)

    def get_orderlines(
        self,
        organization_id: str,
        *,
        order_id: int | None = None,
        state: int | None = None,
        sku: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OrderLine]:
        """Stored order lines, highest id first: of one order, in one state, of one listing, or all.

        Raises:
            InvalidArgument: if the limit or the cursor is invalid.
        """
        where = OrderLineFilter(order_id, state, sku)
        return STORED_ORDERLINES.page(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_orderlines = every(get_orderlines)

    def get_orderlines_by_listing(
        self, organization_id: str, sku: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[OrderLine]:
        """Stored order lines of one listing, by its SKU, ignoring case."""
        return self.get_orderlines(organization_id, sku=sku, limit=limit, cursor=cursor)

    def get_orderlines_by_state(
        self, organization_id: str, state: int, *, limit: int = 50, cursor: str | None = None
    ) -> Page[OrderLine]:
        """Stored order lines in one state."""
        return self.get_orderlines(organization_id, state=state, limit=limit, cursor=cursor)

    def get_orderline_by_id(self, organization_id: str, orderline_id: int) -> OrderLine | None:
        """One stored order line; None: it is not stored."""
        return STORED_ORDERLINES.get(self._services.database, organization_id, orderline_id)

    def get_listings(
        self,
        organization_id: str,
        *,
        publication_state: int | None = None,
        min_quantity: int | None = None,
        max_quantity: int | None = None,
        search: str | None = None,
        market: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Listing]:
        """Stored listings in one market of the connection, by id; see `ListingFilter`. Removed ones are left out.

        Args:
            publication_state: known or not.
            min_quantity: minimum number on sale.
            max_quantity: maximum number on sale.
            search: a part of the SKU or title.
            market: such as `de-de`; None: that of the connection's locale.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if the limit or the cursor is invalid, or the connection has no such market.
            ConnectionNotFound: if a market is named, and there is no such connection.
        """
        of = self._market(organization_id, market) or None
        where = ListingFilter(publication_state, min_quantity, max_quantity, search, of)
        return listings.get_listings(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_listings = every(get_listings)

    def get_listing_by_id(
        self, organization_id: str, listing_id: UUID | str | int, *, market: str | None = None
    ) -> Listing | None:
        """One stored listing, by its UUID or its older integer id; None: it is not stored.

        A removed listing is still found, with `removed_at`.

        Args:
            listing_id: of the listing.
            market: of the connection; None: that of its locale.

        Raises:
            InvalidArgument: if the id is neither, or the connection has no such market.
        """
        of = self._market(organization_id, market)
        return listings.get_listing(self._services.database, organization_id, listing_id, of)

    def get_listing_by_sku(self, organization_id: str, sku: str, *, market: str | None = None) -> Listing | None:
        """One stored listing, by its SKU, ignoring case; None: it is not stored.

        A removed listing is still found, with `removed_at`, unless its SKU is used again.

        Args:
            sku: the seller's own name of the listing.
            market: of the connection; None: that of its locale.

        Raises:
            InvalidArgument: if the connection has no such market.
        """
        of = self._market(organization_id, market)
        return listings.get_listing_by_sku(self._services.database, organization_id, sku, of)

    def get_listing_markets(self, organization_id: str, listing_ids: Collection[UUID]) -> list[Listing]:
        """Some stored listings as each further market of the connection shows them, by id and market.

        Args:
            listing_ids: the UUIDs of up to 1000 listings.

        Raises:
            InvalidArgument: if there are too many of them.
        """
        check_limit(max(1, len(listing_ids)))
        return listings.get_listing_markets(self._services.database, organization_id, listing_ids)

    def _market(self, organization_id: str, market: str | None) -> str:
        """A market of the connection as rows name it."""
        return connections.get(self._services.database, organization_id).market_of(market) if market else ""

    def get_deliveries(
        self,
        organization_id: str,
        *,
        order_id: int | None = None,
        hub_scanned: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        tracking_number: str | None = None,
        stage: ShipmentStage | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """Stored deliveries, newest first; see `DeliveryFilter`.

        Raises:
            InvalidArgument: if the limit, the cursor or the stage is invalid.
        """
        where = DeliveryFilter(order_id, hub_scanned, created_after, created_before, tracking_number, stage_of(stage))
        return STORED_DELIVERIES.page(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_deliveries = every(get_deliveries)

    def get_delivery_by_id(self, organization_id: str, shipment_id: int) -> Delivery | None:
        """One stored delivery; None: it is not stored."""
        return STORED_DELIVERIES.get(self._services.database, organization_id, shipment_id)

    def get_deliveries_by_order_id(
        self, organization_id: str, order_id: int, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Delivery]:
        """Stored deliveries of one order, newest first."""
        return self.get_deliveries(organization_id, order_id=order_id, limit=limit, cursor=cursor)

    def get_returns(
        self,
        organization_id: str,
        *,
        order_id: int | None = None,
        orderline_id: int | None = None,
        hub_scanned: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        tracking_number: str | None = None,
        stage: ShipmentStage | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Return]:
        """Stored returns, newest first; see `ReturnFilter`.

        Raises:
            InvalidArgument: if the limit, the cursor or the stage is invalid.
        """
        where = ReturnFilter(
            order_id, orderline_id, hub_scanned, created_after, created_before, tracking_number, stage_of(stage)
        )
        return STORED_RETURNS.page(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_returns = every(get_returns)

    def get_return_by_id(self, organization_id: str, shipment_id: int) -> Return | None:
        """One stored return; None: it is not stored."""
        return STORED_RETURNS.get(self._services.database, organization_id, shipment_id)

    def get_returns_by_order_id(
        self, organization_id: str, order_id: int, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Return]:
        """Stored returns of one order, newest first."""
        return self.get_returns(organization_id, order_id=order_id, limit=limit, cursor=cursor)

    def get_returns_by_orderline_id(
        self, organization_id: str, orderline_id: int, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Return]:
        """Stored returns of one order line, newest first."""
        return self.get_returns(organization_id, orderline_id=orderline_id, limit=limit, cursor=cursor)
