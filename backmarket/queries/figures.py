"""Figures over time: orders, revenue, cancellations, refunds, returns and dispatch, by period, market and currency.

They are counted from the stored rows at each call. Everything of an order belongs to the period in which the order was
created, a return to the one in which the return was: the API dates neither cancellations nor refunds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from time import monotonic
from typing import Any, TypeVar

from psycopg.rows import dict_row

from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument, StatementTimedOut
from backmarket.queries import stock
from backmarket.queries.orders import OrderLineState, OrderState
from backmarket.queries.pagination import created
from backmarket.queries.periods import Period, Span, periods_of, zone_of
from backmarket.queries.stock import SkuFigures

MAX_SECONDS = 10
"""Seconds that counting may take."""

C = TypeVar("C", bound="Counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What is counted; two can be added. Money is of one currency, without shipping.

    Attributes:
        orders: orders that are paid, whatever became of them.
        not_paid: orders that wait for their payment, or were never paid. They count nowhere else.
        units: pieces in lines that are sold: paid, accepted or shipped.
        revenue: price of these lines, taxes included.
        cancelled_lines: lines that the seller cancelled, or that were refunded before shipping.
        cancelled: price of these lines.
        refunded_lines: lines that were refunded after shipping.
        refunded: price of these lines.
        returns: parcels from customers.
        in_time: orders that were dispatched before their deadline.
        late: orders that were dispatched after it.
        no_deadline: orders that were dispatched, and whose deadline is not known.
        overdue: orders that are not dispatched, and whose deadline has passed.
        waiting: orders that are not dispatched yet, and not overdue.
        dispatch_seconds: time from creation to dispatch, of all dispatched orders together.
    """

    orders: int = 0
    not_paid: int = 0
    units: int = 0
    revenue: Decimal = Decimal(0)
    cancelled_lines: int = 0
    cancelled: Decimal = Decimal(0)
    refunded_lines: int = 0
    refunded: Decimal = Decimal(0)
    returns: int = 0
    in_time: int = 0
    late: int = 0
    no_deadline: int = 0
    overdue: int = 0
    waiting: int = 0
    dispatch_seconds: int = 0

    @property
    def dispatched(self) -> int:
        """Orders that were dispatched."""
        return self.in_time + self.late + self.no_deadline

    @property
    def dispatch_hours(self) -> float | None:
        """Mean hours from creation to dispatch; None: nothing was dispatched."""
        return self.dispatch_seconds / self.dispatched / 3600 if self.dispatched else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not any(getattr(self, name) for name in COUNTED)


COUNTED = tuple(each.name for each in fields(Counts))
"""The names of what is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow(Counts):
    """What was counted in one period, one market and one currency.

    Attributes:
        starts_at: of the period.
        ends_at: of the period: the first moment after it.
        country_code: the market, such as `fr-fr`; None: the order's is not known.
        currency: such as `EUR`; None: it is not known.
    """

    starts_at: datetime
    ends_at: datetime
    country_code: str | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a span.

    Attributes:
        organization_id: of this organization; None: of all.
        span: how far they reach back.
        time_zone: whose days the periods have.
        periods: all periods, the oldest first.
        rows: what was counted; a period, market and currency without anything has none.
        skus: of one organization: the SKUs sold most, then those with most stock. Of all: empty.
        known_since: creation of the oldest stored order: what was before it is not known. None: no order is stored.
        incomplete: how many organizations' `orders`, `listings` and `returns` were never copied completely.
        counted_at: when they were counted.
    """

    organization_id: str | None
    span: Span
    time_zone: str
    periods: list[Period]
    rows: list[FigureRow]
    skus: list[SkuFigures]
    known_since: datetime | None
    incomplete: dict[str, int]
    counted_at: datetime

    @property
    def currencies(self) -> list[str]:
        """The currencies with money in them, that of most orders first."""
        orders: dict[str, int] = {}
        for row in self.rows:
            if row.currency and (row.revenue or row.cancelled or row.refunded):
                orders[row.currency] = orders.get(row.currency, 0) + row.orders
        return sorted(orders, key=lambda each: (-orders[each], each))

    @property
    def markets(self) -> list[str]:
        """The markets with orders or returns, by name."""
        return sorted({row.country_code for row in self.rows if row.country_code})

    def is_known(self, period: Period) -> bool:
        """Whether a period has begun, and is not wholly older than the oldest stored order.

        Without a stored order, all is known to be nothing once the orders were copied completely.
        """
        if period.starts_at > self.counted_at:
            return False
        if self.known_since is None:
            return not self.incomplete.get("orders")
        return period.ends_at > self.known_since

    def total(self, period: Period | None = None, *, country_code: str | None = None, currency: str = "") -> Counts:
        """The sum of the rows of a period, a market and a currency; by default, of all.

        Money of several currencies is never added: without a currency, the sum has none.
        """
        found = Counts()
        for row in self.rows:
            if (
                (period is None or row.starts_at == period.starts_at)
                and country_code in {None, row.country_code}
                and currency in {"", row.currency}
            ):
                found = _sum(found, row)
        if currency:
            return found
        return Counts(**{name: value for name, value in _values(found).items() if not isinstance(value, Decimal)})


