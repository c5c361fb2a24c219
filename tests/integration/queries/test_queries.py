"""Queries of stored listings, deliveries and returns, and the indexes that answer every query."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from backmarket import BackMarket, Grade, PublicationState
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.listings import (
    STORED_LISTINGS,
    ListingFilter,
    get_listing,
    get_listing_by_sku,
    get_listings,
)
from backmarket.queries.orders import STORED_ORDERLINES, STORED_ORDERS, OrderFilter, OrderLineFilter
from backmarket.queries.pagination import encode_cursor
from backmarket.queries.shipments import STORED_DELIVERIES, STORED_RETURNS, DeliveryFilter, ReturnFilter, StoredLabel
from backmarket.resources import RESOURCES, parse_page
from backmarket.settings import Settings
from backmarket.sync.upsert import store
from tests.support.databases import empty
from tests.support.plans import explained

ORG = "auth0|1"
DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Books:
    """The stored rows of this test, put there as a sync does it."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.bm = BackMarket(Settings(database_url=url))

    def keep(self, resource: str, *rows: dict[str, Any], organization: str = ORG) -> None:
        """Store rows as the API shows them."""
        body = json.dumps({"count": len(rows), "next": None, "results": rows}).encode()
        page = parse_page(RESOURCES[resource], body)
        assert page.rejected == 0
        with self.database.transaction() as transaction:
            store(transaction, RESOURCES[resource], organization, page.rows, labels="skipped")

    def remove(self, table: str, condition: str) -> None:
        """As a sync does with rows that the API no longer knows."""
        with self.database.transaction() as transaction:
            transaction.execute(f"UPDATE backmarket.{table} SET removed_at = now() WHERE {condition}".encode())


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


def listing(number: int, **fields: Any) -> dict[str, Any]:
    """A listing with a UUID and an older id that follow from its number."""
    return {"id": str(UUID(int=number)), "listing_id": number, "sku": f"SKU-{number}"} | fields


def delivery(number: int, **fields: Any) -> dict[str, Any]:
    """A delivery, created so many days after the first one."""
    created = (FIRST + number * DAY).isoformat()
    return {"shipmentId": number, "order": number // 10, "dateCreation": created, "hubScanned": False} | fields


def returned(number: int, **fields: Any) -> dict[str, Any]:
    """A return, created so many days after the first one."""
    created = (FIRST + number * DAY).isoformat()
    return {
        "shipmentId": number, "orderId": number // 10, "orderlineId": number, "dateCreation": created
    } | fields  # fmt: skip


class TestListings:
    def test_pages_hold_every_listing_once_by_id(self, books: Books) -> None:
        books.keep("listings", *(listing(number) for number in (9, 3, 7, 1, 5)))
        books.keep("listings", listing(3), listing(4), organization="another")
        seen: list[int | None] = []
        cursor = None
        for _ in range(3):
            page = books.bm.get_listings(ORG, limit=2, cursor=cursor)
            seen += [each.legacy_listing_id for each in page]
            cursor = page.next_cursor
        assert (seen, cursor) == ([1, 3, 5, 7, 9], None)

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            ({}, [1, 2, 3, 4]),
            ({"publication_state": PublicationState.ONLINE}, [2]),
            ({"publication_state": 0}, [1]),
            ({"publication_state": 77}, [3]),
            ({"min_quantity": 0}, [1, 2, 3]),
            ({"min_quantity": 5}, [2, 3]),
            ({"max_quantity": 5}, [1, 2]),
            ({"min_quantity": 5, "max_quantity": 5, "publication_state": 1}, [2]),
        ],
        ids=str,
    )
    def test_each_filter_restricts(self, books: Books, where: dict[str, Any], found: list[int]) -> None:
        books.keep(
            "listings",
            listing(1, publication_state=0, quantity=0),
            listing(2, publication_state=1, quantity=5),
            listing(3, publication_state=77, quantity=6),
            listing(4, publication_state=None, quantity=None),
        )
        assert [each.legacy_listing_id for each in books.bm.get_listings(ORG, **where)] == found

    def test_by_uuid_as_such_or_as_text_and_by_the_older_id(self, books: Books) -> None:
        books.keep("listings", listing(7), listing(8))
        key = UUID(int=7)
        for asked in (key, str(key), str(key).upper(), key.hex, 7, "7"):
            found = books.bm.get_listing_by_id(ORG, asked)
            assert found is not None
            assert (found.listing_id, found.legacy_listing_id) == (key, 7)
        assert books.bm.get_listing_by_id(ORG, 9) is None
        assert books.bm.get_listing_by_id(ORG, UUID(int=9)) is None
        assert books.bm.get_listing_by_id("another", key) is None

    @pytest.mark.parametrize("asked", ["", "SKU-7", "7.0", "-7", "\u0667", "9" * 30])
    def test_what_can_not_be_an_id_is_refused_with_the_way_to_a_sku(self, books: Books, asked: str) -> None:
        with pytest.raises(InvalidArgument, match="get_listing_by_sku"):
            books.bm.get_listing_by_id(ORG, asked)

    def test_by_sku_without_regard_to_case(self, books: Books) -> None:
        long = "é" * 250
        books.keep(
            "listings", listing(1, sku="iPhone-É 13/128"), listing(2, sku=long + "A"), listing(3, sku=long + "b")
        )
        books.keep("listings", listing(4, sku="IPHONE-é 13/128"), organization="another")

        def found(sku: str) -> int | None:
            row = books.bm.get_listing_by_sku(ORG, sku)
            return row.legacy_listing_id if row else None

        assert [found(sku) for sku in ("IPHONE-é 13/128", long + "a", long.upper() + "B", long, "iPhone", "%")] == [
            1, 2, 3, None, None, None,
        ]  # fmt: skip

    def test_one_that_is_gone_is_in_no_list_and_still_found_unless_its_sku_is_used_again(self, books: Books) -> None:
        books.keep("listings", listing(1, sku="A"), listing(2, sku="B"))
        books.remove("listings", "true")
        assert books.bm.get_listings(ORG).items == []
        by_id, by_sku = books.bm.get_listing_by_id(ORG, 1), books.bm.get_listing_by_sku(ORG, "a")
        assert by_id is not None
        assert by_id == by_sku
        assert by_id.removed_at is not None
        books.keep("listings", listing(3, sku="a"))
        again = books.bm.get_listing_by_sku(ORG, "A")
        assert again is not None
        assert (again.legacy_listing_id, again.removed_at) == (3, None)

    def test_values_are_typed_and_unknown_ones_kept(self, books: Books) -> None:
        books.keep(
            "listings",
            listing(1, publication_state=1, grade="VERY_GOOD", price="229.10", shippings=[{"price": "1.00"}]),
            listing(2, publication_state=9, grade="SHINY"),
        )
        one, two = books.bm.get_listings(ORG)
        assert (one.publication_state, one.grade, one.price) == (
            PublicationState.ONLINE, Grade.VERY_GOOD, Decimal("229.10"),
        )  # fmt: skip
        assert (two.publication_state, two.grade, two.shippings) == (9, "SHINY", None)
        assert one.shippings == [{"price": "1.00"}]
        assert one.raw["sku"] == "SKU-1"


