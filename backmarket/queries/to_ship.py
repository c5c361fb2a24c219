"""Orders that a seller has to accept or ship, of one organization or of all, by their dispatch deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, cast

from psycopg.rows import class_row

from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.orders import OrderLineState, OrderState
from backmarket.queries.pagination import Page, check_limit, date, decode_cursor, text, whole, with_offset
from backmarket.queries.skus import has_sku

NO_DEADLINE = "infinity"
"""In the position of an order without a deadline, which comes last."""

MAX_KEYS = 1000
"""Maximum number of orders that are read by their keys at once."""


class ShippingStep(StrEnum):
    """What the seller has to do with an order."""

    ACCEPT = "accept"
    """At least one line is paid and not accepted yet."""
    SHIP = "ship"
    """The accepted lines wait for a parcel."""


@dataclass(frozen=True, slots=True)
class ShippingLine:
    """An order line as the person who packs it needs it. Its `repr` shows no identifier of a device."""

    orderline_id: int
    state: OrderLineState | int | None
    sku: str | None
    product: str | None
    quantity: int | None
    imei: str | None = field(repr=False)
    serial_number: str | None = field(repr=False)

    @property
    def may_accept(self) -> bool:
        """Whether it waits to be accepted."""
        return self.state == OrderLineState.PAID

    @property
    def may_ship(self) -> bool:
        """Whether it waits to be shipped."""
        return self.state == OrderLineState.ACCEPTED


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery of an order. Its `repr` shows no tracking number.

    Attributes:
        shipment_id: of the delivery.
        carrier_name: the carrier.
        tracking_number: the parcel's.
        label_state: as in `LabelState`; None: no label is known.
    """

    shipment_id: int
    carrier_name: str | None
    tracking_number: str | None = field(repr=False)
    label_state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderToShip:
    """An order, with its lines and parcels. Its `repr` shows no personal data.

    Attributes:
        environment: the connection's, `production` or `sandbox`.
        dispatch_by: the deadline; None: the API names none.
        lines: present lines, by id.
        parcels: its deliveries, by id.
    """

    organization_id: str
    environment: str
    order_id: int
    state: OrderState | int | None
    country_code: str | None
    date_creation: datetime | None
    dispatch_by: datetime | None
    is_backship: bool | None
    shipper: str | None
    tracking_number: str | None = field(repr=False)
    price: Decimal | None
    currency: str | None
    shipping_address: dict[str, Any] | None = field(repr=False)
    lines: list[ShippingLine]
    parcels: list[Parcel]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", [_line(each) for each in cast(list[Any], self.lines)])
        object.__setattr__(self, "parcels", [Parcel(**each) for each in cast(list[Any], self.parcels)])

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it: organization and order."""
        return self.organization_id, self.order_id

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed, and it still waits."""
        return self.dispatch_by is not None and self.dispatch_by < datetime.now(UTC) and self.step is not None

    @property
    def step(self) -> ShippingStep | None:
        """What the seller can do next; None: nothing, or Back Market holds every line."""
        if any(line.may_accept for line in self.lines):
            return ShippingStep.ACCEPT
        return ShippingStep.SHIP if any(line.may_ship for line in self.lines) else None


@dataclass(frozen=True, slots=True)
class ShippingCounts:
    """Numbers of orders that wait for the seller.

    Attributes:
        accept: to be accepted.
        ship: to be shipped.
        late: of both, those whose deadline has passed.
        soon: of both, those whose deadline is within 24 hours.
    """

    accept: int
    ship: int
    late: int
    soon: int


@dataclass(frozen=True, slots=True)
class ShippingFilter:
    """Which orders; None does not restrict.

    Args:
        organization_id: of this one.
        step: `accept` or `ship`.
        due_before: with a deadline before it; without an offset, it is UTC.
        country_code: such as `fr-fr`.
        sku: with a line of this SKU, ignoring case.
        backship: with a label of Back Market's, or without.
    """

    organization_id: str | None = None
    step: ShippingStep | str | None = None
    due_before: datetime | None = None
    country_code: str | None = None
    sku: str | None = None
    backship: bool | None = None


def page(database: Database, where: ShippingFilter, *, limit: int, cursor: str | None) -> Page[OrderToShip]:
    """Orders by deadline; see `BackMarket.get_orders_to_ship`."""
    check_limit(limit)
    values: dict[str, Any] = {
        "organization": where.organization_id,
        "before": with_offset(where.due_before),
        "country": where.country_code,
        "sku": where.sku,
        "backship": where.backship,
        "limit": limit + 1,
    }
    conditions = [_WAITING] + [_CONDITIONS[name] for name in _CONDITIONS if values[name] is not None]
    if where.step is not None:
        conditions.append(f"o.state = {_STATE_OF_STEP[_step(where.step)]}")
    if cursor is not None:
        conditions.append(f"({_DEADLINE}, o.organization_id, o.order_id) > (%(at)s::timestamptz, %(of)s, %(after)s)")
        deadline = partial(date, missing=NO_DEADLINE)
        values["at"], values["of"], values["after"] = decode_cursor(cursor, deadline, text, whole)
    statement = (
        f"{_SELECT} FROM backmarket.orders o {_JOINS} WHERE {' AND '.join(conditions)}"
        f" ORDER BY {_DEADLINE}, o.organization_id, o.order_id LIMIT %(limit)s"
    )
    rows = _rows(database, statement, values)
    return Page.of(rows, limit, lambda row: [row.dispatch_by or NO_DEADLINE, row.organization_id, row.order_id])