def get_figures(
    database: Database,
    organization_id: str | None,
    *,
    span: Span | str,
    until: date | None,
    time_zone: str,
    sku: str | None,
    retention_days: int,
) -> Figures:
    """Count; see `BackMarket.get_figures`.

    Args:
        retention_days: days that the change feed is kept; 0: for ever.
    """
    periods = periods_of(span, until, zone_of(time_zone))
    values: dict[str, Any] = {
        "organization": organization_id,
        "bounds": [each.starts_at for each in periods],
        "first": periods[0].starts_at,
        "last": periods[-1].ends_at,
    }
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    until_second = monotonic() + MAX_SECONDS
    try:
        with database.transaction() as transaction:
            for statement in (_ORDERS, _LINES, _RETURNS):
                _limit(transaction, until_second)
                for found in _all(transaction, statement, values):
                    key = (found.pop("period"), found.pop("country_code"), found.pop("currency"))
                    rows[key] = rows.get(key, {}) | found
            _limit(transaction, until_second)
            known_since, now = _all(transaction, _SINCE, values)[0].values()
            incomplete = {each["resource"]: each["count"] for each in _all(transaction, _INCOMPLETE, values)}
            skus = (
                stock.get_skus(transaction, organization_id, sku, periods, now=now, retention_days=retention_days)
                if organization_id is not None
                else []
            )
    except StatementTimedOut:
        raise InvalidArgument(
            f"There is too much to count within {MAX_SECONDS} s. Choose a shorter span, or one organization."
        ) from None
    found_rows = [
        FigureRow(
            starts_at=periods[number - 1].starts_at,
            ends_at=periods[number - 1].ends_at,
            country_code=country_code,
            currency=currency,
            **counted,
        )
        for (number, country_code, currency), counted in sorted(rows.items(), key=lambda each: _order(each[0]))
    ]
    return Figures(
        organization_id,
        Span(span),
        time_zone,
        periods,
        found_rows,
        skus,
        known_since,
        incomplete,
        now.astimezone(UTC),
    )


def _limit(transaction: Transaction, until: float) -> None:
    """Have the statements that follow given up at a second of the monotonic clock."""
    left = max(1.0, (until - monotonic()) * 1000)
    transaction.execute(f"SET LOCAL statement_timeout = {left:.0f}".encode())


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return key[0], key[1] or "", key[2] or ""


def _values(counts: Counts) -> dict[str, Any]:
    return {name: getattr(counts, name) for name in COUNTED}


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(**{name: getattr(one, name) + getattr(other, name) for name in COUNTED})


def _all(transaction: Transaction, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    of_one = "c.organization_id = %(organization)s" if values["organization"] is not None else "true"
    with transaction.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.format(of_one=of_one).encode(), values).fetchall()


def _states(*states: int) -> str:
    return ", ".join(str(int(each)) for each in states)


_PAID = f"(state IN ({_states(OrderState.NEW, OrderState.NOT_PAID, OrderState.PENDING_PAYMENT)})) IS NOT TRUE"
_OPEN = f"state IN ({_states(OrderState.PAID, OrderState.TO_BE_SHIPPED)}) AND date_shipping IS NULL"
_SOLD = f"state IN ({_states(OrderLineState.PAID, OrderLineState.ACCEPTED, OrderLineState.SHIPPED)})"
_CANCELLED = f"state IN ({_states(OrderLineState.CANCELLED, OrderLineState.REFUNDED_BEFORE_SHIPPING)})"
_REFUNDED = f"state = {_states(OrderLineState.REFUNDED_AFTER_SHIPPING)}"

