"""Find: what people have at hand leads to its rows, in all organizations, by an index, and to nothing erased."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.errors import DatabaseUnavailable, InvalidArgument
from backmarket.queries import find
from backmarket.queries.find import MatchedBy
from backmarket.resources import DELIVERIES, LISTINGS, ORDERS, RETURNS, Resource, parse_page
from backmarket.settings import Settings
from backmarket.sync.upsert import store
from tests.support.databases import empty
from tests.support.many import fill
from tests.support.plans import explained

ONE, OTHER = "auth0|1", "shop-2"
IMEI = "356938061412301"
LISTING = "0a8c1f5e-0000-4000-8000-000000000001"


@pytest.fixture
def bm(shared_url: str) -> Iterator[BackMarket]:
    empty(shared_url)
    with BackMarket(Settings(database_url=shared_url)) as bm:
        yield bm


@pytest.fixture
def filled(bm: BackMarket) -> BackMarket:
    """Two sellers; what the second one has is named alike."""
    with bm._services.database.transaction() as transaction:
        transaction.execute(
            b"INSERT INTO backmarket.connections (organization_id, environment, region, locale)"
            b" VALUES (%s, 'production', 'EU', 'fr-fr'), (%s, 'sandbox', 'EU', 'fr-fr')", (ONE, OTHER)
        )  # fmt: skip
    lines = [
        {"id": 10, "listing": "iPhone-É 13", "imei": IMEI},
        {"id": 11, "listing": "iphone-é 13", "serial_number": "C02XK0"},
    ]
    keep(bm, ORDERS, ONE, order(1, "Marie", "Dupont", *lines, tracking_number="1Z 99-A"))
    keep(
        bm,
        ORDERS,
        OTHER,
        order(2, "Ève", "D'Été-Müller", {"id": 20, "listing": "IPHONE-É 13"}),
        order(3, "", "Straße"),
        order(4, "Åsa", "X Y"),
    )
    keep(bm, LISTINGS, OTHER, {"id": LISTING, "listing_id": 7, "sku": "iphone-É 13", "title": "A phone"})
    keep(bm, DELIVERIES, ONE, {"shipmentId": 100, "order": 1, "trackingNumber": "1Z99A"})
    keep(bm, RETURNS, ONE, {"shipmentId": 200, "orderId": 1, "trackingNumber": "RET-5"})
    return bm


def order(number: int, first: str, last: str, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    address = {"firstName": first, "lastName": last, "city": "Lyon"}
    return {"order_id": number, "state": 9, "orderlines": lines, "shipping_address": address} | more


def keep(bm: BackMarket, resource: Resource, organization: str, *rows: dict[str, Any]) -> None:
    """Store rows as a sync does."""
    page = parse_page(resource, json.dumps({"count": len(rows), "next": None, "results": rows}).encode())
    assert page.rejected == 0
    with bm._services.database.transaction() as transaction:
        store(transaction, resource, organization, page.rows)


def found(bm: BackMarket, text: str, **options: Any) -> dict[str, list[Any]]:
    """The ids of what a search finds, by kind, without kinds of which it finds none."""
    hits = bm.find(text, **options)
    ids: dict[str, list[Any]] = {
        "orders": [each.row.order_id for each in hits.orders],
        "listings": [each.row.legacy_listing_id for each in hits.listings],
        "deliveries": [each.row.shipment_id for each in hits.deliveries],
        "returns": [each.row.shipment_id for each in hits.returns],
    }
    return {kind: found for kind, found in ids.items() if found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", {"orders": [1]}),
        (" #2 ", {"orders": [2]}),
        (IMEI, {"orders": [1]}),
        ("35 693806 141230 1", {"orders": [1]}),
        ("c02xk0", {"orders": [1]}),
        ("iPhone-é 13", {"orders": [2, 1], "listings": [7]}),
        ("iPhone", {}),
        ("1z 99-a", {"orders": [1], "deliveries": [100]}),
        ("1z99a", {"deliveries": [100]}),
        ("ret-5", {"returns": [200]}),
        ("RET", {}),
        ("dup", {"orders": [1]}),
        ("DUPONT marie", {"orders": [1]}),
        ("marie dup", {"orders": [1]}),
        ("m dupont", {"orders": [1]}),
        ("marie", {}),
        ("paul dupont", {}),
        ("dete muller", {"orders": [2]}),
        ("D. Ete", {}),
        ("x y", {"orders": [4]}),
        ("d\u2019été-m", {"orders": [2]}),
        ("strasse", {"orders": [3]}),
        ("straß", {"orders": [3]}),
        ("%", {}),
        ("-", {}),
        ("9" * 200, {}),
        ("'; DROP TABLE backmarket.orders; --", {}),
    ],
)
def test_each_thing_at_hand_finds_its_rows(filled: BackMarket, text: str, expected: dict[str, list[int]]) -> None:
    assert found(filled, text) == expected


def test_why_it_matched_and_whose_it_is_are_said(filled: BackMarket) -> None:
    hits = filled.find("iphone-é 13")
    assert [(each.row.organization_id, each.environment, each.matched_by) for each in hits.orders] == [
        (OTHER, "sandbox", (MatchedBy.SKU,)),
        (ONE, "production", (MatchedBy.SKU,)),
    ]
    keep(filled, ORDERS, ONE, order(77, "", "", {"id": 70, "listing": "77", "imei": "77"}, tracking_number="77"))
    (hit,) = filled.find("77").orders
    assert hit.matched_by == (MatchedBy.ORDER_NUMBER, MatchedBy.TRACKING_NUMBER, MatchedBy.IMEI, MatchedBy.SKU)
    assert found(filled, "iphone-é 13", organization_id=ONE) == {"orders": [1]}


def test_it_is_limited_and_says_so(filled: BackMarket) -> None:
    for number in range(50, 60):
        keep(filled, ORDERS, ONE, order(number, f"Number {number}", "Dupont"))
    hits = filled.find("dupont", limit=3)
    assert ([each.row.order_id for each in hits.orders], hits.more) == ([1, 50, 51], ("orders",)), "by name"
    for text, limit in (("", 20), (" ", 20), ("x" * 201, 20), ("x", 0), ("x", 101), ("a\0b", 20)):
        with pytest.raises(InvalidArgument):
            filled.find(text, limit=limit)


def test_what_is_gone_is_found_and_a_line_that_is_gone_is_not(filled: BackMarket) -> None:
    with filled._services.database.transaction() as transaction:
        transaction.execute("UPDATE backmarket.orders SET removed_at = now() WHERE order_id = 1")
        transaction.execute("UPDATE backmarket.orderlines SET removed_at = now() WHERE orderline_id = 10")
    (hit,) = filled.find("1").orders
    assert hit.row.removed_at is not None
    assert found(filled, IMEI) == {}


def test_an_erased_order_is_not_found_by_its_name_or_parcel(filled: BackMarket) -> None:
    filled.erase_order(ONE, 1)
    assert found(filled, "dupont") == found(filled, "1z 99-a") == found(filled, "ret-5") == {}
    assert found(filled, IMEI) == {"orders": [1]}, "the books of a dealer name the goods"
    keep(filled, ORDERS, ONE, order(1, "Marie", "Dupont", date_modification="2026-03-01T10:00:00Z"))
    assert found(filled, "dupont") == {}, "a later answer of the API brings nothing back"


def test_the_trail_has_that_it_was_made_and_not_its_text(filled: BackMarket) -> None:
    filled.find("dupont", organization_id=ONE)
    with pytest.raises(InvalidArgument):
        filled.find("")
    refused, done = filled.audit(what="rows").items
    assert (done.action, done.outcome, done.organization_id) == ("rows.find", "done", ONE)
    assert done.details == {"orders": 1, "listings": 0, "deliveries": 0, "returns": 0}
    assert (refused.outcome, refused.code) == ("refused", "invalid_argument")
    assert "dup" not in repr(done).lower()
    assert "Dupont" not in repr(filled.find("dupont"))


def test_a_search_that_takes_too_long_ends(filled: BackMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MAX_SECONDS", 0.01)
    monkeypatch.setattr(find, "_HITS", "SELECT pg_sleep(600)")
    with pytest.raises(DatabaseUnavailable):
        filled.find("dupont")


def test_no_search_reads_a_table_from_one_end_to_the_other(shared_url: str) -> None:
    """What PostgreSQL really read of 10,000 orders, as a role that the row policies bind. There is no label."""
    empty(shared_url)
    fill(shared_url, organizations=200, orders=10_000, runs=1)
    texts = {
        "4000": 1, "t-4000": 1, "350000000004000": 1, "sn4001": 1, "SKU-778": 2, "D-4000": 1, "R-4000": 1,
        "amily": 0, "bamily": 21, "namez": 0, "namec bamily": 21, "bamilyk namec": 1,
    }  # fmt: skip
    odd = {}
    with explained(shared_url) as (database, plans):
        bm = BackMarket(Settings(database_url=shared_url))
        bm._services.__dict__["database"] = database
        for text, expected in texts.items():
            hits = bm.find(text)
            nodes = [node for node in plans.nodes() if "Relation Name" in node or "Index Name" in node]
            whole = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
            read = max(
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in nodes
            )
            total = sum(hits.counts.values()) + len(hits.more)
            if {*whole} - {"connections", "labels"} or read > 400 or total != expected:
                odd[text] = (whole, read, total)
    assert odd == {}
