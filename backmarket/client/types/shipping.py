"""Deliveries and returns, as the API writes them."""

from __future__ import annotations

from typing import TypedDict


class PickupInfo(TypedDict, total=False):
    """When a carrier comes for a delivery."""

    confirmationNumber: str
    datePickupActual: str
    datePickupRangeEnd: str
    datePickupRangeStart: str
    datePickupRequested: str
    isCanceled: bool
    pickupId: int


class Delivery(TypedDict, total=False):
    """A parcel to a customer."""

    carrierId: int
    carrierName: str
    dateCreation: str
    dateDelivery: str
    datePickup: str
    hubScanned: bool
    invoicedCurrency: str
    invoicedPrice: int
    labelUrl: str
    order: int
    orderlines: list[int]
    pickupInfo: PickupInfo
    referenceNumber: str
    shipmentId: int
    trackingNumber: str
    trackingUrl: str
    type: str


class Return(TypedDict, total=False):
    """A parcel from a customer."""

    carrierId: int
    carrierName: str
    dateCreation: str
    dateDelivery: str
    datePickup: str
    hubScanned: bool
    invoicedCurrency: str
    invoicedPrice: int
    label: str
    orderId: int
    orderlineId: int
    referenceNumber: str
    shipmentId: int
    trackingNumber: str
    trackingUrl: str
    type: str
