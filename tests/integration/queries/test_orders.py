"""Queries of stored orders and lines: what a host application reads, and what that costs PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from backmarket import BackMarket, OrderLineState, OrderState
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import MAX_PAGE_SIZE
from backmarket.resources import ORDERS, parse_page
from backmarket.settings import Settings
from backmarket.sync.upsert import store
from tests.support.databases import empty

ORG = "auth0|1"
DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Books:
    """The stored orders of this test, put there as a sync does it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.bm = BackMarket(Settings(database_url=url))

    def keep(self, *orders: dict[str, Any], organization: str = ORG) -> None:
        """Store orders as the API shows them."""
        page = parse_page(ORDERS, json.dumps({"count": len(orders), "next": None, "results": orders}).encode())
        assert page.rejected == 0
        with self.database.transaction() as transaction:
            store(transaction, ORDERS, organization, page.rows)

    def found(self, organization: str = ORG, **where: Any) -> list[int]:
        """The ids of the orders that a query gives, in its order."""
        return [order.order_id for order in self.bm.get_orders(organization, **where)]

    def lines(self, **where: Any) -> list[int]:
        """The ids of the lines that a query gives, in its order."""
        return [line.orderline_id for line in self.bm.get_orderlines(ORG, **where)]

    def walk(self, limit: int, **where: Any) -> Iterator[list[int]]:
        """The ids on each page, from the first to the last."""
        cursor = None
        while True:
            page = self.bm.get_orders(ORG, limit=limit, cursor=cursor, **where)
            yield [order.order_id for order in page]
            cursor = page.next_cursor
            if cursor is None:
                return


@pytest.fixture
def database_url(shared_url: str) -> str:
    empty(shared_url)
    return shared_url


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books(database_url)
    yield books
    books.bm.close()
    books.database.close()


