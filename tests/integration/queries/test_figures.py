"""Figures: what is counted, where it belongs, and what is said not to be known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.facade.figures_csv import HEADER, write_csv
from backmarket.queries import figures as counting
from backmarket.queries.figures import Counts, Figures
from backmarket.resources import LISTINGS, ORDERS, RETURNS, Resource, parse_page
from backmarket.settings import Settings
from backmarket.sync.upsert import store
from tests.support.databases import empty

ORG, OTHER = "auth0|1", "auth0|2"
DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)
PAST, FUTURE = "2026-03-12T00:00:00Z", "2999-01-01T00:00:00Z"


class Books:
    """Two organizations whose rows are stored as a sync does it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.bm = BackMarket(Settings(database_url=url))
        self.execute(
            "INSERT INTO backmarket.connections (organization_id, environment, region, locale)"
            f" VALUES ('{ORG}', 'production', 'EU', 'fr-fr'), ('{OTHER}', 'production', 'EU', 'de-de')"
        )
        self.execute(
            "INSERT INTO backmarket.sync_state (organization_id, resource, watermark)"
            " SELECT organization_id, resource, now() FROM backmarket.connections CROSS JOIN backmarket.schedule"
        )

    def execute(self, statement: str, *values: Any) -> None:
        with self.database.transaction() as transaction:
            transaction.execute(statement.encode(), values)

    def keep(self, resource: Resource, *rows: dict[str, Any], organization: str = ORG) -> None:
        page = parse_page(resource, json.dumps({"count": len(rows), "next": None, "results": rows}).encode())
        assert page.rejected == 0
        with self.database.transaction() as transaction:
            store(transaction, resource, organization, page.rows)

    def counted(self, organization: str | None = ORG, **changes: Any) -> Figures:
        asked: dict[str, Any] = {"span": "week", "until": date(2026, 3, 12)}
        return self.bm.get_figures(organization, **asked | changes)

    def total(self, organization: str | None = ORG, **asked: Any) -> Counts:
        return self.counted(organization, **asked).total(currency="EUR")


@pytest.fixture
def books(shared_url: str) -> Iterator[Books]:
    empty(shared_url)
    books = Books(shared_url)
    yield books
    books.bm.close()
    books.database.close()


def line(number: int, state: int | None = 3, **fields: Any) -> dict[str, Any]:
    return {"id": number, "state": state, "price": "100.10", "currency": "EUR", "listing": f"SKU-{number}"} | fields


