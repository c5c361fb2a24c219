"""Answers become rows: strictly where they are as documented, leniently where not, and no row harms another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backmarket.errors import BrokenAnswer, InvalidArgument
from backmarket.resources import (
    LISTINGS,
    ORDERS,
    Column,
    Page,
    Row,
    as_in,
    listings_in,
    parse_object,
    parse_page,
    resource_in,
)
from backmarket.resources.orders import ORDERLINES
from tests.support.examples import examples

quickly = settings(deadline=None, max_examples=examples(150))

LINE = {
    "id": 11, "state": 1, "date_creation": "2026-05-01T10:00:00Z", "price": "199.90", "shipping_price": "0.00",
    "shipping_delay": 48, "currency": "EUR", "return_reason": 0, "return_message": None, "listing": "SKU-1",
    "listing_id": 5, "orderline_fee": "19.99", "product": "Phone", "quantity": 1, "brand": "B", "product_id": 7,
    "backcare": False, "backcare_price": 999, "sales_taxes": "1.00", "imei": "35", "serial_number": "S", "condition": 2,
    "shipper": "UPS",
}  # fmt: skip
ORDER = {
    "order_id": 1, "state": 1, "country_code": "fr-fr", "date_creation": "2026-05-01T10:00:00Z",
    "date_modification": "2026-05-02T10:00:00+02:00", "date_shipping": None, "date_payment": "2026-05-01T10:00:01",
    "expected_dispatch_date": "2026-05-03T00:00:00.123456Z", "tracking_number": "T", "tracking_url": "https://t",
    "shipper_display": "S", "is_backship": True, "delivery_note": "https://n", "price": "199.90",
    "shipping_price": "0.00", "currency": "EUR", "payment_method": "CARD", "sales_taxes": "0.00",
    "shipping_address": {"city": "Paris"}, "billing_address": {"city": "Lyon"}, "shipper": "UPS",
    "psp_reference": "P1", "paypal_reference": "P2", "orderlines": [LINE],
}  # fmt: skip

HAZARD = ', "later": "\\u0000"}'
"""At the end of an object: valid JSON, and reason enough to read the row leniently."""


def page(*rows: str) -> Page:
    """A page of rows, each as JSON text."""
    return parse_page(ORDERS, f'{{"count": {len(rows)}, "next": null, "results": [{", ".join(rows)}]}}'.encode())


def one(text: str) -> Row:
    """The only row of a page."""
    (row,) = page(text).rows
    return row


def order(**fields: Any) -> str:
    """A row with an id, as JSON text, spaced as our own writer never spaces it."""
    return json.dumps({"order_id": 7, **fields}, ensure_ascii=False, separators=(" , ", " : "))


def leniently(text: str) -> str:
    return text[:-1] + HAZARD


def read_strictly(row: Row, text: str) -> bool:
    """Whether a row kept its very bytes; what is read leniently is written anew."""
    return row.raw == text


def value(row: Row, column: str) -> Any:
    return row.values[ORDERS.positions[column]]


def line_value(row: Row, column: str, index: int = 0) -> Any:
    names = [each.name for each in ORDERLINES.sent]
    return row.lines[index][0][names.index(column)]


BOTH = pytest.mark.parametrize("way", [str, leniently], ids=["strict", "lenient"])
Way = Callable[[str], str]


class TestDocumented:
    """Every documented type, both ways."""

    @BOTH
    def test_every_column_has_the_value_that_came(self, way: Way) -> None:
        row = one(way(json.dumps(ORDER)))
        sent = {column.source: read for column, read in zip(ORDERS.sent, row.values, strict=True)}
        assert sent == {name: ORDER[name] for name in sent}
        assert set(ORDER) - set(sent) == {"shipping_address", "billing_address", "orderlines"}

    @BOTH
    def test_every_column_of_a_line_has_the_value_that_came(self, way: Way) -> None:
        ((line, raw),) = one(way(json.dumps(ORDER))).lines
        assert {column.source: read for column, read in zip(ORDERLINES.sent, line, strict=True)} == LINE
        assert json.loads(raw) == LINE

    @BOTH
    @pytest.mark.parametrize(
        ("column", "sent"),
        [
            ("state", 3),
            ("country_code", "fr-fr"),
            ("is_backship", True),
            ("price", "229.00"),
            ("price", "0.1000"),
            ("price", "-99999999999999999999.12345678901234567890"),
            ("tracking_url", "https://carrier.example/é?a=1"),
            ("delivery_note", ""),
            ("date_creation", "2026-01-31T23:59:59.123456+02:00"),
            ("date_creation", "2026-01-31T23:59:59.123Z"),
            ("date_creation", "2026-01-31T23:59:59Z"),
            ("date_creation", "2026-01-31T23:59:59"),
            ("date_creation", "2024-02-28T00:00:00-05:30"),
        ],
    )
    def test_a_value_is_kept_exactly(self, way: Way, column: str, sent: object) -> None:
        assert value(one(way(order(**{column: sent}))), column) == sent

    @BOTH
    def test_null_and_missing_are_null(self, way: Way) -> None:
        null = one(way(order(**{column.source: None for column in ORDERS.columns}, orderlines=None)))
        missing = one(way(order()))
        assert null.values == missing.values == (7, *[None] * (len(ORDERS.sent) - 1))
        assert null.lines == missing.lines == []

    @BOTH
    def test_unknown_fields_and_states_are_kept(self, way: Way) -> None:
        row = one(way(order(state=4711, hue={"deep": [1, None]}, orderlines=[{"id": 1, "state": 99, "new": "yes"}])))
        assert (value(row, "state"), line_value(row, "state")) == (4711, 99)
        raw = json.loads(row.raw)
        assert raw["hue"] == {"deep": [1, None]}
        assert raw["orderlines"] == [{"id": 1, "state": 99, "new": "yes"}] == [json.loads(row.lines[0][1])]

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-03-01T10:00:00.123456Z", datetime(2026, 3, 1, 10, 0, 0, 123456, UTC)),
            ("2026-03-01T10:00:00.120+02:00", datetime(2026, 3, 1, 10, 0, 0, 120000, timezone(timedelta(hours=2)))),
            ("2026-03-01T10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
            ("2026-03-01T10:00:00.1234567Z", datetime(2026, 3, 1, 10, 0, 0, 123456, UTC)),
            ("  2026-03-01 10:00:00+00:00 ", datetime(2026, 3, 1, 10, tzinfo=UTC)),
            ("20260301T100000Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
            ("2024-02-29T23:00:00-01:00", datetime(2024, 3, 1, tzinfo=UTC)),
        ],
    )
    def test_a_row_knows_when_it_appeared_and_changed(self, text: str, moment: datetime) -> None:
        row = one(order(date_creation=text, date_modification=text))
        assert (row.created, row.modified) == (moment, moment)
        sent = datetime.fromisoformat(value(row, "date_creation"))
        assert (sent if sent.tzinfo else sent.replace(tzinfo=UTC)) == moment

    def test_what_is_as_documented_keeps_its_bytes(self) -> None:
        text = order(price="1.00", orderlines=[{"id": 2, "price": "1.00"}], note="é\\u00e9")
        row = one(text)
        assert read_strictly(row, text)
        assert row.lines[0][1] in text
        deep = f'{{"order_id": 7, "later": {"[" * 300}{"]" * 300}, "number": {"9" * 5000}}}'
        assert read_strictly(one(deep), deep)


class TestUndocumented:
    """Of a value that has another type, whatever can be read is read, and the rest is null."""

    @pytest.mark.parametrize(
        ("column", "sent", "read"),
        [
            ("state", '"3"', 3),
            ("state", '" -3 "', -3),
            ("state", "3.0", 3),
            ("state", "3e0", 3),
            ("state", "3.5", None),
            ("state", "true", None),
            ("state", "[3]", None),
            ("state", '"three"', None),
            ("state", "2147483648", None),
            ("state", "1e99999", None),
            ("state", "9" * 5000, None),
            ("price", "229.10", "229.10"),
            ("price", "229", 229),
            ("price", "1.23e2", "123"),
            ("price", "0.00001", "0.00001"),
            ("price", "12345678901234567.89", "12345678901234567.89"),
            ("price", '" 229.00 "', "229.00"),
            ("price", '"229.00\\n"', "229.00"),
            ("price", '"229,00"', None),
            ("price", '"1\\n2"', None),
            ("price", '"1\\u00002"', None),
            ("price", '"٢٢٩"', None),
            ("price", "false", None),
            ("price", "1e999", None),
            ("price", "1e99999999999999999999", None),
            ("price", "NaN", None),
            ("price", "-Infinity", None),
            ("price", '"NaN"', None),
            ("is_backship", "1", True),
            ("is_backship", '"False"', False),
            ("is_backship", '"maybe"', None),
            ("is_backship", "{}", None),
            ("currency", "978", "978"),
            ("currency", "1.50", "1.50"),
            ("currency", "true", None),
            ("currency", '["EUR"]', None),
            ("date_payment", "1700000000", None),
            ("date_payment", '"soon"', None),
            ("date_payment", '""', None),
            ("date_payment", '"2026-01-01T00:00:00Z\\u00002026-01-01T00:00:00Z"', None),
            ("date_payment", '"2026-02-29T00:00:00Z"', None),
            ("date_payment", '"2026-04-31T00:00:00Z"', None),
            ("date_payment", '"2026-13-01T00:00:00Z"', None),
            ("date_payment", '"2026-01-01T25:00:00Z"', None),
            ("date_payment", '"0000-00-00T00:00:00"', None),
            ("date_payment", '"0001-01-01T00:00:00+02:00"', None),
            ("date_payment", '"9999-12-31T23:59:59-05:00"', None),
            ("date_payment", '"2026-01-01T00:00:00+19:00"', "2025-12-31T05:00:00+00:00"),
            ("date_payment", '"2026-01-01"', "2026-01-01T00:00:00+00:00"),
        ],
    )
    def test_a_value_of_another_type(self, column: str, sent: str, read: object) -> None:
        odd = f'{{"order_id": 7, "{column}": {sent}, "payment_method": "CARD"}}'
        found = page('{"order_id": 6}', odd, '{"order_id": 8}')
        assert [row.key for row in found.rows] == [6, 7, 8]
        row = found.rows[1]
        assert value(row, column) == read
        assert value(row, "payment_method") == "CARD", "what stands beside it is read"
        json.loads(row.raw)

    def test_those_beside_it_are_read_strictly(self) -> None:
        documented = ['{"order_id": 6}', '{"order_id": 8}']
        for odd in ('"price": "229,00"', '"date_payment": "soon"', '"orderlines": [{"id": 1, "price": "2,00"}]'):
            found = page(documented[0], f'{{"order_id": 7, {odd}}}', documented[1])
            assert [row.raw for row in found.rows[::2]] == documented

    @pytest.mark.parametrize(("sent", "key"), [('"12"', 12), ("12.0", 12), ('" 12 "', 12)])
    def test_an_id_may_come_as_text(self, sent: str, key: int) -> None:
        assert one(f'{{"order_id": {sent}}}').key == key

    @pytest.mark.parametrize(
        "row",
        [
            "{}",
            "null",
            "[]",
            '"7"',
            "7",
            '{"order_id": null}',
            '{"order_id": true}',
            '{"order_id": "seven"}',
            '{"order_id": 7.5}',
            '{"order_id": 9223372036854775808}',
            f'{{"order_id": {"7" * 5000}}}',
        ],
        ids=lambda text: text[:30],
    )
    def test_what_has_no_usable_id_is_counted_and_its_neighbours_are_kept(self, row: str) -> None:
        found = page('{"order_id": 1}', row, '{"order_id": 2}')
        assert [each.key for each in found.rows] == [1, 2]
        assert (found.rejected, found.size, found.count) == (1, 3, 3)

    @pytest.mark.parametrize("depth", [600, 5_000, 100_000])
    def test_what_is_too_deep_is_null_and_the_rest_is_kept(self, depth: int) -> None:
        deep = f'{"[" * depth}"]}} \\" {{["{"]" * depth}'
        found = page('{"order_id": 1}', f'{{"order_id": 7, "state": {deep}, "price": "1.00"}}', '{"order_id": 2}')
        assert [row.key for row in found.rows] == [1, 7, 2]
        row = found.rows[1]
        assert (value(row, "state"), value(row, "price"), found.rejected) == (None, "1.00", 0)
        assert json.loads(row.raw)["price"] == "1.00"

    def test_the_same_key_twice_means_the_last_as_in_postgresql(self) -> None:
        strict = one('{"order_id": 1, "state": 1, "order_id": 2, "state": 3}')
        lenient = one('{"order_id": 1, "state": 1, "order_id": 2, "state": "3"}')
        assert (strict.key, value(strict, "state")) == (lenient.key, value(lenient, "state")) == (2, 3)

    @pytest.mark.parametrize("sent", ["\\u0000", "\\ud800", "\\udfff", "\\ud800\\ud800", "\x00"])
    def test_what_postgresql_cannot_hold_is_replaced(self, sent: str) -> None:
        row = one(f'{{"order_id": 7, "currency": "a{sent}b", "a{sent}": ["{sent}"]}}')
        blank = "\ufffd" * len(json.loads(f'"{sent}"', strict=False))
        assert value(row, "currency") == f"a{blank}b"
        assert json.loads(row.raw) == {"order_id": 7, "currency": f"a{blank}b", f"a{blank}": [blank]}

    def test_escaped_pairs_and_backslashes_are_no_surrogates(self) -> None:
        row = one('{"order_id": 7, "currency": "\\ud83d\\ude00 \\\\u0000"}')
        assert value(row, "currency") == "😀 \\u0000"
        assert json.loads(row.raw)["currency"] == "😀 \\u0000"

    def test_a_hazard_in_one_row_leaves_its_neighbours_strict(self) -> None:
        text = order(price="1.00")
        found = page(text, leniently(text), text)
        assert [read_strictly(row, text) for row in found.rows] == [True, False, True]

    def test_bytes_that_are_no_utf_8_are_replaced(self) -> None:
        second_row = b'{"order_id": 2, "currency": "\xed\xa0\x80", "orderlines": [{"id": 3, "y": "\xfe"}]}'
        body = b'{"results": [{"order_id": 1, "x": "\xff"}, ' + second_row + b"]}"
        first, second = parse_page(ORDERS, body).rows
        assert json.loads(first.raw)["x"] == "\ufffd"
        assert set(value(second, "currency")) == {"\ufffd"}
        assert json.loads(second.lines[0][1])["y"] == "\ufffd"

    def test_raw_control_characters_are_taken(self) -> None:
        row = one('{"order_id": 7, "delivery_note": "two\nlines\ttabbed"}')
        assert value(row, "delivery_note") == "two\nlines\ttabbed"

    def test_numbers_survive_a_lenient_reading_exactly(self) -> None:
        sent = '{"order_id":7,"a":1.10,"b":123456789012345678901234567890,"c":0.12345678901234567890,"d":-0.0'
        assert one(sent + HAZARD).raw.startswith(sent)


class TestLines:
    def test_lines_as_a_list(self) -> None:
        row = one(order(orderlines=[{"id": 1, "price": "2.50"}, {"id": 2}]))
        assert [values[0] for values, _ in row.lines] == [1, 2]
        assert line_value(row, "price") == "2.50"

    def test_lines_as_an_object_by_sku(self) -> None:
        row = one(order(orderlines={"SKU-1": {"id": 1, "listing": "SKU-1"}, "SKU-2": {"id": 2}}))
        assert [values[0] for values, _ in row.lines] == [1, 2]
        assert line_value(row, "listing") == "SKU-1"

    @pytest.mark.parametrize("line", [{"price": "1.00"}, {"id": None}, {"id": "x"}, None, 5, "SKU", []])
    def test_a_line_without_an_id_is_left_out_and_the_others_stay(self, line: object) -> None:
        row = one(order(state=3, orderlines=[{"id": 1}, line, {"id": "2"}]))
        assert [values[0] for values, _ in row.lines] == [1, 2]
        assert value(row, "state") == 3
        assert json.loads(row.raw)["orderlines"][1] == line, "raw has it still"

    @pytest.mark.parametrize("lines", [None, 5, "none", [], {}, [None]])
    def test_no_lines(self, lines: object) -> None:
        assert one(order(orderlines=lines)).lines == []

    def test_a_line_of_another_type_leaves_the_order_as_it_is(self) -> None:
        row = one(order(price="3.00", orderlines=[{"id": 1, "quantity": "2", "price": 4.10, "backcare": "true"}]))
        assert [line_value(row, name) for name in ("quantity", "price", "backcare")] == [2, "4.1", True]
        assert value(row, "price") == "3.00"


class TestEnvelope:
    @pytest.mark.parametrize(
        ("body", "count", "last"),
        [
            ('{"count": 5, "next": "https://x/?page=2", "results": [{"order_id": 1}]}', 5, False),
            ('{"count": 5, "next": null, "results": [{"order_id": 1}]}', 5, True),
            ('{"count": 5, "results": [{"order_id": 1}]}', 5, True),
            ('{"results": [{"order_id": 1}]}', None, True),
            ('{"count": null, "next": "", "results": [{"order_id": 1}]}', None, False),
            ('{"count": "5", "next": null, "results": [{"order_id": 1}]}', 5, True),
            ('{"count": 5.0, "next": null, "results": [{"order_id": 1}]}', 5, True),
            ('{"count": -1, "next": null, "results": [{"order_id": 1}]}', None, True),
            ('{"count": true, "next": null, "results": [{"order_id": 1}]}', None, True),
            ('{"count": 1e30, "next": null, "results": [{"order_id": 1}]}', None, True),
            (f'{{"count": {"9" * 40}, "next": null, "results": [{{"order_id": 1}}]}}', None, True),
            ('[{"order_id": 1}]', None, True),
            ('{"count": 1, "next": null, "results": {"a": {"order_id": 1}}}', 1, True),
            ('\ufeff{"count": 1, "next": null, "results": [{"order_id": 1}]}', 1, True),
            ('\n {"count": 1, "next": null, "results": [{"order_id": 1}]} \n', 1, True),
        ],
    )
    def test_every_form_of_a_list(self, body: str, count: int | None, last: bool) -> None:
        found = parse_page(ORDERS, body.encode())
        assert ([row.key for row in found.rows], found.count, found.last, found.rejected) == ([1], count, last, 0)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"   ",
            b"<!DOCTYPE html><html><body>Just a moment...</body></html>",
            b'"Not available"',
            b"null",
            b"5",
            b"{}",
            b'{"results": null}',
            b'{"results": 5, "count": 1}',
            b'{"error": {"code": "x"}}',
            b'{"count": 1, "next": null, "results": [{"order_id": 1}',
            b'{"count": 1, "next": null, "results": [{"order_id": 1, "currency": "EU',
            b'{"count": 1, "next": null, "results": [{"order_id": 1}]} {}',
            b'{"results": [{"order_id": 1}, oops]}',
            b'{"results": [{"order_id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"results": [{"order_id": 1, "x": ' + b"[" * 100_000 + b"]" * 99_999 + b"}]}",
            b"[" * 100_000,
            b"\x1f\x8b\x08\x00",
        ],
        ids=lambda body: str(body[:40]),
    )
    def test_what_is_no_list_is_a_broken_answer(self, body: bytes) -> None:
        with pytest.raises(BrokenAnswer):
            parse_page(ORDERS, body)

    def test_the_error_names_nothing_of_what_came(self) -> None:
        with pytest.raises(BrokenAnswer) as caught:
            parse_page(ORDERS, b'{"results": [{"order_id": 1, "shipping_address": {"last_name": "Curie')
        assert "Curie" not in repr(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_every_cut_of_a_page_is_noticed(self) -> None:
        text = order(price="1.00", orderlines=[{"id": 1, "listing": "é"}])
        body = f'{{"count": 2, "next": null, "results": [{text}, {text}]}}'.encode()
        for end in range(len(body)):
            with pytest.raises(BrokenAnswer):
                parse_page(ORDERS, body[:end])


class TestOneObject:
    def test_it_is_read_as_in_a_list(self) -> None:
        text = order(state=8, price="1.00", orderlines=[{"id": 1, "price": "2.00"}])
        alone = parse_object(ORDERS, text.encode())
        assert alone is not None
        listed = one(text)
        assert (alone.values, [values for values, _ in alone.lines]) == (
            listed.values,
            [values for values, _ in listed.lines],
        )

    def test_without_an_id_there_is_none(self) -> None:
        assert parse_object(ORDERS, b'{"state": 8}') is None

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"<html>", b'{"order_id": 1'])
    def test_what_is_no_object_is_a_broken_answer(self, body: bytes) -> None:
        with pytest.raises(BrokenAnswer):
            parse_object(ORDERS, body)


class TestContent:
    def test_the_same_bytes_have_the_same_content_anywhere(self) -> None:
        text = order(price="1.00")
        alone, (_, other) = one(text), page('{"order_id": 1}', text).rows
        assert alone.content == other.content

    def test_a_lenient_row_has_the_same_content_each_time(self) -> None:
        text = leniently(order(price=1.10))
        assert one(text).content == one(text).content

    def test_any_difference_is_another_content(self) -> None:
        sent = [order(), order(price=None), order(price="1.0"), order(price="1.00"), order(x=1), order(x=True)]
        assert len({one(text).content for text in sent}) == len(sent)

    def test_it_is_the_same_in_every_version_of_ours(self) -> None:
        assert one('{"order_id": 7}').content == -7987273519887248875


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
DOCUMENTED: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "text": TEXT,
    "boolean": st.booleans(),
    "numeric": st.decimals(-(10**15), 10**15, places=2).map(str),
    "timestamptz": st.datetimes(datetime.fromisoformat("1970-01-01"), datetime.fromisoformat("2100-01-01"))
    .filter(lambda moment: (moment.month, moment.day) != (2, 29))  # read more closely, by the lenient way
    .flatmap(
        lambda moment: st.sampled_from(
            [
                moment.isoformat(timespec=spec) + zone
                for spec in ("seconds", "milliseconds", "microseconds")
                for zone in ("", "Z", "+02:00", "-05:30")
            ]
        )
    ),
    "jsonb": st.dictionaries(TEXT, st.none() | TEXT | st.integers(-(2**40), 2**40), max_size=4),
}


def documented_object(key: Column, columns: tuple[Column, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with its id, and any of its other fields, or null."""
    optional = {column.source: st.none() | DOCUMENTED[column.kind] for column in columns}
    return st.fixed_dictionaries({key.source: DOCUMENTED[key.kind]}, optional=optional)