class TestShipments:
    @pytest.fixture(autouse=True)
    def _shipments(self, books: Books) -> None:
        books.keep("deliveries", *(delivery(number, hubScanned=number > 13) for number in range(10, 16)))
        books.keep("deliveries", delivery(20, dateCreation=None), delivery(21, dateCreation=None))
        books.keep("returns", *(returned(number, hubScanned=number > 13) for number in range(10, 16)))
        for resource in ("deliveries", "returns"):
            books.keep(resource, {"shipmentId": 10}, {"shipmentId": 99}, organization="another")

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            ({}, [15, 14, 13, 12, 11, 10, 21, 20]),
            ({"order_id": 2}, [21, 20]),
            ({"order_id": 7}, []),
            ({"hub_scanned": True}, [15, 14]),
            ({"hub_scanned": False, "order_id": 1}, [13, 12, 11, 10]),
            ({"created_after": FIRST + 14 * DAY}, [15, 14]),
            ({"created_before": FIRST + 12 * DAY}, [11, 10]),
        ],
        ids=str,
    )
    def test_deliveries_newest_first_under_each_filter(
        self, books: Books, where: dict[str, Any], found: list[int]
    ) -> None:
        assert [each.shipment_id for each in books.bm.get_deliveries(ORG, **where)] == found

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            ({}, [15, 14, 13, 12, 11, 10]),
            ({"orderline_id": 12}, [12]),
            ({"orderline_id": 12, "order_id": 2}, []),
            ({"hub_scanned": True, "created_before": FIRST + 15 * DAY}, [14]),
        ],
        ids=str,
    )
    def test_returns_newest_first_under_each_filter(
        self, books: Books, where: dict[str, Any], found: list[int]
    ) -> None:
        assert [each.shipment_id for each in books.bm.get_returns(ORG, **where)] == found

    def test_the_short_ways_are_the_same(self, books: Books) -> None:
        bm = books.bm
        assert [each.shipment_id for each in bm.get_deliveries_by_order_id(ORG, 2)] == [21, 20]
        assert [each.shipment_id for each in bm.get_returns_by_order_id(ORG, 1, limit=2)] == [15, 14]
        assert [each.shipment_id for each in bm.get_returns_by_orderline_id(ORG, 13)] == [13]
        for get in (bm.get_delivery_by_id, bm.get_return_by_id):
            found = get(ORG, 11)
            assert found is not None
            assert (found.organization_id, found.order_id) == (ORG, 1)
            assert get(ORG, 99) is None

    def test_a_cursor_walks_through_all_once(self, books: Books) -> None:
        seen: list[int] = []
        cursor = None
        while True:
            page = books.bm.get_deliveries(ORG, limit=3, cursor=cursor)
            seen += [each.shipment_id for each in page]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [15, 14, 13, 12, 11, 10, 21, 20]

    def test_one_that_is_gone_is_found_by_id_only(self, books: Books) -> None:
        books.remove("deliveries", "shipment_id = 15")
        books.remove("returns", "shipment_id = 15")
        assert books.bm.get_deliveries(ORG, limit=1).items[0].shipment_id == 14
        assert books.bm.get_returns(ORG, limit=1).items[0].shipment_id == 14
        gone = books.bm.get_return_by_id(ORG, 15)
        assert gone is not None
        assert gone.removed_at is not None

    def test_no_repr_shows_where_a_parcel_goes(self, books: Books) -> None:
        secret = "secret-7f3a"
        hidden = {"trackingNumber": secret, "trackingUrl": f"https://carrier.example/{secret}"}
        books.keep(
            "deliveries",
            delivery(30, **hidden, labelUrl=f"/labels/{secret}.pdf", pickupInfo={"street": secret}, orderlines=[1, 2]),
        )
        books.keep("returns", returned(30, **hidden, label=f"https://labels.example/{secret}.pdf"))
        sent, back = books.bm.get_delivery_by_id(ORG, 30), books.bm.get_return_by_id(ORG, 30)
        assert sent is not None
        assert back is not None
        assert (sent.label_url, sent.pickup_info, sent.orderlines) == (
            f"/labels/{secret}.pdf", {"street": secret}, [1, 2],
        )  # fmt: skip
        assert (back.tracking_number, back.label) == (secret, f"https://labels.example/{secret}.pdf")
        assert secret not in repr((sent, back, str(sent)))

    def test_the_label_in_the_bucket_comes_with_the_parcel(self, books: Books) -> None:
        books.keep("deliveries", delivery(40, labelUrl="/a.pdf"), delivery(41, labelUrl="/b.pdf"))
        at = datetime(2026, 5, 4, 3, 2, 1, 654321, tzinfo=UTC)
        with books.database.transaction() as transaction:
            transaction.execute(
                "UPDATE backmarket.labels SET state = 'stored', object_key = 'labels/x/40.pdf', size = 7,"
                " sha256 = 'ab', stored_at = %s WHERE shipment_id = 40 AND organization_id = %s",
                (at, ORG),
            )
        stored = {each.shipment_id: each.stored_label for each in books.bm.get_deliveries(ORG, limit=3)}
        assert stored[40] == StoredLabel("labels/x/40.pdf", 7, "ab", at)
        assert stored[41] is None