def order(number: int, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    shown = {"order_id": number, "date_creation": DAY.isoformat(), "state": 9, "currency": "EUR"}
    return shown | {"country_code": "fr-fr", "orderlines": lines or [line(number)]} | fields


EUR = Decimal("100.10")


@pytest.mark.parametrize(
    ("state", "line_state", "expected"),
    [
        (1, 1, {"orders": 1, "units": 1, "revenue": EUR, "waiting": 1}),
        (3, 2, {"orders": 1, "units": 1, "revenue": EUR, "waiting": 1}),
        (9, 3, {"orders": 1, "units": 1, "revenue": EUR}),
        (9, 4, {"orders": 1, "cancelled_lines": 1, "cancelled": EUR}),
        (9, 5, {"orders": 1, "cancelled_lines": 1, "cancelled": EUR}),
        (9, 6, {"orders": 1, "refunded_lines": 1, "refunded": EUR}),
        (1, 9, {"orders": 1, "waiting": 1}),
        (9, 7, {"orders": 1}),
        (9, None, {"orders": 1}),
        (77, 88, {"orders": 1}),
        (None, 3, {"orders": 1, "units": 1, "revenue": EUR}),
        (0, 0, {"not_paid": 1}),
        (8, 7, {"not_paid": 1}),
        (10, 8, {"not_paid": 1}),
        (10, 3, {"not_paid": 1}),
    ],
)
def test_an_order_counts_by_its_state_and_its_lines_by_theirs(
    books: Books, state: int | None, line_state: int | None, expected: dict[str, Any]
) -> None:
    books.keep(ORDERS, order(1, line(10, line_state), state=state))
    assert books.total() == Counts(**expected)


@pytest.mark.parametrize(
    ("state", "shipped", "deadline", "expected"),
    [
        (9, "2026-03-11T12:00:00Z", PAST, {"in_time": 1, "dispatch_seconds": 86400}),
        (9, PAST, PAST, {"in_time": 1, "dispatch_seconds": 129600}),
        (9, "2026-03-12T12:00:00Z", PAST, {"late": 1, "dispatch_seconds": 172800}),
        (9, "2026-03-12T12:00:00Z", None, {"no_deadline": 1, "dispatch_seconds": 172800}),
        (3, None, PAST, {"overdue": 1}),
        (3, None, FUTURE, {"waiting": 1}),
        (3, None, None, {"waiting": 1}),
        (9, None, PAST, {}),
    ],
)
def test_dispatch_is_held_against_the_deadline(
    books: Books, state: int, shipped: str | None, deadline: str | None, expected: dict[str, Any]
) -> None:
    books.keep(ORDERS, order(1, line(10, None), state=state, date_shipping=shipped, expected_dispatch_date=deadline))
    assert books.total() == Counts(orders=1, **expected)


def test_the_deadline_of_an_order_outlives_its_dispatch(books: Books) -> None:
    books.keep(ORDERS, order(1, state=3, expected_dispatch_date=FUTURE))
    books.keep(ORDERS, order(1, state=9, date_shipping=PAST))
    assert books.total().in_time == 1
    books.keep(ORDERS, order(1, state=9, date_shipping=PAST, expected_dispatch_date=DAY.isoformat()))
    assert books.total().late == 1, "another deadline that is named counts"


def test_money_of_two_currencies_is_not_added(books: Books) -> None:
    sterling = {"country_code": "en-gb", "currency": "GBP"}
    books.keep(ORDERS, order(1, line(10, quantity=3)), order(2, line(20, currency="GBP", price="7.00"), **sterling))
    found = books.counted()
    assert found.total() == Counts(orders=2, units=4)
    assert found.total(currency="EUR").revenue == EUR
    assert found.total(country_code="en-gb", currency="GBP") == Counts(orders=1, units=1, revenue=Decimal(7))
    assert (found.currencies, found.markets) == (["EUR", "GBP"], ["en-gb", "fr-fr"])


def test_a_return_counts_on_its_own_day_in_the_market_of_its_order(books: Books) -> None:
    books.keep(ORDERS, order(1, date_creation="2025-01-01T00:00:00Z"))
    shown = {"dateCreation": DAY.isoformat()}
    books.keep(
        RETURNS, {"shipmentId": 1, "orderId": 1} | shown, {"shipmentId": 2, "orderId": 9} | shown, {"shipmentId": 3}
    )
    found = books.counted()
    assert found.total().returns == 2
    assert found.total(country_code="fr-fr").returns == 1
    assert [each.first_day for each in found.periods if found.total(each).returns] == [DAY.date()]


def test_days_are_those_of_the_time_zone(books: Books) -> None:
    books.keep(ORDERS, order(1, date_creation="2026-03-10T23:30:00Z"), order(2, date_creation="2026-03-10T22:30:00Z"))

    def days(zone: str) -> dict[int, int]:
        found = books.counted(time_zone=zone)
        return {each.first_day.day: found.total(each).orders for each in found.periods if found.total(each).orders}

    assert days("UTC") == {10: 2}
    assert days("Europe/Paris") == {10: 1, 11: 1}
    assert days("Pacific/Auckland") == {11: 2}
    assert books.counted(span="day", until=date(2026, 3, 10), time_zone="UTC").periods[23].starts_at.hour == 23


def test_rows_that_are_gone_and_those_of_other_spans_are_left_out(books: Books) -> None:
    books.keep(ORDERS, order(1, line(10), line(11)), order(2), order(3, date_creation=None))
    books.keep(ORDERS, order(4, date_creation="2026-03-13T00:00:00Z"), order(5, date_creation="2026-03-05T23:59:59Z"))
    books.execute("UPDATE backmarket.orders SET removed_at = now() WHERE order_id = 2")
    books.execute("UPDATE backmarket.orderlines SET removed_at = now() WHERE orderline_id = 11")
    assert books.total() == Counts(orders=1, units=1, revenue=EUR)


def test_one_organization_or_all(books: Books) -> None:
    books.keep(ORDERS, order(1))
    books.keep(ORDERS, order(1), order(2), organization=OTHER)
    assert [books.total(each).orders for each in (ORG, OTHER, None, "nobody")] == [1, 2, 3, 0]


def test_what_was_before_the_oldest_order_is_not_known_and_a_day_without_orders_is_zero(books: Books) -> None:
    books.keep(ORDERS, order(1), order(2, date_creation="2026-03-12T01:00:00Z"))
    found = books.counted()
    assert found.known_since == DAY
    known = {each.first_day.day: found.total(each).orders for each in found.periods if found.is_known(each)}
    assert known == {10: 1, 11: 0, 12: 1}
    assert found.incomplete == {}


def test_without_an_order_all_is_zero_once_the_orders_were_copied_completely(books: Books) -> None:
    found = books.counted()
    assert all(found.is_known(each) for each in found.periods)
    books.execute("UPDATE backmarket.sync_state SET watermark = NULL WHERE resource IN ('orders', 'deliveries')")
    found = books.counted()
    assert not any(found.is_known(each) for each in found.periods)
    assert (found.incomplete, books.counted(None).incomplete) == ({"orders": 1}, {"orders": 2})


def test_what_is_to_come_is_not_known(books: Books) -> None:
    books.keep(ORDERS, order(1))
    found = books.counted(until=datetime.now(UTC).date() + timedelta(days=3))
    assert [found.is_known(each) for each in found.periods] == [True] * 4 + [False] * 3


def listing(quantity: int, sku: str = "SKU-10", number: int = 1) -> dict[str, Any]:
    return {"id": f"00000000-0000-0000-0000-{number:012}", "sku": sku, "title": "iPhone", "quantity": quantity}


def test_skus_are_those_sold_most_then_those_with_most_stock(books: Books) -> None:
    books.keep(ORDERS, order(1, line(10, quantity=2), line(11, 4)), order(2, line(12, listing="sku-10")))
    books.keep(ORDERS, order(3, line(13, listing="Gone")))
    books.keep(LISTINGS, listing(3), listing(8, "Unsold", 2), listing(9, "Full", 3))
    found = [(each.sku, each.units, each.quantity) for each in books.counted().skus]
    assert found == [("SKU-10", 3, 3), ("Gone", 1, None), ("Full", 0, 9), ("Unsold", 0, 8)]
    assert [each.sku for each in books.counted(sku="unSold").skus] == ["Unsold"]
    assert books.counted(None).skus == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], [7, 7, 7, 7]),
        ([(1, "updated", [5, 7])], [5, 5, 7, 7]),
        ([(2, "updated", [4, 5]), (1, "updated", [5, 7])], [4, 5, 7, 7]),
        ([(2, "created", None)], [0, 7, 7, 7]),
        ([(2, "initial", None)], [None, 7, 7, 7]),
        ([(2, "updated", None)], [None, 7, 7, 7]),
        ([(2, "price", None)], [7, 7, 7, 7]),
        ([(2, "removed", None), (1, "created", None)], [None, 0, 7, 7]),
    ],
)
def test_the_stock_of_the_past_follows_from_the_change_feed(
    books: Books, events: list[tuple[int, str, list[int] | None]], expected: list[int | None]
) -> None:
    books.keep(LISTINGS, listing(7))
    books.execute("DELETE FROM backmarket.changes")
    books.execute("UPDATE backmarket.listings SET first_seen_at = now() - interval '20 days'")
    for days, kind, told in events:
        books.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields, initial,"
            " field_values, recorded_at)"
            " VALUES (%s, 'listings', %s, %s, %s, %s, %s, now() - make_interval(days => %s))",
            ORG, listing(7)["id"], {"initial": "created", "price": "updated"}.get(kind, kind),
            ["quantity"] if kind == "updated" else ["price"], kind == "initial",
            json.dumps({"quantity": told}) if told else None, days,
        )  # fmt: skip
    books.execute(  # a further market says nothing of the stock
        "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, market, recorded_at)"
        " VALUES (%s, 'listings', %s, 'removed', 'de-de', now() - interval '1 day')", ORG, listing(7)["id"],
    )  # fmt: skip
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    (sku,) = books.counted(until=tomorrow).skus
    assert sku.stock[2:] == [*expected, None], "three days ago to today, and tomorrow"