DOCUMENTED_LINE = documented_object(ORDERLINES.key, ORDERLINES.columns)
DOCUMENTED_ORDER = st.builds(
    lambda fields, lines: {**fields, **lines},
    documented_object(ORDERS.key, ORDERS.columns),
    st.fixed_dictionaries({}, optional={"orderlines": st.none() | st.lists(DOCUMENTED_LINE, max_size=3)}),
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ANY_FIELDS = st.fixed_dictionaries(
    {},
    optional={column.source: ANY_JSON for column in (ORDERS.key, *ORDERS.columns[:8])} | {"orderlines": ANY_JSON},
)


class TestAnything:
    @quickly
    @given(DOCUMENTED_ORDER)
    def test_both_ways_read_the_same_from_a_documented_row(self, sent: dict[str, Any]) -> None:
        text = json.dumps(sent, ensure_ascii=False)
        strict, lenient = page(text, leniently(text)).rows
        assert not read_strictly(lenient, leniently(text))
        assert strict.values == lenient.values
        assert [values for values, _ in strict.lines] == [values for values, _ in lenient.lines]
        assert (strict.created, strict.modified) == (lenient.created, lenient.modified)
        expected = tuple(sent.get(column.source) for column in ORDERS.sent)
        if "\\u0000" not in text:
            assert strict.values == expected
            assert json.loads(strict.raw) == sent

    @quickly
    @given(st.lists(ANY_FIELDS, max_size=4) | ANY_JSON, st.none() | ANY_JSON, ANY_JSON)
    def test_any_json_is_a_page_or_a_broken_answer(self, results: Any, count: Any, following: Any) -> None:
        body = json.dumps({"results": results, "count": count, "next": following}).encode()
        try:
            found = parse_page(ORDERS, body)
        except BrokenAnswer:
            assert not isinstance(results, list | dict)
            return
        assert found.size == len(results)
        for row in found.rows:
            raw = json.dumps(json.loads(row.raw), ensure_ascii=False)
            assert "\\u0000" not in raw
            raw.encode()  # no lone surrogates
            assert not any("\x00" in text for text in row.values if isinstance(text, str))

    @quickly
    @given(st.binary(max_size=40) | st.binary(max_size=20).map(b'{"results": [{"order_id": 1, "state": %b}]}'.__mod__))
    def test_any_bytes_are_a_page_or_a_broken_answer(self, body: bytes) -> None:
        for parse in (parse_page, parse_object):
            with suppress(BrokenAnswer):
                parse(ORDERS, body)

    @quickly
    @given(ANY_JSON)
    def test_a_neighbour_is_always_kept(self, odd: Any) -> None:
        found = page('{"order_id": 1}', json.dumps(odd), '{"order_id": 2}')
        assert [row.key for row in found.rows if row.key in {1, 2}][:1] == [1]
        assert found.rows[-1].key == 2


LISTING = {
    "id": "da72cf47-1b1f-434a-9224-1f8684ac1bd4", "listing_id": 5, "sku": "A-1", "quantity": 3, "title": "Phone",
    "price": "229.00", "currency": "EUR", "publication_state": 1, "max_price": 300.5, "shippings": [],
}  # fmt: skip


class TestMarkets:
    def test_a_further_market_keeps_what_differs_by_market(self) -> None:
        body = json.dumps({"results": [LISTING]}).encode()
        (row,) = parse_page(listings_in("de-de"), body).rows
        assert json.loads(row.raw) == {
            "price": "229.00", "currency": "EUR", "max_price": 300.5, "publication_state": 1, "shippings": [],
        }  # fmt: skip
        (sold,) = parse_page(listings_in("de-de"), json.dumps({"results": [LISTING | {"quantity": 2}]}).encode()).rows
        (cheaper,) = parse_page(
            listings_in("de-de"), json.dumps({"results": [LISTING | {"price": "228.00"}]}).encode()
        ).rows
        assert (sold.content == row.content, cheaper.content == row.content) == (True, False)

    @pytest.mark.parametrize("odd", [{}, {"title": "\ud800"}, {"price": 229}])
    def test_however_it_is_read_the_row_is_the_same(self, odd: dict[str, Any]) -> None:
        whole = parse_object(LISTINGS, json.dumps(LISTING | odd).encode())
        assert whole
        row = as_in(listings_in("de-de"), whole)
        (listed,) = parse_page(listings_in("de-de"), json.dumps({"results": [LISTING | odd]}).encode()).rows
        assert row
        assert (row.values, json.loads(row.raw)) == (listed.values, json.loads(listed.raw))
        assert as_in(LISTINGS, whole) is whole

    def test_only_listings_differ_by_market(self) -> None:
        assert resource_in("listings", "") is LISTINGS
        assert resource_in("listings", "de-de") is listings_in("de-de")
        with pytest.raises(InvalidArgument, match="the same in all markets"):
            resource_in("orders", "de-de")
