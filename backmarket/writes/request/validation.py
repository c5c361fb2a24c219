"""Checks each write before it is sent: by the published document, and against the stored rows.

Nothing here sends requests or queries: the caller passes the stored rows. Each function returns the request as it is to
be sent, or raises one `InvalidWrite` that names everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, get_args
from uuid import UUID

from backmarket.client import field_rules
from backmarket.client.listing_rules import PLACES, UNDOCUMENTED, listing_rules
from backmarket.client.skus import sku_key
from backmarket.client.types import values
from backmarket.queries.orders import NEXT_STATES, OrderLineState
from backmarket.writes.request.faults import Checks
from backmarket.writes.request.models import UpdateListing, UpdateOrder, UpdateOrderline, UploadOrderInvoice

SETTABLE = tuple(sorted(frozenset[int]().union(*NEXT_STATES.values())))
REFUNDS = frozenset({4, 5, 6})
RETURN_REASONS: tuple[int, ...] = get_args(values.ReturnReasonValue)
VAT_TYPES: tuple[str, ...] = get_args(values.VatType)
IDENTIFIERS = ("imei", "serial_number")

_ORDER_FIELDS: dict[str, tuple[frozenset[int], field_rules.Rule]] = {
    "tracking_number": (frozenset({3}), field_rules.text(200)),
    "tracking_url": (frozenset({3}), field_rules.url(300)),
    "shipper": (frozenset({3}), field_rules.text(200)),
    "date_shipping": (frozenset({3}), field_rules.moment),
    "imei": (frozenset({3}), field_rules.imei),
    "serial_number": (frozenset({3}), field_rules.serial_number),
    "return_reason": (REFUNDS, field_rules.choice(RETURN_REASONS, "the reasons of the document")),
    "return_message": (REFUNDS, field_rules.prose(500)),
    "vat_type": (frozenset(SETTABLE), field_rules.choice(VAT_TYPES, "the types of the document")),
}
"""The fields of the schema `UpdateOrder`: the new states that accept it, and its valid values."""


class KnownLine(Protocol):
    """A stored order line; `backmarket.queries.orders.OrderLine` is one."""

    @property
    def listing(self) -> str | None:
        """The seller's SKU."""

    @property
    def state(self) -> int | None:
        """As the API last returned it."""

    @property
    def quantity(self) -> int | None:
        """Number of devices."""

    @property
    def imei(self) -> str | None:
        """As registered."""

    @property
    def serial_number(self) -> str | None:
        """As registered."""


def update_order(
    order_id: int,
    new_state: OrderLineState | int,
    *,
    sku: str | None = None,
    tracking_number: str | None = None,
    tracking_url: str | None = None,
    shipper: str | None = None,
    date_shipping: datetime | None = None,
    return_reason: int | None = None,
    return_message: str | None = None,
    vat_type: str | None = None,
    imei: str | None = None,
    serial_number: str | None = None,
    unchecked_imei: bool = False,
    lines: Sequence[KnownLine] | None = None,
) -> UpdateOrder:
    """Move lines of an order to another state.

    Args:
        new_state: 2 accept or 4 cancel a paid line, 3 ship or 5 refund an accepted one, 6 refund a shipped one.
        sku: of the line, in any case; required if lines of several SKUs could move, otherwise that of the stored line
            is sent. State 3 moves all accepted lines.
        tracking_number: of the parcel; required for state 3. Only state 3 accepts it, `tracking_url`, `shipper`,
            `date_shipping`, `imei` and `serial_number`.
        tracking_url: http or https.
        shipper: the carrier.
        date_shipping: with its offset; None: the API takes the current time.
        return_reason: of a refund or a cancellation: 0, 1, 11 to 13, 21 to 25.
        return_message: to the customer, with a refund or a cancellation.
        vat_type: `REGULAR` or `MARGINAL`.
        imei: of the device; only if the order has one line, of quantity 1. It cannot be corrected later.
        serial_number: the same.
        unchecked_imei: True: the IMEI has another format, and is sent unchecked.
        lines: all lines of the order, as stored; None: check against the document only.

    Raises:
        InvalidWrite: if an argument is wrong; the text names all that are.
    """
    given = {
        "tracking_number": tracking_number,
        "tracking_url": tracking_url,
        "shipper": shipper,
        "date_shipping": date_shipping,
        "return_reason": return_reason,
        "return_message": return_message,
        "vat_type": vat_type,
        "imei": imei,
        "serial_number": serial_number,
    }
    checks = Checks()
    number = checks.read("order_id", order_id, field_rules.whole(1, field_rules.MAX_ID))
    state = checks.read("new_state", new_state, field_rules.choice(SETTABLE, "the states"))
    wanted_sku = None if sku is None else checks.read("sku", sku, field_rules.text())
    sent = _read_order_fields(given, state, checks, unchecked_imei=unchecked_imei)
    if state == 3 and tracking_number is None:
        checks.note("tracking_number", "nothing", "the parcel's number, which state 3 needs")
    if lines is not None and state is not None and (sku is None or wanted_sku is not None):
        wanted_sku = _check_lines(lines, state, wanted_sku, checks)
        _check_device(lines, [name for name in IDENTIFIERS if given[name] is not None], checks)
    checks.end()
    assert number is not None  # noqa: S101 - or its fault was raised
    assert state is not None  # noqa: S101 - the same
    return UpdateOrder(order_id=number, new_state=OrderLineState(state), sku=wanted_sku, **sent)


