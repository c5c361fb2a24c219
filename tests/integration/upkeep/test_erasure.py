"""Erasing personal data: none of it is left in any table, and no later sync brings it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backmarket import BackMarket, resources
from backmarket.connections import Account
from backmarket.database import Database
from backmarket.database.encryption import KeyCipher
from backmarket.errors import ENV_PREFIX, ConnectionNotFound
from backmarket.organizations import lifecycle
from backmarket.resources import (
    DELIVERIES,
    LISTINGS,
    ORDERS,
    RESOURCES,
    RETURNS,
    Resource,
    Row,
    blank,
    parse_object,
    parse_page,
)
from backmarket.settings import Settings
from backmarket.sync.upsert import UpsertCounts, store
from backmarket.upkeep import erasure
from backmarket.upkeep.erasure import Erased, ErasedOld, OrderNotStored, erase_old, erase_order
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG, OTHER = "auth0|1", "auth0|2"
MARK = "PERSONAL"
"""In every text of these rows that must not survive."""

COMMAND = str(Path(sys.executable).with_name("backmarket"))


def line(key: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": key, "state": 3, "price": "10.00", "listing": "SKU-1", "imei": "3510", "serial_number": "S1",
        "return_message": f"{MARK} broke my heart", "new_in_the_api": f"{MARK} {key}", **fields,
    }  # fmt: skip


def order(key: int, **fields: Any) -> dict[str, Any]:
    address = {"first_name": MARK, "street": f"{MARK} {key}", "phone": f"+33 {MARK}"}
    return {
        "order_id": key, "state": 9, "price": "10.00", "currency": "EUR", "country_code": "fr-fr",
        "date_creation": "2026-05-01T10:00:00Z", "date_modification": "2026-05-02T10:00:00Z",
        "shipping_address": address, "billing_address": address, "tracking_number": f"{MARK}-1",
        "tracking_url": f"https://carrier.example/{MARK}", "delivery_note": f"https://notes.example/{MARK}",
        "customer_email": f"{MARK}@example", "psp_reference": f"{MARK}-PSP", "paypal_reference": f"{MARK}-PAYPAL",
        "shipper": "Carrier", "orderlines": [line(10 * key), line(10 * key + 1)], **fields,
    }  # fmt: skip


def delivery(key: int, order_id: int, **fields: Any) -> dict[str, Any]:
    return {
        "shipmentId": key, "order": order_id, "orderlines": [10 * order_id], "carrierName": "Carrier",
        "referenceNumber": "1-2", "trackingNumber": f"{MARK}-2", "trackingUrl": f"https://carrier.example/{MARK}",
        "invoicedPrice": 7, "dateCreation": "2026-05-01T11:00:00Z", "dateDelivery": None,
        "labelUrl": f"/labels/{MARK}.pdf", "pickupInfo": {"place": MARK}, "newInTheApi": {"deep": [MARK]}, **fields,
    }  # fmt: skip


def returned(key: int, order_id: int, **fields: Any) -> dict[str, Any]:
    return {
        "shipmentId": key, "orderId": order_id, "orderlineId": 10 * order_id, "trackingNumber": f"{MARK}-3",
        "label": f"https://labels.example/{MARK}", "dateCreation": "2026-05-01T12:00:00Z", **fields,
    }  # fmt: skip


class Stored:
    """What a test writes and reads."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def store(self, resource: Resource, *objects: dict[str, Any], organization: str = ORG) -> UpsertCounts:
        """Store rows as a sync does: with the lock of its lease."""
        given = parse_page(resource, json.dumps({"results": objects}).encode()).rows
        with self.database.transaction() as transaction:
            transaction.execute(
                "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = %s FOR UPDATE",
                (organization, resource.name),
            )
            return store(transaction, resource, organization, given)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.database.transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *values: Any) -> Any:
        ((*found,),) = self.execute(statement, *values)
        return found[0] if len(found) == 1 else tuple(found)

    def news(self) -> list[tuple[Any, ...]]:
        """The events since this was last asked."""
        found = self.execute("SELECT resource, external_id, kind, fields FROM backmarket.changes ORDER BY id")
        self.execute("DELETE FROM backmarket.changes")
        return found


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    """An organization with an order, its parcels, and another order beside it."""
    stored = Stored(database_url)
    settings = Settings(limiter_key="any long random text", secret_keys=(KeyCipher.generate(),))
    for organization in (ORG, OTHER):
        lifecycle.upsert(stored.database, KeyCipher.from_settings(settings), settings, Account(organization, "key"))
    stored.store(ORDERS, order(1))
    stored.store(DELIVERIES, delivery(5, 1))
    stored.store(RETURNS, returned(6, 1))
    stored.news()
    yield stored
    stored.database.close()


