"""The further markets of a connection: each is copied by walks of its own, and what is one market's is no other's."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from backmarket import BackMarket
from backmarket.bulk.engine.slice import run_slice as run_bulk
from backmarket.errors import InvalidArgument, NotFound
from backmarket.messages import Nudge
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.sync.engine import run_slice
from backmarket.sync.requests import claim_due, request_sync
from backmarket.writes.engine.slice import run_slice as run_writes
from tests.support.bulk_files import hurry
from tests.support.databases import empty
from tests.support.sellers import Shop, counted_writes

ORG, OTHER = "auth0|1", "auth0|2"
MARKETS = ["de-de", "es-es"]
LISTINGS = 60


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    """A process with hardly a limit; its seller sells in three markets."""
    sandbox.start_over()
    sandbox.settings(limit=100_000, task_delay=0.0)
    shop = Shop(
        settings.model_copy(update={"rate_limit": 100_000, "bulk_poll_initial_seconds": 0.01}), sandbox, ("listings",)
    )
    shop.sell(ORG, orders=0, listings=LISTINGS, markets=MARKETS)
    yield shop
    shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as market:
        yield market


def run_due(shop: Shop) -> None:
    """Run what the dispatcher would nudge, until nothing is due; what a failure puts off is hurried."""
    for _ in range(100):
        shop.execute(
            "UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL WHERE requested > served"
        )
        nudges = claim_due(shop.services.database, "listings", only_requested=True)
        if not nudges:
            return
        for nudge in nudges:
            run_slice(shop.services, nudge.organization_id, nudge.name, nudge.market)
    raise AssertionError("syncs do not come to an end")


def sync_all(shop: Shop, *organizations: str, **asked: Any) -> None:
    for organization in organizations or (ORG,):
        request_sync(shop.services.database, organization, "listings", **asked)
    run_due(shop)


def assert_equal(shop: Shop, *organizations: str) -> None:
    for organization in organizations or (ORG,):
        shop.assert_rows_equal_truth(organization, "listings")
        for market in MARKETS:
            shop.assert_market_equals_truth(organization, market)


def events(shop: Shop, since: int = 0) -> list[tuple[Any, ...]]:
    return shop.execute(
        "SELECT market, kind, fields, external_id FROM backmarket.changes WHERE id > %s ORDER BY market, id", since
    )


def newest_event(shop: Shop) -> int:
    return int(shop.one("SELECT COALESCE(max(id), 0) FROM backmarket.changes"))


class TestAllMarkets:
    def test_three_markets_of_two_organizations_equal_the_truth_under_faults(self, shop: Shop, bm: BackMarket) -> None:
        """Prices changed in one market, a listing unpublished in one, one removed in all, a bulk job for one."""
        shop.sell(OTHER, orders=0, listings=LISTINGS, markets=MARKETS)
        for kind in ("status", "reset", "garbage"):
            shop.sandbox.add_fault(kind, operation="listings.list", probability=0.02 / 3)
        sync_all(shop, ORG, OTHER)
        assert_equal(shop, ORG, OTHER)

        truth = shop.sandbox.truth(ORG, "listings")
        repriced, unpublished, gone = ([row["id"]] for row in truth[:3])
        change = {"resource": "listings", "modify": 1}
        shop.sandbox.change(ORG, **change, ids=repriced, market="de-de", fields={"price": "77.70"})
        shop.sandbox.change(ORG, **change, ids=unpublished, market="es-es", fields={"publication_state": 0})
        shop.sandbox.change(ORG, resource="listings", remove=1, ids=gone)
        before = newest_event(shop)
        sync_all(shop, ORG, OTHER)
        assert_equal(shop, ORG, OTHER)
        seen = events(shop, before)
        assert ("de-de", "updated", ["price"], repriced[0]) in seen
        assert [(market, key) for market, kind, _, key in seen if kind == "removed"] == [
            (market, gone[0]) for market in ("", *MARKETS)
        ]
        assert {market for market, _, _, key in seen if key == repriced[0]} == {"de-de"}

        rows = [row for row in truth[3:] if row["sku"]][:5]
        lines = "\n".join(["sku;price;quantity", *(f"{row['sku']};{50 + at}.25;{at}" for at, row in enumerate(rows))])
        job = bm.create_or_update_listings(ORG, lines, market="de-de")
        while bm.get_bulk_job(ORG, job.id).ended_at is None:  # type: ignore[union-attr]
            hurry(shop)
            run_bulk(shop.services, ORG)
        requested = shop.execute("SELECT market FROM backmarket.sync_state WHERE requested > served ORDER BY 1")
        assert requested == [("",), ("de-de",)], "the market of the job, and the common quantity"
        run_due(shop)
        assert bm.get_bulk_job(ORG, job.id).state == "done"  # type: ignore[union-attr]
        shop.assert_rows_equal_truth(ORG, "listings")
        shop.assert_market_equals_truth(ORG, "de-de")
        sync_all(shop)  # without stock, a listing is offline in the third market, too, which follows at its interval
        assert_equal(shop, ORG, OTHER)
        listing = bm.get_listing_by_sku(ORG, rows[1]["sku"], market="de-de")
        assert listing
        assert (listing.price, listing.quantity, listing.market) == (Decimal("51.25"), 1, "de-de")

    def test_unpublished_or_removed_in_one_market_is_neither_in_another(self, shop: Shop, bm: BackMarket) -> None:
        shop.sandbox.settings(assumptions={"market_list": "offered"})
        sync_all(shop)
        first, second = shop.sandbox.truth(ORG, "listings", "de-de")[:2]
        shop.sandbox.change(ORG, resource="listings", remove=1, ids=[first["id"]], market="de-de")
        shop.sandbox.change(
            ORG, resource="listings", modify=1, ids=[second["id"]], market="de-de", fields={"publication_state": 0}
        )
        sync_all(shop)
        removed = "SELECT market, listing_id::text FROM backmarket.listing_markets WHERE removed_at IS NOT NULL"
        assert shop.execute(removed) == [("de-de", first["id"])]
        assert shop.one("SELECT count(*) FROM backmarket.listings WHERE removed_at IS NOT NULL") == 0
        shown = {each.market: each for each in bm.get_listing_markets(ORG, [UUID(first["id"])])}
        assert (shown["de-de"].removed_at is None, shown["es-es"].removed_at is None) == (False, True)
        states = {
            market: bm.get_listing_by_id(ORG, second["id"], market=market).publication_state  # type: ignore[union-attr]
            for market in ("de-de", "es-es")
        }
        truth = {row["id"]: row["publication_state"] for row in shop.sandbox.truth(ORG, "listings", "es-es")}
        assert states == {"de-de": 0, "es-es": truth[second["id"]]}
        offered = bm.get_listings(ORG, market="de-de", limit=1000)
        assert len(offered) == LISTINGS - 1
        assert {each.publication_state for each in bm.get_listings(ORG, market="de-de", publication_state=0)} == {0}
        with pytest.raises(NotFound):
            bm.fetch_listing(ORG, first["id"], market="de-de")

    def test_many_that_are_missing_in_one_market_are_accepted_there(self, shop: Shop, bm: BackMarket) -> None:
        shop.sandbox.settings(assumptions={"market_list": "offered"})
        sync_all(shop)
        ids = [row["id"] for row in shop.sandbox.truth(ORG, "listings")[:30]]
        shop.sandbox.change(ORG, resource="listings", remove=30, ids=ids, market="es-es")
        sync_all(shop)
        missing = "SELECT market, rows_missing FROM backmarket.sync_state ORDER BY market"
        assert shop.execute(missing) == [("", 0), ("de-de", 0), ("es-es", 30)]
        (item,) = bm.get_inbox(ORG)
        assert (item.kind, item.resource, item.market, item.count) == ("rows_missing", "listings", "es-es", 30)
        status = bm.get_connection_status(ORG).resources
        assert {key: each.state for key, each in status.items()} == {
            "listings": "ok", "listings/de-de": "ok", "listings/es-es": "incomplete"
        }  # fmt: skip
        sync_all(shop, accept_missing=True, market="es-es")
        assert [rows for _, rows in shop.execute(missing)] == [0, 0, 0]
        assert shop.execute(
            "SELECT market, count(*) FROM backmarket.listing_markets WHERE removed_at IS NOT NULL GROUP BY 1"
        ) == [("es-es", 30)]


class TestSyncs:
    def test_a_request_makes_all_markets_due_and_the_dispatcher_one_message_each(
        self, shop: Shop, bm: BackMarket
    ) -> None:
        sync_all(shop)
        request = request_sync(shop.services.database, ORG, "listings")
        assert [each.market for each in request.each] == ["", *MARKETS]
        shop.execute("UPDATE backmarket.sync_state SET nudged_until = NULL")
        nudges = claim_due(shop.services.database, "listings")
        assert sorted(nudges, key=lambda nudge: nudge.market) == [
            Nudge("listings", ORG, market) for market in ("", *MARKETS)
        ]
        one = request_sync(shop.services.database, ORG, "listings", market="DE-DE")
        assert [each.market for each in one.each] == ["de-de"]
        own = request_sync(shop.services.database, ORG, "listings", market="fr-fr")
        assert [each.market for each in own.each] == [""]
        for resource, market in (("listings", "it-it"), ("orders", "de-de")):
            with pytest.raises(InvalidArgument, match="market"):
                request_sync(shop.services.database, ORG, resource, market=market)

    def test_a_handle_waits_for_every_market(self, shop: Shop, bm: BackMarket) -> None:
        handle = bm.sync_listings(ORG)
        for market in ("", "de-de"):
            run_slice(shop.services, ORG, "listings", market)
            assert handle.done() is None
        run_slice(shop.services, ORG, "listings", "es-es")
        outcome = handle.done()
        assert outcome
        assert (outcome.rows_created, outcome.requests) == (3 * LISTINGS, 6)
        assert bm.sync_listings(ORG, market="de-de").request.further == ()

    def test_a_walk_in_each_market_goes_on_from_its_own_checkpoint(self, shop: Shop) -> None:
        shop.restart(task_budget_pages=1, fetch_threads=1)
        for market in ("", *MARKETS):
            assert shop.run_slice(ORG, "listings", market=market).end == "handed_on"
        checkpoints = shop.execute("SELECT market, next_page FROM backmarket.walks ORDER BY 1")
        assert checkpoints == [("", 2), ("de-de", 2), ("es-es", 2)]
        run_due(shop)
        assert_equal(shop)
        assert shop.one("SELECT count(*) FROM backmarket.walks") == 0
        requests = shop.execute("SELECT market, requests FROM backmarket.sync_runs ORDER BY 1")
        assert requests == [("", 2), ("de-de", 2), ("es-es", 2)]

    def test_a_market_that_fails_fails_alone(self, shop: Shop, bm: BackMarket) -> None:
        sync_all(shop)
        shop.sandbox.add_fault("status", status=500)
        assert shop.run_slice(ORG, "listings", market="de-de").end == "failed"
        shop.sandbox.remove_faults()
        due = "SELECT market, failures, next_due_at > now() FROM backmarket.sync_state WHERE failures > 0"
        assert shop.execute(due) == [("de-de", 1, True)]
        for market in ("", "es-es"):
            assert shop.run_slice(ORG, "listings", market=market).end == "done"
        states = {key: each.state for key, each in bm.get_connection_status(ORG).resources.items()}
        assert states == {"listings": "ok", "listings/de-de": "failing", "listings/es-es": "ok"}
        (error,) = shop.execute("SELECT market, error_code FROM backmarket.sync_runs WHERE outcome = 'failed'")
        assert error == ("de-de", "server_error")
        run_due(shop)
        assert bm.get_connection_status(ORG).connection.health == "ok"

    def test_a_common_change_is_told_once(self, shop: Shop) -> None:
        """The quantity is the same in all markets: their rows do not have it."""
        sync_all(shop)
        before = newest_event(shop)
        row = next(row for row in shop.sandbox.truth(ORG, "listings") if row["quantity"] > 2)
        shop.sandbox.change(ORG, resource="listings", modify=1, ids=[row["id"]], fields={"quantity": 2})
        sync_all(shop)
        assert events(shop, before) == [("", "updated", ["quantity"], row["id"])]
        assert_equal(shop)

    def test_a_quiet_sync_of_a_market_writes_two_rows(self, shop: Shop) -> None:
        """As one of a resource: the nudge and the end (a request is one more)."""
        sync_all(shop)
        with counted_writes(shop) as counted:
            shop.execute("UPDATE backmarket.sync_state SET next_due_at = now() WHERE market = 'de-de'")
            (nudge,) = claim_due(shop.services.database, "listings")
            assert run_slice(shop.services, ORG, "listings", nudge.market).end == "done"
        # the update of this test, the nudge, the lease and the end: two pages need a lease
        assert counted() == {"sync_state": 4}


class TestConnections:
    def test_a_market_that_is_left_takes_its_rows_along(self, shop: Shop, bm: BackMarket) -> None:
        sync_all(shop)
        before = newest_event(shop)
        connection = bm.update_connection(ORG, markets=["es-es", "IT-IT", "fr-fr"])
        assert connection.markets == ["es-es", "it-it"]
        assert shop.execute("SELECT DISTINCT market FROM backmarket.listing_markets") == [("es-es",)]
        syncs = "SELECT market FROM backmarket.sync_state WHERE resource = 'listings' ORDER BY 1"
        assert shop.execute(syncs) == [("",), ("es-es",), ("it-it",)]
        gone = [each for each in events(shop, before) if each[1] == "removed"]
        assert {market for market, *_ in gone} == {"de-de"}
        assert len(gone) == LISTINGS
        assert run_slice(shop.services, ORG, "listings", "de-de").end == "nothing_to_do"
        with pytest.raises(InvalidArgument, match="no market 'de-de'"):
            bm.get_listings(ORG, market="de-de")

    def test_what_is_not_named_stays(self, shop: Shop, bm: BackMarket) -> None:
        bm.update_schedule("listings", organization_id=ORG, interval=77)
        parts = {"base_url": shop.sandbox.url}
        assert bm.upsert_connection(ORG, "another-key", **parts).markets == MARKETS  # type: ignore[arg-type]
        assert bm.update_connection(ORG, locale="de-de").markets == ["es-es"], "the locale is no further market"
        assert bm.update_connection(ORG, markets=["it-it"]).markets == ["it-it"]
        assert shop.execute(
            "SELECT DISTINCT interval_seconds FROM backmarket.sync_state WHERE resource = 'listings'"
        ) == [(77.0,)]
        assert bm.update_connection(ORG, region="NA", locale="en-us", discard_rows=True).markets == []
        assert bm.update_connection(ORG, markets=()).markets == []
        with pytest.raises(InvalidArgument, match="no locale 'de-de'"):
            bm.update_connection(ORG, markets=["de-de"])
        with pytest.raises(InvalidArgument, match="list of locales"):
            bm.update_connection(ORG, markets="de-de")

    def test_a_removed_organization_leaves_nothing(self, shop: Shop, bm: BackMarket) -> None:
        sync_all(shop)
        assert bm.remove_connection(ORG) == 3 * LISTINGS
        for table in ("listing_markets", "sync_state", "sync_runs", "changes"):
            assert shop.one(f"SELECT count(*) FROM backmarket.{table}") == 0, table


class TestWrites:
    def test_a_price_is_changed_in_one_market_and_its_row_follows(self, shop: Shop, bm: BackMarket) -> None:
        sync_all(shop)
        listing = bm.get_listings(ORG, limit=1).items[0]
        shop.sandbox.reset()
        bm.update_listing(ORG, listing.listing_id, price="123.45", market="de-de")
        assert run_writes(shop.services, ORG).succeeded == 1
        assert shop.sandbox.stats().sellers[ORG].requests == 1, "its prior values are stored, its answer has the row"
        assert_equal(shop)
        prices = {each.market: each.price for each in bm.get_listing_markets(ORG, [listing.listing_id])}
        assert prices["de-de"] == Decimal("123.45") != prices["es-es"]
        assert bm.get_listing_by_id(ORG, listing.listing_id).price == listing.price  # type: ignore[union-attr]
        bm.update_listing(ORG, listing.listing_id, quantity=9, market="de-de")
        assert run_writes(shop.services, ORG).succeeded == 1
        assert bm.get_listing_by_id(ORG, listing.listing_id).quantity == 9  # type: ignore[union-attr]
        with pytest.raises(InvalidArgument, match="no market 'it-it'"):
            bm.update_listing(ORG, listing.listing_id, price="1.00", market="it-it")

    @pytest.mark.parametrize("arrived", [True, False])
    def test_a_lost_answer_is_settled_by_what_its_market_shows(self, shop: Shop, bm: BackMarket, arrived: bool) -> None:
        sync_all(shop)
        listing = bm.get_listings(ORG, limit=1).items[0]
        for market in ("es-es", "de-de"):
            bm.update_listing(ORG, listing.listing_id, price="123.45", market=market)
            if market == "de-de":
                shop.sandbox.add_fault("reset", operation="listings.update", count=1, applied=arrived)
            run_writes(shop.services, ORG)
        write = bm.get_writes(ORG, limit=1).items[0]
        assert (write.state, write.prior is None) == ("unknown", False), "the other market's write does not contest it"
        shop.execute("UPDATE backmarket.api_writes SET due_at = now(), settle_at = now() WHERE state = 'unknown'")
        for _ in range(3):
            shop.execute("UPDATE backmarket.work SET due_at = now()")
            shop.execute("UPDATE backmarket.api_writes SET due_at = now() WHERE state = 'pending'")
            run_writes(shop.services, ORG)
        settled = bm.get_write(ORG, write.id)
        assert settled
        assert (settled.state, settled.confirmed_by) == ("succeeded", "reading_back" if arrived else "answer")
        assert_equal(shop)

    def test_prior_values_that_are_not_stored_are_asked_for(self, shop: Shop, bm: BackMarket) -> None:
        shop.sync(ORG, "listings")
        listing = bm.get_listings(ORG, limit=1).items[0]
        shop.sandbox.reset()
        bm.update_listing(ORG, listing.listing_id, price="123.45", market="de-de")
        assert run_writes(shop.services, ORG).succeeded == 1
        assert shop.sandbox.stats().sellers[ORG].requests == 2
        stored = bm.get_listing_by_id(ORG, listing.listing_id, market="de-de")
        assert stored
        assert (stored.price, stored.sku) == (Decimal("123.45"), listing.sku)

    def test_unchanged_lines_of_one_market_are_skipped(self, shop: Shop, bm: BackMarket) -> None:
        listing = shop.sandbox.truth(ORG, "listings", "de-de")[0]
        line = f"sku;price\n{listing['sku']};{listing['price']}"
        with pytest.raises(InvalidArgument, match="never synced to the end"):
            bm.check_listings_file(ORG, line, market="de-de", skip_unchanged=True)
        sync_all(shop)
        for market, unchanged in (("de-de", 1), ("es-es", 0), ("fr-fr", 0)):
            check = bm.check_listings_file(ORG, line, market=market, skip_unchanged=True)
            assert check.unchanged_lines == unchanged, market
        with pytest.raises(InvalidArgument, match="it-it"):
            bm.check_listings_file(ORG, line, locale="it-it", skip_unchanged=True)


def test_a_fetched_listing_is_stored_where_its_market_is_copied(shop: Shop, bm: BackMarket) -> None:
    row = shop.sandbox.truth(ORG, "listings", "de-de")[0]
    found = bm.fetch_listing(ORG, row["id"], market="de-de")
    assert (found.market, found.price, found.sku) == ("de-de", Decimal(row["price"]), row["sku"])
    assert bm.fetch_listing(ORG, row["id"], locale="it-it").market == "it-it"
    assert shop.execute("SELECT market, listing_id::text FROM backmarket.listing_markets") == [("de-de", row["id"])]
    assert shop.one("SELECT count(*) FROM backmarket.listings") == 0


def test_with_one_market_nothing_is_asked_or_written_more(shop: Shop, bm: BackMarket) -> None:
    """The requests and the rows of a first sync, a quiet one, a write and a bulk job, as before there were markets."""
    empty(shop.settings.need("database_url"))
    shop.sandbox.add_seller("one", "token-of-one", orders=0, listings=40)
    shop.connect("one", "token-of-one")
    shop.sandbox.reset()
    with counted_writes(shop) as counted:
        shop.sync("one", "listings")
        shop.sync("one", "listings")
    assert counted() == ROWS
    assert shop.sandbox.stats().sellers["one"].requests == 2
    assert shop.one("SELECT count(*) FROM backmarket.sync_state") == 1


ROWS = {"sync_state": 5, "listings": 40, "backmarket.changes": 40, "backmarket.sync_runs": 1}
"""A first sync of one page: request, lease, end; a quiet one: request and end."""
