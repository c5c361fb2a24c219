"""Devices bought back from customers, as the API writes them."""

from __future__ import annotations

from typing import TypedDict

from backmarket.client.types.pages import MonetaryAmount


class BuybackReason(TypedDict, total=False):
    """Why something was suspended or offered for less."""

    category: str
    identifier: str
    message: str


class BuybackPrice(TypedDict, total=False):
    """A price."""

    currency: str
    value: float


class BuybackProduct(TypedDict, total=False):
    """The product that a customer sells."""

    grade: str
    productId: float
    sku: str
    title: str


class BuybackDocument(TypedDict, total=False):
    """A document of a customer's."""

    type: str
    url: str


class BuybackCustomer(TypedDict, total=False):
    """The customer who sells."""

    dateOfBirth: str
    documents: list[BuybackDocument]
    firstName: str
    lastName: str
    phone: str


class BuybackAddress(TypedDict, total=False):
    """The address for sending a device back."""

    address1: str
    address2: str
    city: str
    country: str
    zipcode: str


class BuybackOrder(TypedDict, total=False):
    """A device that a customer sells."""

    counterOfferPrice: BuybackPrice
    counterOfferReasons: list[BuybackReason]
    counterProposalDate: str
    creationDate: str
    customer: BuybackCustomer
    listing: BuybackProduct
    market: str
    modificationDate: str
    orderPublicId: str
    originalPrice: BuybackPrice
    paymentDate: str
    receivalDate: str
    returnAddress: BuybackAddress
    shipper: str
    shippingDate: str
    status: str
    suspendReasons: list[BuybackReason]
    suspensionDate: str
    trackingNumber: str
    transferCertificateLink: str


class BuybackMessage(TypedDict, total=False):
    """A message about a buyback order."""

    attachments: list[str]
    author: str
    body: str
    date: str


class CounterOfferReason(TypedDict, total=False):
    """A reason for a counter-offer."""

    id: str
    label: str


class CounterOfferReasons(TypedDict, total=False):
    """The reasons of one sort."""

    id: str
    label: str
    reasons: list[CounterOfferReason]


class BuybackListing(TypedDict, total=False):
    """Buying prices of a product, by market."""

    aestheticGradeCode: str
    id: str
    markets: list[str]
    prices: dict[str, MonetaryAmount]
    productId: str
    sku: str | None


class BuybackListings(TypedDict, total=False):
    """Some buyback listings."""

    next: str | None
    results: list[BuybackListing]


class BuybackCompetitor(TypedDict, total=False):
    """How a buyback listing compares with others, in one market."""

    is_winning: bool
    listing_id: str
    market: str
    price: MonetaryAmount
    price_to_win: MonetaryAmount
    product_id: str
    winner_price: MonetaryAmount | None
