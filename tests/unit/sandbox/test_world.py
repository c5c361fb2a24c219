"""What the sandbox invents: the same from the same seed, in the forms that the document shows, and quickly."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from backmarket.sandbox import Assumptions, Settings, World
from backmarket.sandbox.times import parse_time, write_time

TIME = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+\d\d:\d\d)?|\b\d{4}-\d\d-\d\d\b)")
RESOURCES = ("orders", "listings", "deliveries", "returns")


MARCH = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(seed: int, *, orders: int = 200, now: datetime = MARCH) -> dict[str, bytes]:
    world = World(seed, clock=lambda: now)
    world.add_seller("one", "1", orders=orders, hidden=4)
    world.add_seller("two", "2", orders=orders)
    return {
        f"{name} {kind}": b"\n".join(seller.truth(kind, now))
        for name, seller in world.sellers.items()
        for kind in RESOURCES
    }


def test_the_same_seed_gives_the_same_world() -> None:
    assert told(5) == told(5)
    assert all(told(5)[kind] != other for kind, other in told(6).items())


def test_a_world_that_starts_later_has_later_times_and_is_the_same_otherwise() -> None:
    later = timedelta(days=100, hours=5, minutes=7, seconds=3)
    earlier, shifted = told(5), told(5, now=MARCH + later + timedelta(microseconds=987654))
    for name, rows in earlier.items():
        one, other = TIME.split(rows.decode()), TIME.split(shifted[name].decode())
        assert one[::2] == other[::2]
        times = [pair for pair in zip(one[1::2], other[1::2], strict=True) if len(pair[0]) > len("2026-03-01")]
        assert {datetime.fromisoformat(b) - datetime.fromisoformat(a) for a, b in times} <= {later}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("orders", [20, 300])
def test_there_are_orders_of_today_some_due_and_some_late(seed: int, orders: int) -> None:
    world = World(seed)
    seller = world.add_seller("s", "t", orders=orders)
    rows = seller.orders.shown()
    assert timedelta(0) <= datetime.now(UTC) - world.start < timedelta(minutes=10)
    assert rows[-1].created > world.start - timedelta(days=1)
    due = [parse_time(date, naive_zone=UTC) for row in rows if (date := row.decoded().get("expected_dispatch_date"))]
    assert min(due) < world.start < max(due)
    assert world.start - min(due) < timedelta(days=1)


def test_no_stage_of_a_shipment_is_ahead() -> None:
    seller = World(3, MARCH).add_seller("s", "t", orders=100, deliveries=200, returns=200)
    for kind in ("deliveries", "returns"):
        bodies = [msgspec.json.decode(row) for row in seller.truth(kind, MARCH)]
        dates = [body[name] for body in bodies for name in ("dateCreation", "datePickup", "dateDelivery") if body[name]]
        assert max(parse_time(date, naive_zone=UTC) for date in dates) <= MARCH


@pytest.fixture(scope="module")
def world() -> World:
    world = World(1)
    for name in ("one", "two"):
        world.add_seller(name, name, orders=1000, hidden=10)
    return world


@pytest.fixture(scope="module")
def orders(world: World) -> list[dict[str, Any]]:
    return [row.decoded() for seller in world.sellers.values() for row in seller.orders.rows]


def test_ids_are_unique_across_sellers(orders: list[dict[str, Any]]) -> None:
    lines = [line["id"] for order in orders for line in order["orderlines"]]
    assert len({order["order_id"] for order in orders}) == len(orders) == 2020
    assert len(set(lines)) == len(lines)


def test_orders_have_one_to_three_lines_two_on_average(orders: list[dict[str, Any]]) -> None:
    lines = Counter(len(order["orderlines"]) for order in orders)
    assert set(lines) == {1, 2, 3}
    assert 1.9 < sum(number * times for number, times in lines.items()) / len(orders) < 2.1


def test_so_many_are_listed_as_were_asked_for(world: World) -> None:
    assert len(world.sellers["one"].orders.shown()) == 1000
    assert len(world.sellers["one"].orders.rows) == 1010


def test_dates_lie_in_the_half_year_before_the_start(world: World) -> None:
    rows = world.sellers["one"].orders.shown()
    assert all(row.created <= row.modified <= world.start for row in rows)
    assert (rows[-1].created - rows[0].created).days > 170
    assert all(earlier.id < later.id for earlier, later in pairwise(rows))


def test_orders_can_be_made_between_two_dates() -> None:
    first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 9, tzinfo=UTC)
    seller = World().add_seller("s", "t", orders=50, created_between=(first, last))
    assert all(first <= row.created <= row.modified <= last for row in seller.orders.rows)


def test_times_come_in_every_notation(orders: list[dict[str, Any]]) -> None:
    shapes = Counter(re.sub(r"\d+", "0", order["date_modification"]) for order in orders)
    assert set(shapes) == {"0-0-0T0:0:0.0Z", "0-0-0T0:0:0Z", "0-0-0T0:0:0+0:0", "0-0-0T0:0:0"}
    assert {len(order["date_modification"]) for order in orders} == {19, 20, 24, 25, 27}


def test_what_is_written_is_what_the_filter_compares(world: World) -> None:
    for row in world.sellers["one"].orders.rows:
        written = parse_time(row.decoded()["date_modification"], naive_zone=UTC)
        assert 0 <= (row.modified - written).total_seconds() < 1


@pytest.mark.parametrize("style", ["micro", "milli", "second", "offset", "naive"])
def test_each_notation_can_be_read_back(style: Any) -> None:
    instant = datetime(2025, 12, 31, 23, 59, 58, 987654, tzinfo=UTC)
    assert 0 <= (instant - parse_time(write_time(instant, style), naive_zone=UTC)).total_seconds() < 1


def test_times_without_an_offset_may_be_local_ones() -> None:
    told = []
    for answer in ("utc", "local"):
        world = World(start=MARCH, settings=Settings(assumptions=Assumptions(naive_times=answer)))
        world.add_seller("s", "t", orders=100)
        told.append([row.decoded()["date_creation"] for row in world.sellers["s"].orders.rows])
    later = {
        datetime.fromisoformat(local) - datetime.fromisoformat(utc)
        for utc, local in zip(*told, strict=True)
        if len(utc) == 19
    }
    assert later == {timedelta(hours=2)}
    assert [text for text in told[0] if len(text) > 19] == [text for text in told[1] if len(text) > 19]


def test_money_is_text_and_the_price_of_a_line_is_its_total(orders: list[dict[str, Any]]) -> None:
    assert any(line["quantity"] > 1 for order in orders for line in order["orderlines"])
    for order in orders:
        lines = sum(Decimal(line["price"]) for line in order["orderlines"])
        assert isinstance(order["price"], str)
        assert Decimal(order["price"]) == lines


def test_optional_members_are_now_and_then_null_or_missing(orders: list[dict[str, Any]]) -> None:
    for name in ("tracking_number", "date_shipping", "billing_address", "payment_method", "shipper_display"):
        assert any(order[name] is None for order in orders), name
    for name in ("delivery_note", "expected_dispatch_date", "paypal_reference", "sales_taxes", "is_backship"):
        assert any(name not in order for order in orders), name
    lines = [line for order in orders for line in order["orderlines"]]
    assert any("serial_number" not in line for line in lines)
    assert any(line["imei"] for line in lines)


def test_every_state_that_is_listed_occurs(orders: list[dict[str, Any]]) -> None:
    assert {order["state"] for order in orders} == {0, 1, 3, 8, 9, 10}
    assert {line["state"] for order in orders for line in order["orderlines"]} == set(range(10))


def test_people_have_names_and_phones_that_tests_can_look_for(orders: list[dict[str, Any]]) -> None:
    for order in orders:
        address = order["shipping_address"]
        assert address["lastName"]
        assert re.fullmatch(r"\+\d{9,15}", address["phoneNumber"])
        assert re.fullmatch(r"[a-z]+\.\d+@example\.(com|org|net)", address["email"])


def test_a_name_or_a_token_is_taken_once() -> None:
    world = World()
    world.add_seller("s", "t", orders=0)
    for name, token in (("s", "other"), ("other", "t")):
        with pytest.raises(ValueError, match="taken"):
            world.add_seller(name, token)