def rows_with(stored: Stored, *texts: str) -> dict[str, int]:
    """How many rows of each table have one of these texts anywhere; a row is read as it would be dumped."""
    tables = stored.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'backmarket'::regnamespace AND relkind IN ('r', 'p')"
    )
    assert {"orders", "orderlines", "deliveries", "returns", "labels", "changes", "sync_runs", "walk_seen"} <= {
        name for (name,) in tables
    }
    found = {}
    for (name,) in tables:
        dumped = [text for (text,) in stored.execute(f"SELECT t::text FROM backmarket.{name} t")]
        if count := sum(any(text in row for text in texts) for row in dumped):
            found[name] = count
    return found


class TestOneOrder:
    def test_nothing_personal_is_left_in_any_table(self, stored: Stored) -> None:
        assert rows_with(stored, MARK) == {"orders": 1, "orderlines": 2, "deliveries": 1, "returns": 1, "labels": 2}
        assert erase_order(stored.database, ORG, 1) == Erased(1, 2, 1, 1)
        assert rows_with(stored, MARK) == {}
        assert stored.execute("SELECT * FROM backmarket.labels") == []

    def test_what_accounting_needs_stays(self, stored: Stored) -> None:
        columns = "state, price, currency, country_code, date_creation, date_modification, shipper"
        before = stored.one(f"SELECT {columns}, content FROM backmarket.orders")
        erase_order(stored.database, ORG, 1)
        assert stored.one(f"SELECT {columns}, content FROM backmarket.orders") == before
        assert stored.one("SELECT raw - 'orderlines' FROM backmarket.orders") == {
            name: order(1)[name] for name in ("order_id", *columns.split(", "))
        }
        kept = {"id": 10, "state": 3, "price": "10.00", "listing": "SKU-1", "imei": "3510", "serial_number": "S1"}
        assert stored.one("SELECT raw->'orderlines'->0 FROM backmarket.orders") == kept
        assert stored.one("SELECT raw, imei, price::text FROM backmarket.orderlines WHERE orderline_id = 10") == (
            kept, "3510", "10.00",
        )  # fmt: skip
        assert stored.one("SELECT reference_number, invoiced_price::int, orderlines FROM backmarket.deliveries") == (
            "1-2", 7, [10],
        )  # fmt: skip

    def test_others_are_left_alone(self, stored: Stored) -> None:
        stored.store(ORDERS, order(2))
        stored.store(ORDERS, order(1), organization=OTHER)
        stored.store(DELIVERIES, delivery(7, 2))
        erase_order(stored.database, ORG, 1)
        assert rows_with(stored, MARK) == {"orders": 2, "orderlines": 4, "deliveries": 1, "labels": 1}
        marked = stored.execute("SELECT organization_id, order_id, erased_at IS NOT NULL FROM backmarket.orders")
        assert sorted(marked) == [(ORG, 1, True), (ORG, 2, False), (OTHER, 1, False)]

    def test_readers_of_the_feed_hear_which_fields_are_gone(self, stored: Stored) -> None:
        erase_order(stored.database, ORG, 1)
        assert sorted(stored.news()) == [
            ("deliveries", "5", "updated", ["labelUrl", "newInTheApi", "pickupInfo", "trackingNumber", "trackingUrl"]),
            (
                "orders", "1", "updated",
                ["billing_address", "customer_email", "delivery_note", "orderlines", "paypal_reference",
                 "psp_reference", "shipping_address", "tracking_number", "tracking_url"],
            ),
            ("returns", "6", "updated", ["label", "trackingNumber"]),
        ]  # fmt: skip
        assert erase_order(stored.database, ORG, 1) == Erased(1, 2, 1, 1)
        assert stored.news() == [], "there was nothing to erase"

    def test_what_is_not_there(self, stored: Stored) -> None:
        with pytest.raises(OrderNotStored, match="repeat this when it has ended"):
            erase_order(stored.database, ORG, 404)
        with pytest.raises(ConnectionNotFound):
            erase_order(stored.database, "nobody", 1)

    def test_parcels_of_an_order_that_is_not_stored(self, stored: Stored) -> None:
        stored.store(DELIVERIES, delivery(8, 99))
        assert erase_order(stored.database, ORG, 99) == Erased(0, 0, 1, 0)
        stored.store(DELIVERIES, delivery(8, 99, hubScanned=True))
        assert stored.one("SELECT hub_scanned, tracking_number FROM backmarket.deliveries WHERE shipment_id = 8") == (
            True, None,
        )  # fmt: skip


