"""Orders and their lines, as the API writes them."""

from __future__ import annotations

from typing import TypedDict


class Address(TypedDict, total=False):
    """The delivery or billing address of an order."""

    city: str
    company: str
    country: str
    firstName: str
    id: int
    lastName: str
    phoneNumber: str
    postalCode: str
    state: str
    street: str
    street2: str


class OrderLine(TypedDict, total=False):
    """A line of an order."""

    backcare: bool
    backcare_price: int
    brand: str
    condition: int
    currency: str
    date_creation: str
    id: int
    imei: str
    listing: str
    listing_id: int
    orderline_fee: str
    price: str
    product: str
    product_id: int
    quantity: int
    return_message: str
    return_reason: int
    sales_taxes: str
    serial_number: str
    shipping_delay: int
    shipping_price: str
    state: int


class Order(TypedDict, total=False):
    """An order with its lines."""

    billing_address: Address
    country_code: str
    currency: str
    date_creation: str
    date_modification: str
    date_payment: str
    date_shipping: str
    delivery_note: str
    expected_dispatch_date: str
    installment_payment: bool
    is_backship: bool
    order_id: int
    orderlines: list[OrderLine]
    payment_method: str
    paypal_reference: str | None
    price: str
    sales_taxes: str
    shipper_display: str
    shipping_address: Address
    shipping_price: str
    state: int
    tracking_number: str
    tracking_url: str


class Identifiers(TypedDict, total=False):
    """IMEI and serial number registered for an order line."""

    imei: str
    serial_number: str
