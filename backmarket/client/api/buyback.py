"""Devices bought back from customers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.arguments import Amount, Attachment, NamedContent
from backmarket.client.pagination import walk_by_cursor
from backmarket.client.types.buyback import (
    BuybackCompetitor,
    BuybackListing,
    BuybackListings,
    BuybackMessage,
    BuybackOrder,
    BuybackReason,
    CounterOfferReasons,
)
from backmarket.client.types.pages import Page
from backmarket.client.types.values import BuybackState


class BuybackCalls(Calls):
    """The operations on buyback orders and listings."""

    def get_buyback_orders(
        self,
        *,
        status: BuybackState | None = None,
        product_id: int | None = None,
        creation_date: datetime | None = None,
        modification_date: datetime | None = None,
        shipping_date: datetime | None = None,
        received_date: datetime | None = None,
        suspended_date: datetime | None = None,
        payment_date: datetime | None = None,
        page: int | None = None,
    ) -> Page[BuybackOrder]:
        """A page of the buyback orders.

        Args:
            status: in this state.
            product_id: of this product.
            creation_date: made then or later.
            modification_date: changed then or later.
            shipping_date: sent then or later.
            received_date: received then or later.
            suspended_date: suspended then or later.
            payment_date: paid then or later.
            page: from 1.
        """
        return self._call(
            operations.GET_BUYBACK_ORDERS,
            status=status,
            product_id=product_id,
            creation_date=creation_date,
            modification_date=modification_date,
            shipping_date=shipping_date,
            received_date=received_date,
            suspended_date=suspended_date,
            payment_date=payment_date,
            page=page,
        )

    def iter_buyback_orders(
        self,
        *,
        status: BuybackState | None = None,
        product_id: int | None = None,
        creation_date: datetime | None = None,
        modification_date: datetime | None = None,
        shipping_date: datetime | None = None,
        received_date: datetime | None = None,
        suspended_date: datetime | None = None,
        payment_date: datetime | None = None,
    ) -> Iterator[BuybackOrder]:
        """All such buyback orders, fetched page by page; see `get_buyback_orders` and `walk`."""
        return self._walk(
            operations.GET_BUYBACK_ORDERS,
            status=status,
            product_id=product_id,
            creation_date=creation_date,
            modification_date=modification_date,
            shipping_date=shipping_date,
            received_date=received_date,
            suspended_date=suspended_date,
            payment_date=payment_date,
        )

    def get_buyback_orders_pending_reply(self, *, page: int | None = None) -> Page[BuybackOrder]:
        """A page of the buyback orders that wait for the seller's reply."""
        return self._call(operations.GET_BUYBACK_ORDERS_PENDING_REPLY, page=page)

    def iter_buyback_orders_pending_reply(self) -> Iterator[BuybackOrder]:
        """All buyback orders that wait for the seller's reply, fetched page by page; see `walk`."""
        return self._walk(operations.GET_BUYBACK_ORDERS_PENDING_REPLY)

    def get_buyback_suspend_reasons(self) -> list[BuybackReason]:
        """The reasons for which a buyback order can be suspended."""
        return self._call(operations.GET_BUYBACK_SUSPEND_REASONS)

    def get_buyback_order(self, buyback_order_id: str) -> BuybackOrder:
        """One buyback order."""
        return self._call(operations.GET_BUYBACK_ORDER, buyback_order_id=buyback_order_id)

    def get_buyback_order_messages(self, buyback_order_id: str, *, page: int | None = None) -> Page[BuybackMessage]:
        """A page of the messages about a buyback order."""
        return self._call(operations.GET_BUYBACK_ORDER_MESSAGES, buyback_order_id=buyback_order_id, page=page)

    def iter_buyback_order_messages(self, buyback_order_id: str) -> Iterator[BuybackMessage]:
        """All messages about a buyback order, fetched page by page; see `walk`. Equal ones count as one."""
        return self._walk(operations.GET_BUYBACK_ORDER_MESSAGES, buyback_order_id=buyback_order_id)

    def post_buyback_order_message(
        self, buyback_order_id: str, message: str, files: Sequence[NamedContent] = ()
    ) -> BuybackMessage:
        """Write to the customer of a buyback order.

        Args:
            buyback_order_id: which.
            message: the text.
            files: photos, each with its name and its content as text.
        """
        return self._call(
            operations.POST_BUYBACK_ORDER_MESSAGE, buyback_order_id=buyback_order_id, message=message, files=files
        )

    def suspend_buyback_order(self, buyback_order_id: str, reasons: Sequence[str]) -> BuybackOrder:
        """Suspend a buyback order.

        Args:
            buyback_order_id: which.
            reasons: identifiers from `get_buyback_suspend_reasons`.
        """
        return self._call(operations.SUSPEND_BUYBACK_ORDER, buyback_order_id=buyback_order_id, reasons=reasons)

    def validate_buyback_order(self, buyback_order_id: str) -> BuybackOrder:
        """Accept a buyback order as received."""
        return self._call(operations.VALIDATE_BUYBACK_ORDER, buyback_order_id=buyback_order_id)

    def get_buyback_counter_offer_reasons(self, buyback_order_id: str) -> list[CounterOfferReasons]:
        """The reasons for which less can be offered for a buyback order."""
        return self._call(operations.GET_BUYBACK_COUNTER_OFFER_REASONS, buyback_order_id=buyback_order_id)

    def make_buyback_counter_offer(
        self,
        buyback_order_id: str,
        *,
        price: Decimal | str | int,
        reasons: Sequence[str],
        files: Sequence[Attachment],
        comment: str | None = None,
    ) -> None:
        """Offer less for a buyback order.

        Args:
            buyback_order_id: which.
            price: the offer.
            reasons: ids from `get_buyback_counter_offer_reasons`.
            files: photos, at least one.
            comment: at most 200 characters.
        """
        return self._call(
            operations.MAKE_BUYBACK_COUNTER_OFFER,
            buyback_order_id=buyback_order_id,
            price=price,
            reasons=reasons,
            files=files,
            comment=comment,
        )

    def get_buyback_listings(
        self,
        *,
        product_id: UUID | str | None = None,
        cursor: UUID | str | None = None,
        page_size: int | None = None,
    ) -> BuybackListings:
        """Some buyback listings.

        Args:
            product_id: of this product.
            cursor: the parameter `cursor` in the address `next` of the answer before.
            page_size: at most 100.
        """
        return self._call(operations.GET_BUYBACK_LISTINGS, product_id=product_id, cursor=cursor, page_size=page_size)

    def iter_buyback_listings(self, *, product_id: UUID | str | None = None) -> Iterator[BuybackListing]:
        """All buyback listings, or those of a product, fetched page by page; see `walk_by_cursor`."""
        arguments = {"product_id": product_id, "page_size": 100}
        operations.GET_BUYBACK_LISTINGS.request(arguments)  # refused here, and not at the first row
        return walk_by_cursor(self._caller, operations.GET_BUYBACK_LISTINGS, arguments)

    def get_buyback_listing(self, buyback_listing_id: UUID | str) -> BuybackListing:
        """One buyback listing."""
        return self._call(operations.GET_BUYBACK_LISTING, buyback_listing_id=buyback_listing_id)

    def update_buyback_listing(self, buyback_listing_id: UUID | str, prices: Mapping[str, Amount]) -> None:
        """Change the buying prices; the API applies them a moment later.

        Args:
            buyback_listing_id: which.
            prices: by market, such as `{"FR": {"amount": "12.50", "currency": "EUR"}}`; 0 takes it offline.
        """
        return self._call(operations.UPDATE_BUYBACK_LISTING, buyback_listing_id=buyback_listing_id, prices=prices)

    def get_buyback_competitors(self, listing_id: UUID | str) -> list[BuybackCompetitor]:
        """How a buyback listing compares with others, market by market."""
        return self._call(operations.GET_BUYBACK_COMPETITORS, listing_id=listing_id)