class TestLaterSyncs:
    @pytest.fixture(autouse=True)
    def _erased(self, stored: Stored) -> None:
        erase_order(stored.database, ORG, 1)
        stored.news()

    def test_the_same_rows_are_recognized_and_not_written(self, stored: Stored) -> None:
        versions = "SELECT o.xmin::text, l.xmin::text FROM backmarket.orders o, backmarket.orderlines l"
        before = stored.execute(versions)
        assert stored.store(ORDERS, order(1)) == UpsertCounts(unchanged=1)
        assert stored.store(DELIVERIES, delivery(5, 1)) == UpsertCounts(unchanged=1)
        assert stored.execute(versions) == before
        assert rows_with(stored, MARK) == {}

    def test_a_new_state_is_stored_and_no_address(self, stored: Stored) -> None:
        changed = order(1, state=3, date_modification="2026-06-01T10:00:00Z", gift_message=f"for {MARK}")
        changed["orderlines"][0] |= {"state": 6, "return_message": f"{MARK} again"}
        assert stored.store(ORDERS, changed) == UpsertCounts(updated=1)
        assert stored.one("SELECT state, shipping_address, billing_address FROM backmarket.orders") == (3, None, None)
        assert stored.one("SELECT state FROM backmarket.orderlines WHERE orderline_id = 10") == 6
        assert rows_with(stored, MARK) == {}
        assert stored.news() == [("orders", "1", "updated", ["date_modification", "orderlines", "state"])]
        assert stored.store(ORDERS, changed) == UpsertCounts(unchanged=1)

    def test_a_new_address_alone_is_no_change(self, stored: Stored) -> None:
        assert stored.store(ORDERS, order(1, shipping_address={"street": f"{MARK} 2"})) == UpsertCounts(unchanged=1)
        assert rows_with(stored, MARK) == {}
        assert stored.news() == []

    def test_a_new_line_and_a_new_parcel_of_the_order(self, stored: Stored) -> None:
        stored.store(ORDERS, order(1, orderlines=[line(10), line(12, state=1)]))
        stored.store(DELIVERIES, delivery(15, 1), delivery(16, 2))
        stored.store(RETURNS, returned(25, 1))
        assert rows_with(stored, MARK) == {"deliveries": 1, "labels": 1}, "that of another order"
        marked = "SELECT erased_at IS NOT NULL FROM backmarket."
        assert stored.one(f"{marked}orderlines WHERE orderline_id = 12")
        assert stored.one(f"{marked}deliveries WHERE shipment_id = 15")
        assert not stored.one(f"{marked}deliveries WHERE shipment_id = 16")
        assert stored.one("SELECT state, price::text FROM backmarket.orderlines WHERE orderline_id = 12") == (
            1,
            "10.00",
        )

    def test_a_parcel_that_changes(self, stored: Stored) -> None:
        changed = delivery(5, 1, dateDelivery="2026-05-03T10:00:00Z", labelUrl=f"/labels/{MARK}-2.pdf")
        assert stored.store(DELIVERIES, changed) == UpsertCounts(updated=1)
        assert stored.one("SELECT date_delivery, label_url FROM backmarket.deliveries") == (
            datetime(2026, 5, 3, 10, tzinfo=UTC), None,
        )  # fmt: skip
        assert rows_with(stored, MARK) == {}
        assert stored.execute("SELECT * FROM backmarket.labels") == []

    def test_an_order_that_was_gone_and_comes_back(self, stored: Stored) -> None:
        stored.execute("UPDATE backmarket.orders SET removed_at = now()")
        assert stored.store(ORDERS, order(1)) == UpsertCounts(created=1)
        assert stored.one("SELECT removed_at, erased_at IS NOT NULL FROM backmarket.orders") == (None, True)
        assert rows_with(stored, MARK) == {}

    def test_rows_beside_it_keep_everything(self, stored: Stored) -> None:
        assert stored.store(ORDERS, order(1, state=3), order(2)) == UpsertCounts(created=1, updated=1)
        found = stored.one(
            "SELECT shipping_address->>'first_name', erased_at FROM backmarket.orders WHERE order_id = 2"
        )
        assert found == (MARK, None)


