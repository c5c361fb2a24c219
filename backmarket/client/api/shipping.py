"""Deliveries and returns of BackShip."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.types.pages import Page
from backmarket.client.types.shipping import Delivery, Return
from backmarket.client.types.values import ShipmentOrderState


class ShippingCalls(Calls):
    """The operations on deliveries and returns, for subscribers of BackShip."""

    def get_deliveries(
        self,
        *,
        order_id: int | None = None,
        order_state: ShipmentOrderState | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        pickup_start_date: datetime | None = None,
        pickup_end_date: datetime | None = None,
        hub_scanned: bool | None = None,
        page: int | None = None,
    ) -> Page[Delivery]:
        """A page of the deliveries.

        Args:
            order_id: of this order.
            order_state: of orders in this state.
            start_date: made then or later.
            end_date: made then or earlier.
            pickup_start_date: picked up then or later.
            pickup_end_date: picked up then or earlier.
            hub_scanned: whether the carrier has scanned the label.
            page: from 1.
        """
        return self._call(
            operations.GET_DELIVERIES,
            order_id=order_id,
            order_state=order_state,
            start_date=start_date,
            end_date=end_date,
            pickup_start_date=pickup_start_date,
            pickup_end_date=pickup_end_date,
            hub_scanned=hub_scanned,
            page=page,
        )

    def iter_deliveries(
        self,
        *,
        order_id: int | None = None,
        order_state: ShipmentOrderState | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        pickup_start_date: datetime | None = None,
        pickup_end_date: datetime | None = None,
        hub_scanned: bool | None = None,
    ) -> Iterator[Delivery]:
        """All such deliveries, fetched page by page; see `get_deliveries` and `walk`."""
        return self._walk(
            operations.GET_DELIVERIES,
            order_id=order_id,
            order_state=order_state,
            start_date=start_date,
            end_date=end_date,
            pickup_start_date=pickup_start_date,
            pickup_end_date=pickup_end_date,
            hub_scanned=hub_scanned,
        )

    def get_delivery_by_id(self, shipment_id: int) -> Delivery:
        """One delivery."""
        return self._call(operations.GET_DELIVERY_BY_ID, shipment_id=shipment_id)

    def get_returns(
        self,
        *,
        order_id: int | None = None,
        order_state: ShipmentOrderState | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        pickup_start_date: datetime | None = None,
        pickup_end_date: datetime | None = None,
        hub_scanned: bool | None = None,
        page: int | None = None,
    ) -> Page[Return]:
        """A page of the returns.

        Args:
            order_id: of this order.
            order_state: of orders in this state.
            start_date: made then or later.
            end_date: made then or earlier.
            pickup_start_date: picked up then or later.
            pickup_end_date: picked up then or earlier.
            hub_scanned: whether the carrier has scanned the label.
            page: from 1.
        """
        return self._call(
            operations.GET_RETURNS,
            order_id=order_id,
            order_state=order_state,
            start_date=start_date,
            end_date=end_date,
            pickup_start_date=pickup_start_date,
            pickup_end_date=pickup_end_date,
            hub_scanned=hub_scanned,
            page=page,
        )

    def iter_returns(
        self,
        *,
        order_id: int | None = None,
        order_state: ShipmentOrderState | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        pickup_start_date: datetime | None = None,
        pickup_end_date: datetime | None = None,
        hub_scanned: bool | None = None,
    ) -> Iterator[Return]:
        """All such returns, fetched page by page; see `get_returns` and `walk`."""
        return self._walk(
            operations.GET_RETURNS,
            order_id=order_id,
            order_state=order_state,
            start_date=start_date,
            end_date=end_date,
            pickup_start_date=pickup_start_date,
            pickup_end_date=pickup_end_date,
            hub_scanned=hub_scanned,
        )

    def get_return_by_id(self, shipment_id: int) -> Return:
        """One return."""
        return self._call(operations.GET_RETURN_BY_ID, shipment_id=shipment_id)