def update_orderline(
    orderline_id: int,
    *,
    imei: str | None = None,
    serial_number: str | None = None,
    unchecked_imei: bool = False,
    line: KnownLine | None = None,
) -> UpdateOrderline:
    """Register the identifiers of a sold device. They can never be corrected, so the checks are strict.

    Args:
        orderline_id: the order line's id.
        imei: 15 digits with the right check digit.
        serial_number: up to 50 characters.
        unchecked_imei: True: the IMEI has another format, and is sent unchecked.
        line: as stored; None: check against the document only.

    Returns:
        The given identifiers that are not registered yet.

    Raises:
        InvalidWrite: if an argument is wrong, or everything is registered already; the text names all faults.
    """
    checks = Checks()
    number = checks.read("orderline_id", orderline_id, field_rules.whole(1, field_rules.MAX_ID))
    rules: dict[str, field_rules.Rule] = {
        "imei": field_rules.unchecked_imei if unchecked_imei else field_rules.imei,
        "serial_number": field_rules.serial_number,
    }
    given = {name: value for name, value in (("imei", imei), ("serial_number", serial_number)) if value is not None}
    sent = {name: checks.read(name, value, rules[name]) for name, value in given.items()}
    if not given:
        checks.note("imei", "nothing", "an IMEI, a serial_number, or both")
    new = {name: value for name, value in sent.items() if line is None or getattr(line, name) in {None, "", value}}
    for name in [name for name in sent if name not in new]:
        checks.note(name, "another value", "what is registered already, as it cannot be corrected; leave it out")
    new = {name: value for name, value in new.items() if line is None or not getattr(line, name)}
    if sent and not new and not checks:
        checks.note(next(iter(sent)), "what is registered already", "something new: there is nothing to do")
    checks.end()
    assert number is not None  # noqa: S101 - or its fault was raised
    return UpdateOrderline(orderline_id=number, **new)


def update_listing(listing_id: UUID | str | int, changes: Mapping[str, Any], *, locale: str) -> UpdateListing:
    """Change a listing; fields that are not named keep their values.

    Args:
        listing_id: its UUID, or its older whole number.
        changes: by the names of `listing_rules` and `UNDOCUMENTED`; None empties an optional field.
        locale: the market of the change. A price is sent with that market's currency.

    Raises:
        InvalidWrite: if an argument is wrong; the text names all that are.
    """
    checks, rules = Checks(), listing_rules(locale) | UNDOCUMENTED
    known_id = checks.read("listing_id", listing_id, field_rules.listing_id)
    unknown = [name for name in changes if name not in rules]
    for name in unknown:
        checks.note(str(name)[:40], "an unknown field", f"one of {', '.join(rules)}")
    if not changes:
        checks.note("changes", "nothing", f"at least one of {', '.join(rules)}")
    sent = {name: checks.read(name, changes[name], rules[name]) for name in rules if name in changes}
    if "price" in sent:
        sent["currency"] = field_rules.currency_of(locale)
    elif "currency" in sent:
        checks.note("currency", "no price", "a price, which it belongs to")
    _check_prices(sent, checks)
    _check_carriers(sent, checks)
    checks.end()
    assert known_id is not None  # noqa: S101 - or its fault was raised
    return UpdateListing(listing_id=known_id, locale=locale, changes=sent)


def upload_order_invoice(order_id: int, filename: str) -> UploadOrderInvoice:
    """Give an order an invoice. `client.pdf` checks whether the file is a PDF, while its bytes are read.

    Args:
        filename: as the customer sees it; ends in `.pdf`.

    Raises:
        InvalidWrite: if an argument is wrong; the text names all that are.
    """
    checks = Checks()
    number = checks.read("order_id", order_id, field_rules.whole(1, field_rules.MAX_ID))
    name = checks.read("filename", filename, field_rules.filename)
    checks.end()
    assert number is not None  # noqa: S101 - or its fault was raised
    assert name is not None  # noqa: S101 - the same
    return UploadOrderInvoice(order_id=number, filename=name)