class TestAtTheSameTime:
    def test_erasing_waits_for_a_batch_that_is_being_written_and_erases_it(self, stored: Stored) -> None:
        changed = parse_page(ORDERS, json.dumps({"results": [order(1, state=3)]}).encode()).rows
        with ThreadPoolExecutor(1) as pool:
            with stored.database.transaction() as transaction:
                transaction.execute(
                    "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = 'orders' FOR UPDATE",
                    (ORG,),
                )
                erasing = pool.submit(erase_order, stored.database, ORG, 1)
                wait_until(lambda: waiting(stored), "the erasing waits")
                store(transaction, ORDERS, ORG, changed)
            assert erasing.result(PATIENCE_SECONDS).orders == 1
        assert stored.one("SELECT state, shipping_address FROM backmarket.orders") == (3, None)
        assert rows_with(stored, MARK) == {}


def waiting(stored: Stored) -> bool:
    return bool(stored.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


class TestByAge:
    @pytest.fixture
    def old(self, stored: Stored) -> Stored:
        """Orders of the last year; what is closed and what is not."""
        ago = [(datetime.now(UTC) - timedelta(days=days)).isoformat() for days in (100, 10)]
        stored.execute(
            "DELETE FROM backmarket.orders; DELETE FROM backmarket.deliveries; DELETE FROM backmarket.returns"
        )
        dates = {"date_creation": ago[0], "date_modification": ago[0]}
        stored.store(
            ORDERS,
            order(21, **dates),
            order(22, **dates, state=8, orderlines=[line(220, state=7)]),
            order(23, **dates, state=3),
            order(24, **dates, orderlines=[line(240), line(241, state=2)]),
            order(25, **dates | {"date_modification": ago[1]}),
            order(26, **dates),
            order(27, **dates, state=1),
            order(28, **dates, orderlines=[line(280, state=77)]),
        )
        stored.store(DELIVERIES, delivery(31, 21, dateCreation=ago[0]))
        stored.store(RETURNS, returned(32, 26, dateCreation=ago[1]))
        stored.execute("UPDATE backmarket.orders SET removed_at = now() WHERE order_id = 27")
        stored.execute("UPDATE backmarket.orderlines SET removed_at = now() WHERE order_id = 27")
        return stored

    def erased(self, stored: Stored) -> set[int]:
        found = stored.execute("SELECT order_id FROM backmarket.orders WHERE erased_at IS NOT NULL")
        return {key for (key,) in found}

    def test_what_is_closed_and_has_not_changed_for_so_long(self, old: Stored) -> None:
        assert erase_old(old.database, 30) == ErasedOld(3)
        assert self.erased(old) == {21, 22, 27}
        assert old.one("SELECT tracking_number FROM backmarket.deliveries") is None
        assert erase_old(old.database, 30) == ErasedOld()
        assert erase_old(old.database, 5) == ErasedOld(2)
        assert self.erased(old) == {21, 22, 25, 26, 27}

    def test_zero_keeps_everything(self, old: Stored) -> None:
        assert erase_old(old.database, 0) == ErasedOld()
        assert erase_old(old.database, 30, seconds=0) == ErasedOld(more=True)
        assert self.erased(old) == set()

    def test_in_batches_of_several_organizations(self, old: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("backmarket.upkeep.erasure.BATCH", 2)
        for organization in (ORG, OTHER):
            old.store(ORDERS, *(order(key) for key in range(50, 55)), organization=organization)
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda _: erase_old(old.database, 30), range(2)))
        erase_old(old.database, 30)
        assert sum(each.orders for each in done) <= 13
        assert len(self.erased(old)) == 8
        assert old.one("SELECT count(*) FROM backmarket.orders WHERE erased_at IS NOT NULL") == 13

    def test_the_upkeep_does_it(self, old: Stored, settings: Settings) -> None:
        with BackMarket(settings.model_copy(update={"personal_data_days": 30})) as bm:
            assert bm.upkeep().orders_erased == 3
            assert bm.upkeep().orders_erased == 0