def order(number: int, *lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An order, created so many days after the first one."""
    created = (FIRST + number * DAY).isoformat()
    return {"order_id": number, "date_creation": created, "state": 1, "orderlines": lines} | fields


class TestFilters:
    @pytest.fixture(autouse=True)
    def _orders(self, books: Books) -> None:
        books.keep(
            order(1, {"id": 10, "listing": "iPhone-É 13/128"}, country_code="fr-fr"),
            order(2, {"id": 20, "listing": "other"}, state=3, country_code="de-de"),
            order(3, {"id": 30, "listing": "IPHONE-é 13/128"}, {"id": 31, "listing": "iphone-É 13/128"}, state=77),
            order(4, state=0, date_modification="2026-03-01T10:00:00+02:00"),
        )

    @pytest.mark.parametrize(
        ("where", "ids"),
        [
            ({}, [4, 3, 2, 1]),
            ({"state": OrderState.TO_BE_SHIPPED}, [2]),
            ({"state": 77}, [3]),
            ({"state": 0}, [4]),
            ({"state": 2**40}, []),
            ({"country_code": "de-de"}, [2]),
            ({"created_after": FIRST + 2 * DAY}, [4, 3, 2]),
            ({"created_before": FIRST + 2 * DAY}, [1]),
            ({"created_after": FIRST + 2 * DAY, "created_before": FIRST + 3 * DAY}, [2]),
            ({"modified_after": datetime(2026, 3, 1, 8, tzinfo=UTC)}, [4]),
            ({"modified_after": datetime(2026, 3, 1, 8, 0, 1, tzinfo=UTC)}, []),
            ({"sku": "iphone-é 13/128"}, [3, 1]),
            ({"sku": "iphone"}, []),
            ({"sku": "%"}, []),
            ({"sku": "OTHER", "state": 3, "country_code": "de-de"}, [2]),
            ({"sku": "other", "state": 1}, []),
        ],
        ids=str,
    )
    def test_each_filter_restricts_and_all_do_together(
        self, books: Books, where: dict[str, Any], ids: list[int]
    ) -> None:
        assert books.found(**where) == ids

    def test_a_time_is_a_moment_and_without_an_offset_counts_as_utc(self, database_url: str, books: Books) -> None:
        tokyo = timezone(timedelta(hours=9))
        assert books.found(created_after=(FIRST + 4 * DAY).astimezone(tokyo)) == [4]
        elsewhere = f"{database_url}&options=-c%20timezone%3DAsia/Tokyo"
        with BackMarket(Settings(database_url=elsewhere)) as bm:
            found = bm.get_orders(ORG, created_before=(FIRST + 4 * DAY).replace(tzinfo=None, hour=13), limit=1).items
        assert [each.order_id for each in found] == [4]
        assert found[0].date_creation == FIRST + 4 * DAY

    def test_orders_that_the_api_no_longer_knows_are_left_out_but_found_by_id(self, books: Books) -> None:
        with books.database.transaction() as transaction:
            transaction.execute("UPDATE backmarket.orders SET removed_at = now() WHERE order_id = 2")
            transaction.execute(
                "UPDATE backmarket.orderlines SET removed_at = now() WHERE orderline_id IN (20, 30, 31)"
            )
        assert books.found() == [4, 3, 1]
        assert books.found(sku="iphone-é 13/128") == [1]
        assert books.lines() == [10]
        gone = books.bm.get_order_by_id(ORG, 2)
        assert gone is not None
        assert gone.removed_at is not None

    def test_values_can_not_be_statements(self, books: Books) -> None:
        assert books.found(sku="'; DROP TABLE backmarket.orders; --", country_code="' OR 1=1 --") == []
        assert books.found(organization="' OR '1'='1") == []
        with pytest.raises(InvalidArgument):
            books.found(sku="a\x00b")


class TestNewestFirst:
    def test_the_newest_come_first_then_the_higher_id_and_those_without_a_date_last(self, books: Books) -> None:
        books.keep(order(5, date_creation=None), order(1), order(9, date_creation=None), order(3))
        books.keep(order(8, date_creation=(FIRST + DAY).isoformat()), order(0))
        assert books.found() == [3, 8, 1, 0, 9, 5]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 12, 13])
    def test_a_cursor_walks_through_everything_once(self, books: Books, limit: int) -> None:
        moment = (FIRST + timedelta(microseconds=123456)).isoformat()
        dates = [None, moment, (FIRST + DAY).isoformat()]
        books.keep(*(order(number, date_creation=dates[number % 3]) for number in range(12)))
        pages = list(books.walk(limit))
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert [key for page in pages for key in page] == [11, 8, 5, 2, 10, 7, 4, 1, 9, 6, 3, 0]

    def test_a_cursor_keeps_its_place_when_rows_come_meanwhile(self, books: Books) -> None:
        books.keep(*(order(number) for number in range(10, 20)))
        seen: list[int] = []
        for number, page in enumerate(books.walk(3)):
            seen += page
            books.keep(order(100 + number), order(number), order(15, date_modification=FIRST.isoformat()))
        assert [key for key in seen if 10 <= key < 20] == list(range(19, 9, -1)), "each of the old ones once"
        assert len(set(seen)) == len(seen)
        assert not any(key >= 100 for key in seen), "what is newer than the cursor's place is not shown"

    def test_a_cursor_goes_on_under_a_filter(self, books: Books) -> None:
        books.keep(*(order(number, {"id": number, "listing": "A" if number % 2 else "B"}) for number in range(9)))
        assert list(books.walk(2, sku="a", created_after=FIRST + 2 * DAY)) == [[7, 5], [3]]

    def test_the_last_page_says_so(self, books: Books) -> None:
        assert books.bm.get_orders(ORG).next_cursor is None
        books.keep(order(1), order(2))
        assert books.bm.get_orders(ORG, limit=2).next_cursor is None
        assert books.bm.get_orders(ORG, limit=1).next_cursor is not None

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE_SIZE + 1])
    def test_a_limit_that_can_not_be_is_refused(self, books: Books, limit: int) -> None:
        with pytest.raises(InvalidArgument, match="limit must be 1 to 1000"):
            books.found(limit=limit)
        with pytest.raises(InvalidArgument, match="limit must be 1 to 1000"):
            books.lines(limit=limit)

    @pytest.mark.parametrize(
        "text",
        ["", "x", "bm90IGpzb24=", "é", "[1, 2]", '["-infinity"]', '["-infinity", 1, 2]', '["-infinity", "1"]',
         '["-infinity", 1.5]', '["-infinity", Infinity]', '["-infinity", null]', '[null, 1]', '["yesterday", 1]',
         '["2026-W01-1", 1]', '{"a": 1, "b": 2}', "[" * 9000, '"ab"'],
        ids=lambda text: text[:12],
    )  # fmt: skip
    def test_a_cursor_that_no_query_gave_is_refused(self, books: Books, text: str) -> None:
        for cursor in (text, base64.urlsafe_b64encode(text.encode()).decode()):
            with pytest.raises(InvalidArgument):
                books.found(cursor=cursor)


class TestWhatComesBack:
    def test_organizations_never_see_each_other_s_rows(self, books: Books) -> None:
        books.keep(order(1, {"id": 10, "listing": "A"}), order(2))
        books.keep(order(1, {"id": 10, "listing": "B"}, state=9), order(3), organization="another")
        assert (books.found(), books.found("another")) == ([2, 1], [3, 1])
        assert (books.found(sku="b"), books.found("another", sku="b")) == ([], [1])
        assert (books.found(state=9), books.bm.get_order_by_id(ORG, 3)) == ([], None)
        mine, theirs = books.bm.get_orderline_by_id(ORG, 10), books.bm.get_orderline_by_id("another", 10)
        assert mine is not None
        assert theirs is not None
        assert (mine.listing, theirs.listing) == ("A", "B")
        cursor = books.bm.get_orders("another", limit=1).next_cursor
        assert books.found(cursor=cursor) == [2, 1], "a cursor of another organization shows nothing of it"

    def test_money_is_exact(self, books: Books) -> None:
        amounts = {"price": "12345678901234567.89", "shipping_price": "0.10", "sales_taxes": "-0.005"}
        line = {"id": 10, "price": "0.1", "orderline_fee": "12.30", "backcare_price": 1250}
        books.keep(order(1, line, **amounts))
        (stored,) = books.bm.get_orders(ORG)
        assert (stored.price, stored.shipping_price) == (Decimal("12345678901234567.89"), Decimal("0.10"))
        assert stored.sales_taxes == Decimal("-0.005")
        (kept,) = books.bm.get_orderlines(ORG)
        assert (kept.price, str(kept.orderline_fee), kept.backcare_price) == (Decimal("0.1"), "12.30", 1250)

    def test_known_states_are_named_and_unknown_ones_kept(self, books: Books) -> None:
        books.keep(
            *(order(state, {"id": state, "state": state}, state=state) for state in range(13)), order(99, state=None)
        )
        states = {each.order_id: each.state for each in books.bm.get_orders(ORG)}
        assert {key for key, state in states.items() if isinstance(state, OrderState)} == set(OrderState)
        assert all(state == (None if key == 99 else key) for key, state in states.items())
        line_states = [line.state for line in books.bm.get_orderlines(ORG)]
        assert {state for state in line_states if isinstance(state, OrderLineState)} == set(OrderLineState)
        assert {state for state in line_states if not isinstance(state, OrderLineState)} == {10, 11, 12}

    def test_no_repr_shows_personal_data(self, books: Books) -> None:
        person = {"first_name": "Victor", "last_name": "Hugo", "street": "6 place des Vosges", "phone": "+33639981234"}
        line = {"id": 10, "imei": "356938035643809", "serial_number": "C39XXXX", "return_message": "Victor was unhappy"}
        marks = {
            "tracking_number": "TRACK123",
            "tracking_url": "https://post.example/TRACK123",
            "delivery_note": "Hugo's",
        }
        books.keep(order(1, line, shipping_address=person, billing_address=person, **marks))
        page = books.bm.get_orders(ORG)
        assert page.items[0].shipping_address == person, "it is there"
        assert books.bm.get_orderlines(ORG).items[0].imei == "356938035643809"
        shown = repr((page, page.items, books.bm.get_orderlines(ORG), str(page)))
        secrets = [*person.values(), *marks.values(), line["imei"], line["serial_number"], line["return_message"]]
        assert [secret for secret in secrets if str(secret) in shown] == []

    def test_the_api_s_own_object_comes_along(self, books: Books) -> None:
        came = order(1, {"id": 10, "novel": None}, novel={"a": [1, 2]})
        books.keep(came)
        assert books.bm.get_orders(ORG).items[0].raw == json.loads(json.dumps(came))
        assert books.bm.get_orderlines(ORG).items[0].raw == {"id": 10, "novel": None}


class TestOrderLines:
    @pytest.fixture(autouse=True)
    def _lines(self, books: Books) -> None:
        sku = "s" * 250
        books.keep(
            order(1, {"id": 10, "listing": "Ab", "state": 2}, {"id": 11, "listing": sku + "1", "state": 3}),
            order(2, {"id": 20, "listing": "aB", "state": 88}, {"id": 21, "listing": sku + "2"}, {"id": 22}),
        )
        books.keep(order(1, {"id": 10, "listing": "ab"}), organization="another")

    @pytest.mark.parametrize(
        ("where", "ids"),
        [
            ({}, [22, 21, 20, 11, 10]),
            ({"order_id": 1}, [11, 10]),
            ({"order_id": 7}, []),
            ({"sku": "AB"}, [20, 10]),
            ({"sku": "S" * 250 + "2"}, [21]),
            ({"sku": "s" * 250}, []),
            ({"state": OrderLineState.ACCEPTED}, [10]),
            ({"state": 88}, [20]),
            ({"order_id": 2, "sku": "ab"}, [20]),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_lines_are_found_by_order_sku_and_state(self, books: Books, where: dict[str, Any], ids: list[int]) -> None:
        assert books.lines(**where) == ids

    def test_the_short_ways_are_the_same(self, books: Books) -> None:
        assert [line.orderline_id for line in books.bm.get_orderlines_by_listing(ORG, "ab")] == [20, 10]
        assert [line.orderline_id for line in books.bm.get_orderlines_by_state(ORG, 88)] == [20]
        found = books.bm.get_orderline_by_id(ORG, 10)
        assert found is not None
        assert (found.order_id, found.state) == (1, OrderLineState.ACCEPTED)
        assert books.bm.get_orderline_by_id(ORG, 99) is None

    def test_a_cursor_walks_through_all_lines_once(self, books: Books) -> None:
        seen, cursor = [], None
        while True:
            page = books.bm.get_orderlines(ORG, limit=2, cursor=cursor)
            seen += [line.orderline_id for line in page]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [22, 21, 20, 11, 10]

    def test_a_cursor_of_another_list_is_refused(self, books: Books) -> None:
        books.keep(order(1), order(2))
        cursor = base64.urlsafe_b64encode(b'["-infinity", "da72cf47-1b1f-434a-9224-1f8684ac1bd4"]').decode()
        for query in (books.bm.get_orders, books.bm.get_orderlines):
            with pytest.raises(InvalidArgument, match="next_cursor"):
                query(ORG, cursor=cursor)


def test_a_list_with_a_range_of_dates_shows_no_order_without_one(books: Books) -> None:
    books.keep(order(1), order(2, date_creation=None), order(3))
    assert books.found(created_before=FIRST + 9 * DAY) == [3, 1]
    assert books.found(created_after=FIRST - 9 * DAY) == [3, 1]
