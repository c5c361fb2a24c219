"""Listings, deliveries and returns: stored as the API has them, at the least cost, and what goes is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backmarket.settings import Settings
from backmarket.status.sync_status import get_sync_status
from backmarket.sync import requests
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, counted_writes
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
SHIPMENTS = ("deliveries", "returns")


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        unlimited = settings.model_copy(update={"rate_limit": 100_000})
        shop = Shop(unlimited, sandbox.control, ("orders", "listings", "deliveries", "returns"))
        yield shop
        shop.services.close()


def asked(shop: Shop) -> list[tuple[str, dict[str, str]]]:
    """The requests since this was last asked: operation and parameters, without paging."""
    seen = [
        (entry.operation, {name: text for name, text in entry.query.items() if not name.startswith("page")})
        for entry in shop.sandbox.requests()
    ]
    shop.sandbox.reset()
    return seen


def events(shop: Shop, resource: str, kind: str) -> list[str]:
    found = shop.execute(
        "SELECT external_id FROM backmarket.changes WHERE resource = %s AND kind = %s ORDER BY id", resource, kind
    )
    return [external_id for (external_id,) in found]


def state(shop: Shop, resource: str, column: str) -> Any:
    return shop.one(f"SELECT {column} FROM backmarket.sync_state WHERE resource = %s", resource)


def pass_time(shop: Shop, resource: str, interval: str) -> None:
    """As if the last sync had been so long ago."""
    shop.execute(
        "UPDATE backmarket.sync_state SET watermark = watermark - %s::interval, next_due_at = now()"
        " WHERE resource = %s",
        interval,
        resource,
    )


class TestListings:
    def test_every_page_is_asked_once_and_what_is_unchanged_costs_no_write(self, shop: Shop) -> None:
        shop.sell(ORG, orders=0, listings=1020)
        assert shop.sync(ORG, "listings").requests == 21
        shop.assert_rows_equal_truth(ORG, "listings")
        shop.make_due(ORG, "listings")
        with counted_writes(shop) as writes:
            slice_ = shop.run_slice(ORG, "listings", ask=False)
            assert (slice_.end, slice_.requests) == ("done", 21)
            assert writes() == {"sync_state": 2}, "the lease, and the end of the slice"
        changed = shop.sandbox.change(ORG, resource="listings", modify=7).modified
        with counted_writes(shop) as writes:
            shop.sync(ORG, "listings")
            assert writes()["listings"] == 7
        assert sorted(events(shop, "listings", "updated")) == sorted(map(str, changed))
        shop.assert_rows_equal_truth(ORG, "listings")

    def test_a_catalogue_of_one_page_costs_one_request_and_one_write(self, shop: Shop) -> None:
        shop.sell(ORG, orders=0, listings=30)
        shop.sync(ORG, "listings")
        shop.make_due(ORG, "listings")
        with counted_writes(shop) as writes:
            slice_ = shop.run_slice(ORG, "listings", ask=False)
            assert (slice_.end, slice_.requests) == ("done", 1)
            assert writes() == {"sync_state": 1}

    @pytest.mark.parametrize("listings", [30, 300])
    def test_what_is_gone_is_marked_and_comes_back_when_it_reappears(self, shop: Shop, listings: int) -> None:
        shop.sell(ORG, orders=0, listings=listings)
        shop.sync(ORG, "listings")
        before = {row["id"]: row for row in shop.sandbox.truth(ORG, "listings")}
        gone = shop.sandbox.change(ORG, resource="listings", remove=3).removed
        shop.sync(ORG, "listings")
        shop.assert_rows_equal_truth(ORG, "listings")
        removed = "SELECT listing_id::text FROM backmarket.listings WHERE removed_at IS NOT NULL"
        assert sorted(key for (key,) in shop.execute(removed)) == sorted(map(str, gone))
        assert sorted(events(shop, "listings", "removed")) == sorted(map(str, gone))
        asked(shop)
        shop.sync(ORG, "listings")
        assert {operation for operation, _ in asked(shop)} == {"listings.list"}, "what is gone is not asked for again"
        # the same listing again, as the API would show it
        shop.execute(
            "UPDATE backmarket.listings SET removed_at = now() WHERE listing_id = %s",
            next(key for key in before if key not in gone),
        )
        shop.sync(ORG, "listings")
        shop.assert_rows_equal_truth(ORG, "listings")

    @pytest.mark.parametrize("order", ["creation_desc", "creation_asc"])
    def test_no_listing_is_taken_for_gone_while_rows_shift_between_pages(self, shop: Shop, order: str) -> None:
        shop.sandbox.settings(assumptions={"list_order": order})
        shop.restart(fetch_threads=1)
        shop.sell(ORG, orders=0, listings=600)
        shop.sync(ORG, "listings")
        for after in (1, 3, 4, 7, 9):
            shop.sandbox.change(
                ORG, resource="listings", operation="listings.list", after=after, remove=4, modify=3, add=4
            )
        shop.sync(ORG, "listings")
        truth = {row["id"] for row in shop.sandbox.truth(ORG, "listings")}
        marked = shop.execute("SELECT listing_id::text FROM backmarket.listings WHERE removed_at IS NOT NULL")
        assert {key for (key,) in marked} & truth == set(), "none that is still there"
        shop.sync(ORG, "listings")
        shop.assert_rows_equal_truth(ORG, "listings")

    def test_a_walk_of_many_slices_notices_what_is_gone(self, shop: Shop) -> None:
        shop.restart(task_budget_pages=5, fetch_threads=2)
        shop.sell(ORG, orders=0, listings=1000)
        shop.sync(ORG, "listings")
        shop.sandbox.change(ORG, resource="listings", remove=15)
        assert shop.sync(ORG, "listings").end == "done"
        shop.assert_rows_equal_truth(ORG, "listings")

    def test_when_very_many_are_gone_a_person_has_to_say_so(self, shop: Shop) -> None:
        shop.sell(ORG, orders=0, listings=200)
        shop.sync(ORG, "listings")
        shop.sandbox.change(ORG, resource="listings", remove=100)
        assert shop.sync(ORG, "listings").end == "done"
        assert shop.one("SELECT count(*) FROM backmarket.listings WHERE removed_at IS NOT NULL") == 0
        status = get_sync_status(shop.services.database, ORG)["listings"]
        assert (status.state, status.error_code, status.rows_missing) == ("incomplete", "rows_missing", 100)
        assert "--accept-missing" in str(status.error)
        shop.sync(ORG, "listings", accept_missing=True)
        shop.assert_rows_equal_truth(ORG, "listings")
        assert state(shop, "listings", "rows_missing") == 0
        assert state(shop, "listings", "accept_missing") is False, "said once, it holds once"

    def test_the_prices_of_the_connections_own_market_are_stored(self, shop: Shop) -> None:
        shop.sandbox.add_seller(ORG, "token", orders=0, listings=5)
        shop.connect(ORG, "token", locale="sv-se")
        shop.sync(ORG, "listings")
        assert shop.execute("SELECT DISTINCT currency FROM backmarket.listings") == [("SEK",)]


@pytest.mark.parametrize("resource", SHIPMENTS)
class TestShipments:
    def sell(self, shop: Shop, resource: str, count: int = 90, **spec: Any) -> None:
        shop.sell(ORG, orders=40, **{"deliveries": 0, "returns": 0, resource: count, **spec})
        shop.sync(ORG, resource)
        shop.assert_rows_equal_truth(ORG, resource)

    def test_a_quiet_sync_costs_one_request(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource)
        asked(shop)
        shop.make_due(ORG, resource)
        with counted_writes(shop) as writes:
            assert shop.run_slice(ORG, resource, ask=False).end == "done"
            assert writes() == {"sync_state": 1}
        ((operation, parameters),) = asked(shop)
        assert operation == f"{resource}.list"
        assert list(parameters) == ["start_date"]

    def test_a_new_one_comes_at_once_and_its_label_with_the_next_sync(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource)
        (new,) = shop.sandbox.change(ORG, resource=resource, add=1).added
        shop.sync(ORG, resource)
        shop.assert_rows_equal_truth(ORG, resource)
        labels = "SELECT url FROM backmarket.labels WHERE shipment_id = %s"
        assert shop.execute(labels, new) == [], "it has none yet"
        pass_time(shop, resource, "5 minutes")  # its creation is no longer within what is asked anyway
        shop.sandbox.change(ORG, resource=resource, modify=1, ids=[new])
        shop.run_slice(ORG, resource, ask=False)
        shop.assert_rows_equal_truth(ORG, resource)
        assert shop.one(labels, new).endswith(".pdf")

    def test_what_changes_after_creation_is_found_without_walking_everything(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource, 400)
        new = shop.sandbox.change(ORG, resource=resource, add=3).added
        shop.sandbox.change(ORG, resource=resource, modify=3, ids=new)  # labelled
        shop.sync(ORG, resource)
        for stage in ("scanned", "picked up", "arrived"):
            shop.sandbox.change(ORG, resource=resource, modify=3, ids=new)
            pass_time(shop, resource, "16 minutes")
            asked(shop)
            shop.run_slice(ORG, resource, ask=False)
            assert len(asked(shop)) <= 2, stage
            shop.assert_rows_equal_truth(ORG, resource)

    def test_what_changes_within_a_month_is_found_within_an_hour(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource)
        table, key = f"backmarket.{resource}", shop.one(f"SELECT max(shipment_id) FROM backmarket.{resource}")
        shop.sandbox.change(ORG, resource=resource, modify=1, ids=[key], fields={"trackingNumber": "moved"})
        # it was made ten days ago, and has not arrived
        shop.execute(
            f"UPDATE {table} SET date_delivery = NULL, date_creation = now() - interval '10 days'"
            " WHERE shipment_id = %s",
            key,
        )
        pass_time(shop, resource, "1 hour")
        asked(shop)
        shop.run_slice(ORG, resource, ask=False)
        (_, parameters), *_ = asked(shop)
        reached = shop.one("SELECT now() - %s::timestamptz > interval '10 days'", parameters["start_date"])
        assert reached, "far enough back"

    def test_a_full_walk_finds_the_rest(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource)
        shop.sandbox.change(ORG, resource=resource, modify=20, remove=5, where="oldest")
        shop.sync(ORG, resource, full=True)
        shop.assert_rows_equal_truth(ORG, resource)

    def test_labels_that_are_wanted_are_written_down(self, shop: Shop, resource: str) -> None:
        self.sell(shop, resource)
        column = {"deliveries": "labelUrl", "returns": "label"}[resource]
        labels = {row["shipmentId"]: row[column] for row in shop.sandbox.truth(ORG, resource) if row[column]}
        noted = "SELECT shipment_id, url FROM backmarket.labels WHERE resource = %s AND state = 'wanted'"
        assert dict(shop.execute(noted, resource)) == labels
        key = min(labels)
        shop.sandbox.change(ORG, resource=resource, modify=1, ids=[key], fields={column: "/static/another.pdf"})
        before = shop.execute("SELECT noted_at FROM backmarket.labels WHERE shipment_id <> %s ORDER BY 1", key)
        shop.sync(ORG, resource, full=True)
        assert dict(shop.execute(noted, resource)) == {**labels, key: "/static/another.pdf"}
        after = shop.execute("SELECT noted_at FROM backmarket.labels WHERE shipment_id <> %s ORDER BY 1", key)
        assert before == after, "the others stay as they are"

    def test_a_sync_that_is_told_to_leave_labels_leaves_them_to_the_next(self, shop: Shop, resource: str) -> None:
        shop.sell(ORG, orders=40, deliveries=50, returns=50)
        shop.sync(ORG, resource, download_labels=False)
        states = "SELECT DISTINCT state FROM backmarket.labels"
        assert shop.execute(states) == [("skipped",)]
        shop.sync(ORG, resource)
        assert shop.execute(states) == [("wanted",)]

    def test_an_organization_can_do_without_labels(self, shop: Shop, resource: str) -> None:
        shop.sell(ORG, orders=40, deliveries=50, returns=50)
        shop.execute("UPDATE backmarket.sync_state SET download_labels = false")
        for _ in range(2):
            shop.sync(ORG, resource)
        assert shop.execute("SELECT DISTINCT state FROM backmarket.labels") == [("skipped",)]

    def test_a_seller_without_backship_is_well_elsewhere(self, shop: Shop, resource: str) -> None:
        shop.sell(ORG, orders=10, backship=False)
        assert shop.sync(ORG, resource).end == "failed"
        assert state(shop, resource, "availability") == "not_available"
        assert state(shop, resource, "failing_since") is None
        assert state(shop, resource, "next_due_at > now() + interval '23 hours'")
        assert shop.sync(ORG).end == "done"
        assert shop.one("SELECT last_error_code FROM backmarket.connections") is None
        shop.sandbox.patch_seller(ORG, backship=True)
        assert shop.sync(ORG, resource).end == "done"
        assert state(shop, resource, "availability") == "available"


class TestFullWalks:
    def test_a_sync_that_falls_due_goes_before_an_unfinished_full_walk(self, shop: Shop) -> None:
        shop.restart(task_budget_pages=4, fetch_threads=2)
        shop.sell(ORG, orders=1000)
        shop.sync(ORG)
        shop.execute("UPDATE backmarket.sync_state SET full_walk_due_at = now() WHERE resource = 'orders'")
        shop.make_due(ORG)
        assert shop.run_slice(ORG, ask=False).end == "handed_on"
        changed = shop.sandbox.change(ORG, modify=1).modified
        asked(shop)
        assert shop.run_slice(ORG).end == "done", "somebody asked"
        assert [list(parameters) for _, parameters in asked(shop)] == [["date_modification"]]
        assert events(shop, "orders", "updated") == [str(key) for key in changed]
        assert state(shop, "orders", "next_due_at <= now()"), "the full walk goes on"
        assert state(shop, "orders", "served = requested")
        runs = state(shop, "orders", "runs")
        while shop.run_slice(ORG, ask=False).end == "handed_on":
            shop.make_due(ORG)
        assert state(shop, "orders", "runs") == runs + 1
        assert state(shop, "orders", "full_walk_due_at > now()")
        assert not any(parameters for _, parameters in asked(shop)), "from where it was"
        assert shop.one("SELECT count(*) FROM backmarket.walks") == 0
        shop.assert_equals_truth(ORG)

    def test_a_full_walk_that_was_asked_for_is_not_answered_by_less(self, shop: Shop) -> None:
        shop.restart(task_budget_pages=4, fetch_threads=2)
        shop.sell(ORG, orders=1000)
        shop.sync(ORG)
        request = requests.request_sync(shop.services.database, ORG, "orders", full=True)
        assert shop.run_slice(ORG, ask=False).end == "handed_on"
        assert shop.run_slice(ORG).end == "done"
        assert state(shop, "orders", "served") < request.number
        shop.make_due(ORG)
        while shop.run_slice(ORG, ask=False).end != "nothing_to_do":
            shop.execute("UPDATE backmarket.sync_state SET next_due_at = now() WHERE requested > served")
        assert state(shop, "orders", "served = requested")

    @pytest.mark.parametrize("whose", ["schedule", "sync_state"])
    def test_a_schedule_that_changes_while_a_slice_runs_counts_at_its_end(self, shop: Shop, whose: str) -> None:
        shop.sell(ORG, orders=10)
        shop.every(86400)
        with ThreadPoolExecutor(1) as pool:
            shop.sandbox.settings(latency=3.0)
            slice_ = pool.submit(shop.run_slice, ORG)
            wait_until(lambda: state(shop, "orders", "lease_until IS NOT NULL"), "the slice runs")
            shop.execute(f"UPDATE backmarket.{whose} SET interval_seconds = 60, full_interval_seconds = 600")
            assert slice_.result(PATIENCE_SECONDS).end == "done"
        assert state(shop, "orders", "next_due_at < now() + interval '61 s'")
        assert state(shop, "orders", "full_walk_due_at < now() + interval '901 s'")

    def test_what_is_switched_off_is_synced_only_when_asked(self, shop: Shop) -> None:
        shop.sell(ORG, orders=10)
        shop.execute("UPDATE backmarket.sync_state SET enabled = false WHERE resource = 'orders'")
        assert requests.claim_due(shop.services.database, "orders") == []
        assert shop.run_slice(ORG, ask=False).end == "nothing_to_do"
        assert shop.run_slice(ORG).end == "done"
        shop.execute("UPDATE backmarket.schedule SET enabled = false")
        assert requests.claim_due(shop.services.database, "listings") == []
        assert shop.run_slice(ORG, "listings").end == "done"
