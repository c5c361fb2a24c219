"""Orders as the sandbox keeps them: invented from a seed, changed by API writes or tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from backmarket.sandbox import times
from backmarket.sandbox.settings import Assumptions
from backmarket.sandbox.times import Pen
from backmarket.sandbox.world import people
from backmarket.sandbox.world.catalog import Item, money, short_money
from backmarket.sandbox.world.stock import Progress, Stock, Where

OrderBody = dict[str, Any]

HIDDEN_STATES: Final = frozenset({0, 8})
"""States that the list omits (operation `get-ws-list-order`)."""

ORDER_STATES: Final = frozenset({0, 10, 1, 3, 8, 9})
"""The schema `OrderState`."""

_LISTED_SHARES: Final = ((0.82, 9), (0.91, 3), (0.97, 1), (1.0, 10))
"""Cumulated shares of the states that the list shows, from the last stage to the first."""

_CLOSED_STATES: Final = frozenset({8, 9})
_OPEN_TIME: Final = timedelta(days=3)
"""Age below which invented orders are open. An order is due two days after its creation, so some are late."""

_SHIPPERS: Final = ("Colissimo", "Chronopost", "DHL Express", "UPS", "Deutsche Post", "GLS", None)
_PAYMENTS: Final = ("CARD", "CARD", "PAYPAL", "APPLE_PAY", "KLARNA", None)
_LINE_STATES: Final[dict[int, tuple[int, ...]]] = {
    0: (0,), 10: (8,), 1: (1, 1, 1, 9), 3: (2, 2, 2, 4), 8: (7,), 9: (3, 3, 3, 3, 3, 3, 4, 5, 6),
}  # fmt: skip
"""The order line states that go with each order state."""


class OrderRow(NamedTuple):
    """One order: the values that the list filters and sorts by, and its JSON."""

    id: int
    state: int
    country_code: str
    created: datetime
    modified: datetime
    lines: tuple[int, ...]
    body: bytes

    def decoded(self) -> OrderBody:
        """The body as a new dictionary."""
        body: OrderBody = msgspec.json.decode(self.body)
        return body


def row_of(body: OrderBody, created: datetime, modified: datetime) -> OrderRow:
    """The row with this body."""
    lines = tuple(line["id"] for line in body["orderlines"])
    encoded = msgspec.json.encode(body)
    return OrderRow(body["order_id"], body["state"], body["country_code"], created, modified, lines, encoded)


class OrderFactory:
    """Invents orders of one seller.

    Args:
        rng: the source of everything but the ids.
        items: the seller's catalogue.
        market: the country code that two thirds of the customers belong to.
        assumed: says whether addresses have an e-mail address, and the zone of times without an offset.
        line_ids: the source of order line ids, unique across sellers.
    """

    def __init__(
        self, rng: Random, items: Sequence[Item], market: str, *, assumed: Assumptions, line_ids: Callable[[], int]
    ) -> None:
        self._rng = rng
        self._items = items
        self._market = market
        self._email = assumed.address_email == "present"
        self._pen = Pen(rng, assumed.naive_zone)
        self._line_ids = line_ids
        self._addresses = count(1)

    def _one(self, values: Sequence[Any]) -> Any:
        return values[int(self._rng.random() * len(values))]

    def listed_state(self) -> int:
        """A random state that the list shows, mostly processed."""
        return _listed_state(self._rng.random())

    def order(self, order_id: int, created: datetime, modified: datetime, state: int) -> OrderRow:
        """A new order.

        Args:
            created: time of creation, in UTC.
            modified: time of the last change, not before `created`.
            state: its order state; the lines' states follow from it.
        """
        rng, pen = self._rng, self._pen
        country_code = self._market if rng.random() < 0.66 else self._one(people.COUNTRY_CODES)
        market = people.MARKETS[country_code]
        lines = [self._line(created, state, market.currency) for _ in range(1 + int(rng.random() * 3))]
        price = sum(line[1] for line in lines)
        shipping_cents = self._one((0, 0, 0, 599))
        shipped = state == 9
        ship_date = created + (modified - created) * rng.random() if shipped else None
        place = people.address(next(self._addresses), country_code, rng, email=self._email)
        body: OrderBody = {
            "order_id": order_id,
            "shipping_address": place,
            "billing_address": place if rng.random() < 0.8 else self._other_address(country_code),
            "tracking_number": f"BM{order_id}{country_code[-2:].upper()}" if shipped else None,
            "tracking_url": f"https://carrier.example/track/BM{order_id}" if shipped and rng.random() < 0.8 else None,
            "shipper_display": self._one(_SHIPPERS),
            "is_backship": rng.random() < 0.3,
            "date_creation": pen.any(created),
            "date_modification": pen.any(modified),
            "date_shipping": pen.any(ship_date) if ship_date else None,
            "date_payment": None if state in {0, 8, 10} else pen.write(created, "milli"),
            "state": state,
            "orderlines": [line[0] for line in lines],
            "price": money(price),
            "shipping_price": money(shipping_cents),
            "currency": market.currency,
            "country_code": country_code,
            "psp_reference": f"PSP{order_id}",
            "paypal_reference": None,
            "installment_payment": rng.random() < 0.1,
            "payment_method": self._one(_PAYMENTS),
            "sales_taxes": short_money(price // 6),
        }
        body["shipper"] = body["shipper_display"]
        self._leave_some_out(body, created)
        return row_of(body, created, modified)

    def _leave_some_out(self, body: OrderBody, created: datetime) -> None:
        chance = self._rng.random()
        if chance < 0.5:
            body["delivery_note"] = f"https://notes.example/delivery_note/{body['order_id']}.pdf"
        if body["state"] in {1, 3}:
            body["expected_dispatch_date"] = self._pen.write(created + timedelta(days=2), "naive")
        if chance > 0.9:
            del body["paypal_reference"], body["installment_payment"]
        if chance > 0.97:
            body["billing_address"] = None
            del body["sales_taxes"], body["is_backship"]

    def _other_address(self, country_code: str) -> dict[str, Any]:
        return people.address(next(self._addresses), country_code, self._rng, email=self._email)

    def _line(self, created: datetime, order_state: int, currency: str) -> tuple[dict[str, Any], int]:
        """One order line and its total, which is its price, in cents."""
        rng, pen = self._rng, self._pen
        chance = rng.random()
        item: Item = self._one(self._items)
        quantity = 1 if chance < 0.93 else 2
        cents = item.cents * quantity
        state = self._one(_LINE_STATES.get(order_state, (1,)))
        line = {
            "id": self._line_ids(),
            "date_creation": pen.any(created),
            "state": state,
            "price": short_money(cents),
            "shipping_price": "0.00",
            "shipping_delay": 48 if chance < 0.9 else None,
            "currency": currency,
            "return_reason": self._one((21, 23, 25)) if state == 6 else 0 if state in {4, 5} else None,
            "return_message": "Sorry, it broke." if state == 6 else "",
            "listing": item.sku,
            "listing_id": item.listing_id,
            "orderline_fee": short_money(cents // 10),
            "product": item.title,
            "quantity": quantity,
            "brand": item.brand,
            "product_id": item.product_id,
            "backcare": chance > 0.85,
            "backcare_price": 500 if chance > 0.85 else None,
            "sales_taxes": short_money(cents // 6),
            "imei": f"35{item.listing_id % 10**4:04d}{int(chance * 10**9):09d}"
            if state == 3 and chance < 0.4
            else None,
            "condition": item.condition,
            "shipper": "Colissimo" if state == 3 else None,
        }
        if chance < 0.5:
            line["serial_number"] = ""
        return line, cents


class OrderStock(Stock[OrderRow]):
    """The orders of one seller.

    Args:
        factory: invents the orders.
        order_ids: the source of their ids, unique across sellers.
        rng: picks and dates orders.
    """

    name = "orders"

    def __init__(self, factory: OrderFactory, order_ids: Callable[[], int], rng: Random) -> None:
        super().__init__(rng)
        self._factory = factory
        self._order_ids = order_ids
        self._order_of_line: dict[int, int] = {}

    def fill(self, listed: int, hidden: int, earliest: datetime, latest: datetime) -> None:
        """Invent a history: ids rise with creation, and every change is before `latest`.

        Closed orders were created at any time. Open ones are of the last days, at even distances, the accepted first
        and the unpaid last: whatever the seed, 20 orders have one that is late, one that is due, and one of today.

        Args:
            listed: number of orders that the list shows.
            hidden: number of additional orders, half in state 0, half in state 8.
            earliest: lower limit of creation times, in UTC.
            latest: upper limit of all times, in UTC.
        """
        states = [_listed_state((number + 0.5) / listed) for number in range(listed)]
        states += [(0, 8)[number % 2] for number in range(hidden)]
        closed = [state for state in states if state in _CLOSED_STATES]
        opened = [state for state in states if state not in _CLOSED_STATES]
        span = (latest - earliest).total_seconds()
        open_span = min(span, _OPEN_TIME.total_seconds())
        ages = [self.rng.random() * span for _ in closed]
        ages += [open_span * (1 - (number + self.rng.random()) / len(opened)) for number in range(len(opened))]
        oldest_first = sorted(zip(ages, closed + opened, strict=True), reverse=True)
        self._put([self._past_order(latest - timedelta(seconds=age), latest, state) for age, state in oldest_first])

    def _past_order(self, created: datetime, latest: datetime, state: int) -> OrderRow:
        most = min((latest - created).total_seconds(), 20 * 86400.0)
        modified = created + timedelta(seconds=most * self.rng.random() ** 2)
        return self._invent(created, modified, state)

    def _invent(self, created: datetime, modified: datetime, state: int) -> OrderRow:
        return self._factory.order(self._order_ids(), created, modified, state)

    def _put(self, rows: Iterable[OrderRow]) -> None:
        rows = list(rows)
        self.rows.put(rows)
        self._order_of_line.update((line, row.id) for row in rows for line in row.lines)

    def of_line(self, line_id: int) -> OrderRow | None:
        """The order with this line."""
        return self.rows.get(self._order_of_line.get(line_id))

    def shown(self) -> list[OrderRow]:
        """The orders that the list shows, oldest first."""
        return self.rows.listed("shown", order=_by_creation, where=lambda row: row.state not in HIDDEN_STATES)

    def add(self, now: datetime, where: Where) -> OrderRow:
        """A new order, created now or, at the oldest end, before all others; modified now in either case."""
        shown = self.shown()
        created = shown[0].created - timedelta(minutes=1) if where == "oldest" and shown else now
        row = self._invent(created, now, self._factory.listed_state())
        self._put([row])
        return row

    def edit(self, row: OrderRow, now: datetime, progress: Progress, *, silent: bool = False) -> OrderRow:
        """Change one order; its `date_modification` moves to now, or stays what `progress` leaves if `silent`."""
        body = row.decoded()
        progress(body)
        if silent:
            modified = times.parse_time(body["date_modification"], naive_zone=UTC)
        else:
            modified = max(now, row.modified + timedelta(microseconds=1))
            body["date_modification"] = times.write_time(modified, "micro")
        changed = row_of(body, row.created, modified)
        self._put([changed])
        return changed

    def modify(self, row: OrderRow, now: datetime, fields: dict[str, Any], *, silent: bool, market: str = "") -> None:
        """Let an order progress, or set some of its members."""
        number = self.new_number()
        self.edit(row, now, lambda body: body.update(fields) if fields else advance(body, number), silent=silent)

    def hide(self, row: OrderRow, now: datetime, *, silent: bool) -> None:
        """Let the payment fail: state 8, which the list omits."""
        self.edit(row, now, unpaid, silent=silent)


def _listed_state(share: float) -> int:
    return next(state for limit, state in _LISTED_SHARES if share < limit)


def _by_creation(row: OrderRow) -> tuple[datetime, int]:
    return row.created, row.id


def advance(body: OrderBody, number: int) -> None:
    """Move an order to its next stage: paid, then accepted, then shipped, then its tracking corrected.

    Args:
        body: changed in place; the caller sets `date_modification`.
        number: makes the new value differ from every earlier one.
    """
    state = body["state"]
    following = {10: (1, 1), 1: (3, 2), 3: (9, 3)}.get(state)
    if following is None:
        body["tracking_url"] = f"https://carrier.example/track/{body['order_id']}/{number}"
        return
    body["state"], line_state = following
    for line in body["orderlines"]:
        if line["state"] not in {4, 5, 6}:
            line["state"] = line_state
    if body["state"] == 9:
        body["tracking_number"] = f"BM{body['order_id']}N{number}"
        body["shipper_display"] = "Chronopost"


def unpaid(body: OrderBody) -> None:
    """Let the payment of an order fail: state 8, its lines 7."""
    body["state"] = 8
    for line in body["orderlines"]:
        line["state"] = 7