Asking = Callable[[Database], object]

FAR_DOWN = encode_cursor(FIRST + 2 * DAY, 77)
QUERIES: dict[str, tuple[Asking, str, bool]] = {
    "orders": (lambda db: STORED_ORDERS.page(db, ORG), "orders_newest", True),
    "orders created in a span": (
        lambda db: STORED_ORDERS.page(
            db, ORG, OrderFilter(created_after=FIRST + 10 * DAY, created_before=FIRST + 12 * DAY)
        ),
        "orders_newest",
        True,
    ),
    "orders far down": (lambda db: STORED_ORDERS.page(db, ORG, cursor=FAR_DOWN), "orders_newest", True),
    "deliveries far down": (lambda db: STORED_DELIVERIES.page(db, ORG, cursor=FAR_DOWN), "deliveries_newest", True),
    "returns far down": (lambda db: STORED_RETURNS.page(db, ORG, cursor=FAR_DOWN), "returns_newest", True),
    "orders with a SKU": (lambda db: STORED_ORDERS.page(db, ORG, OrderFilter(sku="sku-77")), "orderlines_sku", False),
    "order": (lambda db: STORED_ORDERS.get(db, ORG, 77), "orders_pkey", True),
    "order lines": (lambda db: STORED_ORDERLINES.page(db, ORG), "orderlines_pkey", True),
    "order lines of an order": (
        lambda db: STORED_ORDERLINES.page(db, ORG, OrderLineFilter(order_id=77)),
        "orderlines_order",
        False,
    ),
    "order lines with a SKU": (
        lambda db: STORED_ORDERLINES.page(db, ORG, OrderLineFilter(sku="sku-77")),
        "orderlines_sku",
        False,
    ),
    "order line": (lambda db: STORED_ORDERLINES.get(db, ORG, 77), "orderlines_pkey", True),
    "listings": (lambda db: STORED_LISTINGS.page(db, ORG), "listings_pkey", True),
    "listings on sale": (
        lambda db: STORED_LISTINGS.page(db, ORG, ListingFilter(publication_state=1, min_quantity=1)),
        "listings_pkey",
        True,
    ),
    "listing": (lambda db: get_listing(db, ORG, UUID(int=77)), "listings_pkey", True),
    "listing by its older id": (lambda db: get_listing(db, ORG, 77), "listings_legacy", False),
    "listing by its SKU": (lambda db: get_listing_by_sku(db, ORG, "sku-77"), "listings_sku", False),
    "listings in a market": (
        lambda db: get_listings(db, ORG, ListingFilter(market="de-de"), limit=25),
        "listing_markets_pkey",
        True,
    ),
    "listing in a market by its SKU": (
        lambda db: get_listing_by_sku(db, ORG, "sku-77", "de-de"),
        "listings_sku",
        False,
    ),
    "deliveries": (lambda db: STORED_DELIVERIES.page(db, ORG), "deliveries_newest", True),
    "deliveries of an order": (
        lambda db: STORED_DELIVERIES.page(db, ORG, DeliveryFilter(order_id=77)),
        "deliveries_order",
        False,
    ),
    "delivery": (lambda db: STORED_DELIVERIES.get(db, ORG, 77), "deliveries_pkey", True),
    "returns": (lambda db: STORED_RETURNS.page(db, ORG), "returns_newest", True),
    "returns of an order": (lambda db: STORED_RETURNS.page(db, ORG, ReturnFilter(order_id=77)), "returns_order", False),
    "returns of an order line": (
        lambda db: STORED_RETURNS.page(db, ORG, ReturnFilter(orderline_id=77)),
        "returns_orderline",
        False,
    ),
    "return": (lambda db: STORED_RETURNS.get(db, ORG, 77), "returns_pkey", True),
}
"""What is asked, the index that answers it, and whether the rows come in its order, so that none is sorted."""