def test_stock_is_not_known_before_the_listing_was_first_seen_or_the_feed_begins(books: Books) -> None:
    books.keep(LISTINGS, listing(7))
    books.execute("DELETE FROM backmarket.changes")
    books.execute("UPDATE backmarket.listings SET first_seen_at = now() - interval '2 days 1 minute'")
    (sku,) = books.counted(until=None).skus
    assert [each is not None for each in sku.stock] == [False] * 4 + [True] * 3
    assert books.counted(until=date(2020, 1, 1)).skus[0].stock == [None] * 7


def test_the_file_has_a_row_for_each_period_market_and_currency(books: Books) -> None:
    books.keep(ORDERS, order(1), order(2, line(20, currency="=1+1", price="5.00"), currency="=1+1"))
    books.keep(ORDERS, order(3, date_creation="2026-03-12T00:00:00Z"))
    file = io.BytesIO()
    write_csv(file, books.counted())
    header, *rows = csv.reader(io.StringIO(file.getvalue().decode()), delimiter=";")
    assert tuple(header) == HEADER
    assert [[*row[:5], row[7]] for row in rows] == [
        ["2026-03-10T00:00:00+00:00", "2026-03-11T00:00:00+00:00", "fr-fr", "'=1+1", "1", "5.00"],
        ["2026-03-10T00:00:00+00:00", "2026-03-11T00:00:00+00:00", "fr-fr", "EUR", "1", "100.10"],
        ["2026-03-11T00:00:00+00:00", "2026-03-12T00:00:00+00:00", "", "", "0", "0"],
        ["2026-03-12T00:00:00+00:00", "2026-03-13T00:00:00+00:00", "fr-fr", "EUR", "1", "100.10"],
    ]


def test_too_much_to_count_is_said(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_SECONDS", 0.01)
    monkeypatch.setattr(counting, "_ORDERS", "SELECT 1 FROM pg_sleep(300) WHERE {of_one}")
    with pytest.raises(InvalidArgument, match="Choose a shorter span, or one organization"):
        books.counted(None)
