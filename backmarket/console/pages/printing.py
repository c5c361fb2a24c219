"""What is printed for chosen orders: their labels as one PDF, a pick list, packing slips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from io import BytesIO

from starlette.responses import Response

from backmarket.client.skus import sku_key
from backmarket.console.headers import PDF_POLICY
from backmarket.console.pages.shipping import HERE
from backmarket.console.paths import order_key, order_of_key
from backmarket.console.request_context import RequestContext
from backmarket.errors import InvalidArgument
from backmarket.labels.printing import LabelKey
from backmarket.queries.to_ship import OrderToShip


@dataclass
class Missing:
    """An order without a printable label.

    Attributes:
        order: the order.
        why: the reason.
    """

    order: OrderToShip
    why: str


@dataclass
class Pick:
    """One SKU of a pick list.

    Attributes:
        sku: the SKU; empty: the lines have none.
        product: its name.
        quantity: number of devices.
        orders: the orders that need it, each with its quantity.
    """

    sku: str
    product: str
    quantity: int = 0
    orders: list[tuple[OrderToShip, int]] = field(default_factory=list)


_NOT_MADE, _OWN = "Back Market has not made its label yet.", "You ship it with a label of your own."
_WHY = {
    "wanted": "A worker is about to fetch its label.",
    "skipped": "Its label was left out by a sync without labels.",
    "unavailable": "Workers have given its label up.",
}


def labels(context: RequestContext) -> Response:
    """The labels of the chosen orders as one PDF; if some are missing, first a page that names them."""
    orders = _chosen(context)
    keys, missing = _labels_of(orders)
    if missing and not context.given("anyway"):
        return _name_missing(context, orders, keys, missing)
    by_key = {key: order for order in orders for key in _keys(order)}
    pdf = BytesIO()
    printed = context.bm.print_labels(keys, to=pdf)
    unreadable = [Missing(by_key[each.key], each.why) for each in printed.missing]
    if (unreadable and not context.given("anyway")) or not printed.pages:
        return _name_missing(context, orders, printed.printed, [*missing, *unreadable])
    name = f"labels-{datetime.now(UTC):%Y-%m-%d-%H%M}.pdf"
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Content-Security-Policy": PDF_POLICY}
    return Response(pdf.getvalue(), media_type="application/pdf", headers=headers)


def fetch(context: RequestContext) -> Response:
    """Have workers sync the deliveries of the chosen orders' sellers, and fetch their labels."""
    orders = _chosen(context)
    sellers = sorted({order.organization_id for order in orders})
    for seller in sellers:
        context.bm.fetch_labels(seller)
        context.bm.sync(seller, "deliveries")
    of = sellers[0] if len(sellers) == 1 else f"{len(sellers)} sellers"
    context.say(f"Requested the deliveries and labels of {of}. Print again in a minute.")
    return context.go(HERE)


def pick_list(context: RequestContext) -> Response:
    """The devices of the chosen orders by SKU."""
    orders, picks = _chosen(context), dict[str, Pick]()
    for order in orders:
        for line in order.lines:
            if line.may_accept or line.may_ship:
                pick = picks.setdefault(sku_key(line.sku or ""), Pick(line.sku or "", line.product or ""))
                pick.quantity += line.quantity or 1
                pick.orders.append((order, line.quantity or 1))
    return context.render("pick_list.html", picks=[picks[sku] for sku in sorted(picks)], orders=orders)


def packing_slips(context: RequestContext) -> Response:
    """A page for each chosen order, to be laid into its parcel."""
    return context.render("packing_slips.html", orders=_chosen(context))


def _chosen(context: RequestContext) -> list[OrderToShip]:
    """The chosen orders, in the order of the table.

    Raises:
        InvalidArgument: if none is chosen.
    """
    named = dict.fromkeys(filter(None, map(order_of_key, context.given_all("order"))))
    orders = context.bm.get_orders_by_keys([*named])
    if not orders:
        raise InvalidArgument("No order is chosen. Go back, and choose orders in the first column.")
    return orders


def _keys(order: OrderToShip) -> list[LabelKey]:
    return [LabelKey(order.organization_id, "deliveries", parcel.shipment_id) for parcel in order.parcels]


def _labels_of(orders: Sequence[OrderToShip]) -> tuple[list[LabelKey], list[Missing]]:
    """The stored labels, and why others are missing."""
    keys, missing = [], []
    for order in orders:
        if not order.parcels:
            missing.append(Missing(order, _NOT_MADE if order.is_backship else _OWN))
        for key, parcel in zip(_keys(order), order.parcels, strict=True):
            if parcel.label_state == "stored":
                keys.append(key)
            else:
                missing.append(Missing(order, _WHY.get(parcel.label_state or "", "Its delivery names no label.")))
    return keys, missing


def _name_missing(
    context: RequestContext, orders: Sequence[OrderToShip], ready: Sequence[LabelKey], missing: Sequence[Missing]
) -> Response:
    return context.render(
        "labels_missing.html",
        keys=[order_key(*order.key) for order in orders],
        ready=len(ready),
        missing=missing,
        status=HTTPStatus.OK,
    )