def _read_order_fields(
    given: Mapping[str, Any], state: int | None, checks: Checks, *, unchecked_imei: bool
) -> dict[str, Any]:
    """The given fields of the schema `UpdateOrder` that are valid."""
    sent = {}
    for name, (states, rule) in _ORDER_FIELDS.items():
        if given[name] is None:
            continue
        sent[name] = checks.read(
            name, given[name], field_rules.unchecked_imei if name == "imei" and unchecked_imei else rule
        )
        if state is not None and state not in states:
            listed = " or ".join(str(each) for each in sorted(states))
            checks.note(name, f"new_state {state}", f"new_state {listed}, as no other takes it")
    return sent


def _check_lines(lines: Sequence[KnownLine], state: int, sku: str | None, checks: Checks) -> str | None:
    """Check that a line can move to the state; returns the SKU to send, spelled as in the order."""
    meant = lines
    if sku is not None:
        meant = [line for line in lines if sku_key(line.listing or "") == sku_key(sku)]
        if not meant:
            held = ", ".join(sorted({line.listing for line in lines if line.listing})) or "none"
            checks.note("sku", repr(sku[:40]), f"the SKU of a line of this order: {held}")
            return None
    movable = [line for line in meant if may_move(line.state, state)]
    if not movable:
        checks.note("new_state", _numbered(state), f"a state that the line can go to: {_ways(meant)}")
        return None
    if state == 3:
        _check_parcel(lines, sku, checks)
        return None
    skus = sorted({line.listing or "" for line in movable}, key=sku_key)
    if len({sku_key(each) for each in skus}) > 1:
        checks.note("sku", "nothing", f"the SKU of the line that is meant: {', '.join(filter(None, skus))}")
        return None
    return skus[0] or None


def _check_parcel(lines: Sequence[KnownLine], sku: str | None, checks: Checks) -> None:
    """State 3 ships all accepted lines, whatever SKU is named."""
    taken = {sku_key(line.listing or "") for line in lines if may_move(line.state, 3)}
    if sku is not None and taken != {sku_key(sku)}:
        checks.note("sku", repr(sku[:40]), "none, as state 3 ships all accepted lines of the order in one parcel")


def may_move(now: int | None, new: int) -> bool:
    """Whether a seller may move a line from one state to another; an unknown state is left to the API."""
    return new in NEXT_STATES.get(now, ()) if now in set(OrderLineState) and now is not None else True


def _ways(lines: Sequence[KnownLine]) -> str:
    """The states that lines can move to, by their current states."""
    states = sorted({int(line.state) for line in lines if line.state is not None})
    ways = [f"from {_numbered(now)} to {_choice(NEXT_STATES.get(now, frozenset()))}" for now in states]
    return f"{'; '.join(ways) or 'none'} (fetch the order if the stored one may be old)"


def _choice(states: frozenset[int]) -> str:
    return " or ".join(_numbered(state) for state in sorted(states)) or "none"


def _numbered(state: int) -> str:
    return f"{state} {OrderLineState(state).name.lower().replace('_', ' ')}"


def _check_device(lines: Sequence[KnownLine], names: Sequence[str], checks: Checks) -> None:
    """Check that a device's identifiers can be registered when it is shipped."""
    for name in names:
        if len(lines) != 1 or lines[0].quantity not in {1, None}:
            checks.note(
                name, "an order of more than that", "an order of one line with quantity 1; use update_orderline"
            )
        elif getattr(lines[0], name):
            checks.note(name, "one more", "none, as one is registered and cannot be corrected; leave it out")


def _check_prices(sent: Mapping[str, Any], checks: Checks) -> None:
    price, least = sent.get("price"), sent.get("min_price")
    if price is not None and least is not None and Decimal(least) > Decimal(price):
        checks.note("min_price", repr(least), f"at most the price, {price}")


def _check_carriers(sent: Mapping[str, Any], checks: Checks) -> None:
    """A carrier's name, delay and price require the carrier: without it, they are ambiguous."""
    for place in PLACES:
        parts = [f"{name}_{place}" for name in ("shipper_display", "shipping_delay", "shipping_price")]
        given = [part for part in parts if sent.get(part) is not None]
        if given and sent.get(f"shipper_{place}") is None:
            checks.note(f"shipper_{place}", "nothing", f"the carrier that {given[0]} belongs to")