_LINES_OF_ORDER = """
SELECT state, currency, price, quantity FROM backmarket.orderlines
WHERE organization_id = o.organization_id AND order_id = o.order_id AND removed_at IS NULL OFFSET 0
"""
_ORDER_OF_RETURN = """
SELECT country_code, currency FROM backmarket.orders
WHERE organization_id = o.organization_id AND order_id = o.order_id OFFSET 0
"""

_FROM = f"""
FROM backmarket.connections c JOIN backmarket.{{table}} o ON o.organization_id = c.organization_id {{joined}}
WHERE {{{{of_one}}}} AND o.removed_at IS NULL AND {created("o")} >= %(first)s AND {created("o")} < %(last)s
"""
"""Rows of the span. The join finds a short span of all organizations by the index of each."""

_PERIOD = "width_bucket(o.date_creation, %(bounds)s::timestamptz[]) AS period"

# OFFSET 0: PostgreSQL then takes the periods for few, and counts them in parallel, without sorting.
_ORDERS = f"""
SELECT period, country_code, currency,
    count(*) FILTER (WHERE {_PAID}) AS orders,
    count(*) FILTER (WHERE NOT ({_PAID})) AS not_paid,
    count(*) FILTER (WHERE {_PAID} AND date_shipping <= expected_dispatch_date) AS in_time,
    count(*) FILTER (WHERE {_PAID} AND date_shipping > expected_dispatch_date) AS late,
    count(*) FILTER (WHERE {_PAID} AND date_shipping IS NOT NULL AND expected_dispatch_date IS NULL) AS no_deadline,
    count(*) FILTER (WHERE {_OPEN} AND expected_dispatch_date < now()) AS overdue,
    count(*) FILTER (WHERE {_OPEN} AND (expected_dispatch_date < now()) IS NOT TRUE) AS waiting,
    COALESCE(extract(epoch FROM sum(date_shipping - date_creation) FILTER (WHERE {_PAID}))::bigint, 0)
        AS dispatch_seconds
FROM (
    SELECT {_PERIOD}, o.country_code, o.currency, o.state, o.date_creation, o.date_shipping, o.expected_dispatch_date
    {_FROM.format(table="orders", joined="")} OFFSET 0
) AS o
GROUP BY 1, 2, 3
"""

# The lines of each order are looked up by its key: with a join, PostgreSQL compared all with all where it had no
# statistics yet.
_LINES = f"""
SELECT period, country_code, currency,
    COALESCE(sum(COALESCE(quantity, 1)) FILTER (WHERE {_SOLD}), 0) AS units,
    COALESCE(sum(price) FILTER (WHERE {_SOLD}), 0) AS revenue,
    count(*) FILTER (WHERE {_CANCELLED}) AS cancelled_lines,
    COALESCE(sum(price) FILTER (WHERE {_CANCELLED}), 0) AS cancelled,
    count(*) FILTER (WHERE {_REFUNDED}) AS refunded_lines,
    COALESCE(sum(price) FILTER (WHERE {_REFUNDED}), 0) AS refunded
FROM (
    SELECT {_PERIOD}, o.country_code, COALESCE(l.currency, o.currency) AS currency, l.state, l.price, l.quantity
    {_FROM.format(table="orders", joined=f"CROSS JOIN LATERAL ({_LINES_OF_ORDER}) AS l")}
        AND {_PAID.replace("state", "o.state")} OFFSET 0
) AS l
GROUP BY 1, 2, 3
"""

_RETURNS = f"""
SELECT {_PERIOD}, s.country_code, s.currency, count(*) AS returns
{_FROM.format(table="returns", joined=f"LEFT JOIN LATERAL ({_ORDER_OF_RETURN}) AS s ON true")}
GROUP BY 1, 2, 3
"""

_SINCE = f"""
SELECT min(first.date_creation) AS known_since, now() AS now
FROM backmarket.connections c CROSS JOIN LATERAL (
    SELECT o.date_creation FROM backmarket.orders o
    WHERE o.organization_id = c.organization_id AND o.removed_at IS NULL AND {created("o")} > '-infinity'
    ORDER BY {created("o")} LIMIT 1
) AS first
WHERE {{of_one}}
"""

_INCOMPLETE = """
SELECT c.resource, count(*) FROM backmarket.sync_state c
WHERE {of_one} AND c.watermark IS NULL AND c.resource IN ('orders', 'listings', 'returns')
GROUP BY 1
"""
