"""Orders and order lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.arguments import Attachment
from backmarket.client.types.orders import Identifiers, Order
from backmarket.client.types.pages import Page
from backmarket.client.types.values import (
    CountryCode,
    OrderLineStateValue,
    OrderStateValue,
    ReturnReasonValue,
    VatType,
)
from backmarket.errors import InvalidArgument

if TYPE_CHECKING:
    from backmarket.queries.orders import OrderLineState, OrderState

_UPDATE_ORDER_WITHOUT_ID = replace(
    operations.UPDATE_ORDER,
    fields=tuple(each for each in operations.UPDATE_ORDER.fields if (each.place, each.name) != ("body", "id")),
)


class OrderCalls(Calls):
    """The operations on orders and their lines."""

    def get_orders(
        self,
        *,
        state: OrderStateValue | OrderState | None = None,
        country_code: CountryCode | None = None,
        date_creation: datetime | None = None,
        date_modification: datetime | None = None,
        page: int | None = None,
        page_size: int | None = None,
    ) -> Page[Order]:
        """A page of the orders.

        Args:
            state: in this state.
            country_code: made in this market.
            date_creation: made then or later.
            date_modification: changed then or later.
            page: from 1.
            page_size: at most 50; the API's default is 10.
        """
        return self._call(
            operations.GET_ORDERS,
            state=state,
            country_code=country_code,
            date_creation=date_creation,
            date_modification=date_modification,
            page=page,
            page_size=page_size,
        )

    def iter_orders(
        self,
        *,
        state: OrderStateValue | OrderState | None = None,
        country_code: CountryCode | None = None,
        date_creation: datetime | None = None,
        date_modification: datetime | None = None,
    ) -> Iterator[Order]:
        """All such orders, fetched page by page; see `get_orders` and `walk`."""
        return self._walk(
            operations.GET_ORDERS,
            state=state,
            country_code=country_code,
            date_creation=date_creation,
            date_modification=date_modification,
            page_size=50,
        )

    def get_order_by_id(self, order_id: int) -> Order:
        """One order."""
        return self._call(operations.GET_ORDER_BY_ID, order_id=order_id)

    def update_order(
        self,
        order_id: int,
        *,
        new_state: OrderLineStateValue | OrderLineState,
        sku: str | None = None,
        imei: str | None = None,
        serial_number: str | None = None,
        tracking_number: str | None = None,
        tracking_url: str | None = None,
        shipper: str | None = None,
        date_shipping: datetime | None = None,
        vat_type: VatType | None = None,
        return_reason: ReturnReasonValue | None = None,
        return_message: str | None = None,
    ) -> Order:
        """Move a line of an order, or with state 3 all accepted ones, to its next state.

        Args:
            new_state: the next state.
            sku: of the line; the API asks for it with every state but 3, of an order with one line, too.
            imei: of the device, with state 3; it can never be corrected.
            serial_number: the same.
            tracking_number: of the parcel; required with state 3.
            tracking_url: of the parcel, with state 3.
            shipper: the carrier, with state 3.
            date_shipping: when it was shipped, with state 3.
            vat_type: how VAT is calculated.
            return_reason: why it is cancelled or refunded.
            return_message: for the customer, about the reason.
        """
        if new_state == 3 and not tracking_number:
            raise InvalidArgument("update_order needs the argument tracking_number where new_state is 3.")
        return self._call(
            operations.UPDATE_ORDER if self._caller.order_update_sends_id else _UPDATE_ORDER_WITHOUT_ID,
            order_id=order_id,
            new_state=new_state,
            sku=sku,
            imei=imei,
            serial_number=serial_number,
            tracking_number=tracking_number,
            tracking_url=tracking_url,
            shipper=shipper,
            date_shipping=date_shipping,
            vat_type=vat_type,
            return_reason=return_reason,
            return_message=return_message,
        )

    def upload_order_invoice(self, order_id: int, invoice: Attachment) -> None:
        """Upload an order's invoice. The API offers no way to read it back.

        Args:
            invoice: such as `Attachment.read("invoice.pdf")`.
        """
        return self._call(operations.UPLOAD_ORDER_INVOICE, order_id=order_id, invoice=invoice)

    def update_orderline(
        self, orderline_id: int, *, imei: str | None = None, serial_number: str | None = None
    ) -> Identifiers:
        """Register the IMEI or serial number of an order line, or both, once and for all.

        Args:
            orderline_id: which.
            imei: it can never be corrected.
            serial_number: the same.
        """
        return self._call(
            operations.UPDATE_ORDERLINE, orderline_id=orderline_id, imei=imei, serial_number=serial_number
        )