FILL = """
INSERT INTO backmarket.orders (organization_id, order_id, state, date_creation, raw, content)
SELECT organization, n, 1, at, '{}', n FROM numbers;
INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, listing, raw)
SELECT organization, n, n / 2, 'Sku-' || n, '{}' FROM numbers;
INSERT INTO backmarket.listings (organization_id, listing_id, legacy_listing_id, sku, publication_state, quantity, raw,
    content)
SELECT organization, lpad(to_hex(n), 32, '0')::uuid, n, 'Sku-' || n, 1, n % 10, '{}', n FROM numbers;
INSERT INTO backmarket.listing_markets (organization_id, market, listing_id, publication_state, raw, content)
SELECT organization, market, lpad(to_hex(n), 32, '0')::uuid, 1, '{}', n
FROM numbers, unnest('{de-de,es-es}'::text[]) market;
INSERT INTO backmarket.deliveries (organization_id, shipment_id, order_id, date_creation, raw, content)
SELECT organization, n, n / 2, at, '{}', n FROM numbers;
INSERT INTO backmarket.returns (organization_id, shipment_id, order_id, orderline_id, date_creation, raw, content)
SELECT organization, n, n / 2, n, at, '{}', n FROM numbers;
INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)
SELECT organization, resource, n, '/labels/' || n, 'wanted'
FROM numbers, unnest('{deliveries,returns}'::text[]) resource;
"""


def test_every_query_is_answered_by_its_index(database_url: str, books: Books) -> None:
    """The plans that PostgreSQL really used, among 10,000 rows of an organization and 5,000 of ten others."""
    with books.database.transaction() as transaction:
        transaction.execute(
            "CREATE TEMPORARY TABLE numbers ON COMMIT DROP AS"
            f" SELECT CASE WHEN n <= 10000 THEN '{ORG}' ELSE 'other ' || n % 10 END AS organization, n,"
            " timestamptz '2026-01-01' + n * interval '7 minutes' AS at FROM generate_series(1, 15000) n"
        )
        transaction.execute(FILL.encode())
    faults = {}
    with explained(database_url) as (database, plans):
        for name, (ask, index, in_order) in QUERIES.items():
            assert ask(database), name
            nodes = plans.nodes()
            used = {node["Index Name"] for node in nodes if "Index Name" in node}
            kinds = {node["Node Type"] for node in nodes}
            scans = [node for node in nodes if "Index Name" in node]
            read = sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans)
            if index not in used or "Seq Scan" in kinds or ("Sort" in kinds and in_order) or read > 60:
                faults[name] = (used, kinds, read)
    assert faults == {}