class TestWithTheSandbox:
    def test_a_whole_seller(self, settings: Settings) -> None:
        with fresh_sandbox(limit=100_000) as server:
            shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), server.control, tuple(RESOURCES))
            shop.sell(ORG, orders=120)
            for name in RESOURCES:
                assert shop.sync(ORG, name).end == "done"
            shipped = shop.one("SELECT order_id FROM backmarket.deliveries WHERE label_url IS NOT NULL LIMIT 1")
            texts = personal_texts(shop, shipped)
            view = Stored(settings.need("database_url"))
            assert rows_with(view, *texts)
            with BackMarket(shop.settings) as bm:
                erased = bm.erase_order(ORG, shipped)
                assert (erased.orders, erased.orderlines > 0, erased.deliveries > 0) == (1, True, True)
                assert rows_with(view, *texts) == {}
                shop.sandbox.change(ORG, modify=120)
                for name in RESOURCES:
                    assert shop.sync(ORG, name, full=True).end == "done"
                texts |= personal_texts(shop, shipped)
                assert rows_with(view, *texts) == {}
                assert bm.fetch_order(ORG, shipped).shipping_address is None
                assert rows_with(view, *texts) == {}
            view.database.close()
            shop.services.close()


def personal_texts(shop: Shop, order_id: int) -> set[str]:
    """What the sandbox has of an order that no other row has."""
    (found,) = [row for row in shop.sandbox.truth(ORG) if row["order_id"] == order_id]
    texts = {found["shipping_address"]["street"], found["tracking_number"], found["tracking_url"]}
    for name, field in (("deliveries", "order"), ("returns", "orderId")):
        for row in shop.sandbox.truth(ORG, name):
            if row[field] == order_id:
                texts |= {row["trackingNumber"], row["trackingUrl"], row.get("labelUrl"), row.get("label")}
    return {text for text in texts if text}


