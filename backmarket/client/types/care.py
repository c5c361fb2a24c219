"""After-sales folders, as the API writes them."""

from __future__ import annotations

from typing import Any, TypedDict


class CareFolder(TypedDict, total=False):
    """An after-sales folder, as the list shows it."""

    backcare: bool
    client: int
    country_code: str
    date_closed: str
    date_creation: str
    date_last_message: str
    date_modification: str
    id: int
    lines: list[int]
    merchant: int
    orderline: int
    state: int


class CareClient(TypedDict, total=False):
    """The customer."""

    email: str
    first_name: str
    id: int
    last_name: str
    username: str


class CareMerchant(TypedDict, total=False):
    """The seller."""

    first_name: str
    id: int
    last_name: str
    username: str


class CareTile(TypedDict, total=False):
    """An option that the customer chose."""

    id: int
    name: str


class CareIssue(TypedDict, total=False):
    """A problem."""

    customerIssue: str
    tag: str


class CareReturnLabel(TypedDict, total=False):
    """A label for sending a device."""

    date_creation: str
    initiator: str
    kind: str
    label: str
    state: str


class CareLine(TypedDict, total=False):
    """One claim of a folder."""

    declared_warranty_state: str
    gras_savoye: bool
    id: int
    issues: list[CareIssue]
    rate: int
    resolution_choice: str
    return_labels: list[CareReturnLabel]
    score: int
    state: int
    tiles: list[CareTile]
    warnings: list[Any]
    withdraw: bool


class CareAttachment(TypedDict, total=False):
    """A file of a message."""

    attachment: str
    date_creation: str
    id: int


class CareMessage(TypedDict, total=False):
    """A message of a folder."""

    attachments: list[CareAttachment]
    date_creation: str
    id: int
    initiator: str
    is_informative: bool
    kind: str
    message: str


class CareAddress(TypedDict, total=False):
    """An address of the order."""

    city: str
    company: str
    country: str
    customer_id_number: str
    email: str
    first_name: str
    last_name: str
    phone: str
    postal_code: str
    street: str
    street2: str


class CareOrder(TypedDict, total=False):
    """The order."""

    billing_address: CareAddress
    country_code: str
    currency: str
    date_creation: str
    date_modification: str
    date_payment: str
    date_shipping: str
    order_id: int
    price: str
    shipper: int
    shipper_display: str
    shipping_address: CareAddress
    shipping_price: str
    state: int
    tracking_number: str
    tracking_url: str


class CareCategory(TypedDict, total=False):
    """A category of the product."""

    category_name: str
    parent: CareCategory


class CareProduct(TypedDict, total=False):
    """The product."""

    category_3: CareCategory
    product_id: int


class CareSnapshot(TypedDict, total=False):
    """The sold item, as it was then."""

    id: int
    image: str
    listing: int
    product: CareProduct
    sku: str
    snowden: bool


class CareOrderLine(TypedDict, total=False):
    """The order line."""

    id: int
    order: CareOrder
    price: str
    quantity: int
    snapshot: CareSnapshot
    state: int
    trust_pack_plus: bool


class CareFolderDetails(TypedDict, total=False):
    """An after-sales folder with its claims and messages."""

    backcare: bool
    client: CareClient
    country_code: str
    date_closed: str
    date_creation: str
    date_last_message: str
    date_modification: str
    id: int
    lines: list[CareLine]
    merchant: CareMerchant
    messages: list[CareMessage]
    orderline: CareOrderLine
    state: int


class PostedAttachment(TypedDict, total=False):
    """A file of a message that was posted."""

    attachment: str
    group: int
    msg: int
    sender: int


class PostedMessage(TypedDict, total=False):
    """A message that was posted."""

    attachment: PostedAttachment
    attachments: list[PostedAttachment]
    date_creation: str
    group: int
    id: int
    message: str
    sender: int