def by_keys(database: Database, keys: Sequence[tuple[str, int]]) -> list[OrderToShip]:
    """Stored orders in the order of their keys, whatever their states.

    Raises:
        InvalidArgument: if there are too many keys.
    """
    if len(keys) > MAX_KEYS:
        raise InvalidArgument(f"At most {MAX_KEYS} orders can be read at once, not {len(keys)}.")
    statement = (
        f"{_SELECT} FROM unnest(%(organizations)s::text[], %(orders)s::bigint[])"
        " WITH ORDINALITY AS wanted (org, id, at)"
        f" JOIN backmarket.orders o ON o.organization_id = wanted.org AND o.order_id = wanted.id {_JOINS}"
        " ORDER BY wanted.at"
    )
    values = {"organizations": [each[0] for each in keys], "orders": [each[1] for each in keys]}
    return _rows(database, statement, values)


def counts(database: Database, organization_id: str | None) -> ShippingCounts:
    """How many orders wait; one statement that reads an index alone."""
    of_one = "" if organization_id is None else " AND o.organization_id = %(organization)s"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(ShippingCounts)) as cursor:
        found = cursor.execute(f"{_COUNTS}{of_one}".encode(), {"organization": organization_id}).fetchone()
    assert found is not None  # noqa: S101 - an aggregate has a row
    return found


def _rows(database: Database, statement: str, values: dict[str, Any]) -> list[OrderToShip]:
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(OrderToShip)) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()


def _line(document: dict[str, Any]) -> ShippingLine:
    state = document["state"]
    known = OrderLineState(state) if state in set(OrderLineState) else state
    return ShippingLine(**{**document, "state": known})


def _step(step: ShippingStep | str) -> ShippingStep:
    try:
        return ShippingStep(step)
    except ValueError:
        raise InvalidArgument(f"There is no step {str(step)!r}. Choose one of {', '.join(ShippingStep)}.") from None


_DEADLINE = "CASE WHEN o.expected_dispatch_date IS NULL THEN 'infinity' ELSE o.expected_dispatch_date END"
_WAITING = "o.state IN (1, 3) AND o.removed_at IS NULL"
_STATE_OF_STEP = {ShippingStep.ACCEPT: int(OrderState.PAID), ShippingStep.SHIP: int(OrderState.TO_BE_SHIPPED)}
_CONDITIONS = {
    "organization": "o.organization_id = %(organization)s",
    "before": f"{_DEADLINE} < %(before)s",
    "country": "o.country_code = %(country)s",
    "backship": "o.is_backship IS NOT DISTINCT FROM %(backship)s",
    "sku": "EXISTS (SELECT FROM backmarket.orderlines l WHERE l.organization_id = o.organization_id"
    f" AND l.order_id = o.order_id AND l.removed_at IS NULL AND {has_sku('l', 'listing')})",
}

_SELECT = """
SELECT o.organization_id, c.environment, o.order_id, o.state, o.country_code, o.date_creation,
    o.expected_dispatch_date AS dispatch_by, o.is_backship, COALESCE(o.shipper_display, o.shipper) AS shipper,
    o.tracking_number, o.price, o.currency, o.shipping_address, lines.found AS lines, parcels.found AS parcels
"""

_JOINS = """
JOIN backmarket.connections c ON c.organization_id = o.organization_id
CROSS JOIN LATERAL (
    SELECT COALESCE(jsonb_agg(jsonb_build_object('orderline_id', l.orderline_id, 'state', l.state, 'sku', l.listing,
        'product', l.product, 'quantity', l.quantity, 'imei', NULLIF(l.imei, ''),
        'serial_number', NULLIF(l.serial_number, '')) ORDER BY l.orderline_id), '[]') AS found
    FROM backmarket.orderlines l
    WHERE l.organization_id = o.organization_id AND l.order_id = o.order_id AND l.removed_at IS NULL
) AS lines
CROSS JOIN LATERAL (
    SELECT COALESCE(jsonb_agg(jsonb_build_object('shipment_id', d.shipment_id, 'carrier_name', d.carrier_name,
        'tracking_number', d.tracking_number, 'label_state', b.state) ORDER BY d.shipment_id), '[]') AS found
    FROM backmarket.deliveries d LEFT JOIN backmarket.labels b
        ON b.organization_id = d.organization_id AND b.resource = 'deliveries' AND b.shipment_id = d.shipment_id
    WHERE d.organization_id = o.organization_id AND d.order_id = o.order_id AND d.removed_at IS NULL
) AS parcels
"""

_COUNTS = f"""
SELECT count(*) FILTER (WHERE o.state = 1) AS accept, count(*) FILTER (WHERE o.state = 3) AS ship,
    count(*) FILTER (WHERE o.expected_dispatch_date < now()) AS late,
    count(*) FILTER (WHERE o.expected_dispatch_date >= now() AND o.expected_dispatch_date < now() + interval '1 day')
        AS soon
FROM backmarket.orders o WHERE {_WAITING}
"""