class TestCommand:
    def test_erase(self, stored: Stored, database_url: str) -> None:
        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [COMMAND, "orders", "erase", ORG, *arguments],
                env={**os.environ, f"{ENV_PREFIX}DATABASE_URL": database_url},
                capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip

        asked = run("1")
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
        done = run("1", "--yes", "--json")
        assert (done.returncode, json.loads(done.stdout)["orderlines"]) == (0, 2)
        assert rows_with(stored, MARK) == {}
        unknown = run("404", "--yes")
        assert (unknown.returncode, unknown.stdout, "Nothing of order 404" in unknown.stderr) == (3, "", True)


class TestBlanking:
    def test_listings_have_no_personal_data(self) -> None:
        assert LISTINGS.personal == ()

    @pytest.mark.parametrize("resource", [ORDERS, DELIVERIES, RETURNS], ids=lambda resource: resource.name)
    def test_what_is_declared_personal_is_a_column(self, resource: Resource) -> None:
        for table in (resource, *([resource.lines] if resource.lines else [])):
            assert table.personal
            assert set(table.personal) <= {column.name for column in table.columns}

    @pytest.mark.parametrize(
        "lines", ["null", "7", '"x"', "[]", "[null, 7, []]", '{"SKU": {"id": 3, "email": "PERSONAL"}}']
    )
    def test_lines_of_any_form(self, lines: str) -> None:
        text = f'{{"order_id": 1, "state": 3, "big": 1e999, "orderlines": {lines}, "who": "{MARK}", "price": 1.10}}'
        row = parse_object(ORDERS, text.encode())
        assert row is not None
        blanked = blank(ORDERS, row)
        assert blanked.content == row.content
        assert MARK not in repr(blanked)
        assert blanked.raw.startswith('{"order_id":1,"state":3,"price":1.10,"orderlines":[')

    def test_of_what_cannot_be_read_nothing_stays(self) -> None:
        deep = '{"order_id": 1, "deep": ' + "[" * 50_000 + f'"{MARK}"' + "]" * 50_000 + "}"
        assert blank(ORDERS, Row(1, (1, *[None] * (len(ORDERS.sent) - 1)), deep, 7)).raw == "{}"


FAILING, GOOD = range(10, 22), range(30, 36)


@pytest.fixture
def tries(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each order that cannot be erased was to be; they are older than the good ones."""
    stored.store(ORDERS, *(order(key, date_creation=f"2025-05-{key}T10:00:00Z") for key in FAILING))
    stored.store(ORDERS, *(order(key, date_creation=f"2025-06-{key - 20}T10:00:00Z") for key in GOOD))
    tries, whole = Counter[int](), resources.blank_object

    def blank_object(table: Any, raw: str) -> Any:
        key = json.loads(raw).get("order_id")
        if key in FAILING:
            tries[key] += 1
            raise RecursionError
        return whole(table, raw)

    monkeypatch.setattr(erasure, "blank_object", blank_object)
    monkeypatch.setattr(erasure, "BATCH", 4)
    return tries


def unerased(stored: Stored) -> set[int]:
    return {key for (key,) in stored.execute("SELECT order_id FROM backmarket.orders WHERE erased_at IS NULL")}


def test_orders_that_cannot_be_erased_hold_up_no_other(stored: Stored, tries: Counter[int]) -> None:
    assert erase_old(stored.database, 30).orders == len(GOOD) + 1, "and the order of every test"
    assert unerased(stored) == set(FAILING)
    assert set(tries) == set(FAILING)
    assert max(tries.values()) <= 2


def test_orders_that_cannot_be_erased_hold_up_no_other_though_they_use_up_the_time(
    stored: Stored, tries: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = count()
    monkeypatch.setattr(erasure, "monotonic", lambda: next(moments))
    upkeeps = 0
    while unerased(stored) & set(GOOD):
        erase_old(stored.database, 30, seconds=1.5)  # time for one batch
        upkeeps += 1
        assert upkeeps <= 200, "by chance: never"
