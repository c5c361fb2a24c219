"""What an operator asks of all organizations at once, and what that costs PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.errors import ApiKeyMissing, BulkJobNotFound, ConnectionNotFound, InvalidArgument
from backmarket.facade.bulk import Bulk
from backmarket.settings import Settings
from backmarket.status.overview import HEALTHS
from tests.support.databases import empty
from tests.support.many import LARGE, fill
from tests.support.plans import Plans, explained
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|1"


@pytest.fixture
def bm(shared_url: str) -> Iterator[BackMarket]:
    """Over an empty database."""
    empty(shared_url)
    from cryptography.fernet import Fernet

    settings = Settings(
        database_url=shared_url,
        secret_keys=(Fernet.generate_key().decode(),),
        limiter_key="limiter",
        allowed_base_urls=("http://127.0.0.1:1",),
    )
    with BackMarket(settings) as bm:
        yield bm


def execute(bm: BackMarket, statement: str, *values: Any) -> None:
    with bm._services.database.transaction() as transaction:
        transaction.execute(statement.encode(), values)


def connect(bm: BackMarket, *organizations: str) -> None:
    for each in organizations:
        bm.upsert_connection(each, f"key-of-{len(each)}")


class TestOverview:
    def test_counts_organizations_by_health_and_syncs_by_resource(self, bm: BackMarket) -> None:
        assert bm.get_overview().organizations == dict.fromkeys(HEALTHS, 0)
        connect(bm, "fails", "fine", "forgotten", "off", "refused")
        bm.disconnect("off")
        bm.disconnect("forgotten", clear_api_key=True)
        execute(bm, "UPDATE backmarket.connections SET unauthorized_at = now() WHERE organization_id = 'refused'")
        execute(bm, "UPDATE backmarket.connections SET last_error_at = now() WHERE organization_id = 'fails'")
        execute(bm, "UPDATE backmarket.sync_state SET failing_since = now() WHERE organization_id = 'fails'")
        execute(
            bm,
            "UPDATE backmarket.sync_state SET last_success_at = now() - interval '5 min',"
            " lease_until = now() + interval '1 min' WHERE organization_id = 'fine' AND resource = 'orders'",
        )
        found = bm.get_overview()
        assert found.organizations == dict.fromkeys(HEALTHS, 1)
        assert found.total == 5
        assert list(found.resources) == ["orders", "listings", "deliveries", "returns"]
        orders, returns = found.resources["orders"], found.resources["returns"]
        assert (orders.organizations, orders.running, orders.failing, orders.never) == (2, 1, 1, 1)
        assert orders.worst_lag == orders.typical_lag
        assert orders.worst_lag == pytest.approx(300, abs=60)
        assert (returns.never, returns.worst_lag, returns.typical_lag) == (2, None, None)
        for health, organization in zip(HEALTHS, ("fine", "fails", "refused", "off", "forgotten"), strict=True):
            (status,) = bm.get_connection_statuses(health=health)
            assert (status.connection.organization_id, status.connection.health) == (organization, health)
            assert len(status.resources) == 4

    def test_organizations_are_found_by_a_part_of_their_id_page_by_page(self, bm: BackMarket) -> None:
        connect(bm, "Shop-1", "shop-2", "SHOP-3", "other", "50%_off")
        ids = [each.connection.organization_id for each in bm.get_connection_statuses(search="shop", limit=2)]
        ids += [
            each.connection.organization_id
            for each in bm.get_connection_statuses(search="shop", limit=2, after=ids[-1])
        ]
        assert ids == sorted(["Shop-1", "shop-2", "SHOP-3"])
        assert [each.connection.organization_id for each in bm.get_connection_statuses(search="%_")] == ["50%_off"]
        assert bm.get_connection_statuses(search="none") == []
        with pytest.raises(InvalidArgument, match="There is no health 'good'"):
            bm.get_connection_statuses(health="good")
        with pytest.raises(InvalidArgument, match="limit"):
            bm.get_connection_statuses(limit=0)


class TestLags:
    def run(
        self, bm: BackMarket, hours: float, behind: float | None, outcome: str = "done", resource: str = "orders"
    ) -> None:
        execute(
            bm,
            "INSERT INTO backmarket.sync_runs (organization_id, resource, kind, outcome, started_at,"
            " finished_at, serving,"
            " requests, rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected, behind)"
            " VALUES (%s, %s, 'full', %s, now(), now() - make_interval(secs => %s * 3600), 0, 1, 1, 2, 3, 4, 0, %s)",
            ORG, resource, outcome, hours, behind,
        )  # fmt: skip

    def test_are_those_of_the_runs_of_the_last_day(self, bm: BackMarket) -> None:
        self.run(bm, 25, 9)
        self.run(bm, 3, 300)
        self.run(bm, 2, 7200, "failed")
        self.run(bm, 1, None)
        self.run(bm, 1, 60, resource="returns")
        found = bm.get_lag_history([ORG, "other"])
        assert set(found) == {(ORG, "orders"), (ORG, "returns")}
        assert [(each.seconds, each.failed, each.news) for each in found[ORG, "orders"]] == [
            (300, False, 7), (7200, True, 7),
        ]  # fmt: skip
        assert found[ORG, "orders"][0].at == pytest.approx(
            datetime.now(UTC) - timedelta(hours=3), abs=timedelta(minutes=5)
        )
        assert len(bm.get_lag_history([ORG], hours=26)[ORG, "orders"]) == 3
        assert bm.get_lag_history([]) == {}
        for hours in (0, -1, 9000):
            with pytest.raises(InvalidArgument, match="hours"):
                bm.get_lag_history([ORG], hours=hours)
        with pytest.raises(InvalidArgument, match="up to 1000"):
            bm.get_lag_history([ORG] * 1001)

    def test_a_sync_notes_how_far_behind_it_was(self, settings: Settings) -> None:
        with fresh_sandbox(limit=100_000) as server:
            shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), server.control)
            shop.sell(ORG, orders=5)
            shop.sync(ORG)
            shop.execute("UPDATE backmarket.sync_state SET last_success_at = now() - interval '2 hours'")
            shop.sandbox.change(ORG, modify=1)
            shop.sync(ORG)
            notes = shop.execute("SELECT outcome, behind FROM backmarket.sync_runs ORDER BY id")
            assert notes[0] == ("done", None)
            assert notes[1] == ("done", pytest.approx(7200, abs=60))
            shop.services.close()


class TestWaiting:
    def test_names_what_a_limit_holds_back_the_soonest_first(self, bm: BackMarket) -> None:
        connect(bm, ORG, "other")
        assert bm.get_throttled() == []
        late = "sync_due_at = now() - interval '1 min', next_due_at = now() + interval '1 h', last_started_at = now()"
        execute(bm, f"UPDATE backmarket.sync_state SET {late} WHERE organization_id = %s AND resource = 'orders'", ORG)
        execute(
            bm,
            f"UPDATE backmarket.sync_state SET {late}, failures = 1, error_code = 'server_error'"
            " WHERE organization_id = %s AND resource = 'returns'",
            ORG,
        )
        execute(
            bm,
            "INSERT INTO backmarket.work (organization_id, kind, due_at) VALUES (%s, 'writes', now() + interval '2 h')",
            ORG,
        )
        execute(
            bm,
            "INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale, environment,"
            " region) SELECT %s, 'update_order', n::text, n::text, '{}', 'fr-fr', 'production', 'EU'"
            " FROM generate_series(1, 3) n",
            ORG,
        )
        execute(
            bm,
            "INSERT INTO backmarket.bulk_jobs (organization_id, id, state, object_prefix, locale, environment, region,"
            " header, lines, fingerprint, waits_until) VALUES ('other', 7, 'waiting_for_quota', '', 'fr-fr',"
            " 'production',"
            " 'EU', '', 9, '', now() + interval '3 hours')",
        )
        execute(
            bm,
            "INSERT INTO backmarket.bulk_parts (organization_id, job_id, number, byte_offset, byte_length, lines,"
            " line_numbers) VALUES ('other', 7, 1, 0, 1, 2, '{1,2}')",
        )
        found = bm.get_throttled()
        assert [(each.organization_id, each.what, each.resource, each.job_id, each.pending) for each in found] == [
            (ORG, "sync", "orders", None, None), (ORG, "writes", None, None, 3), ("other", "bulk", None, 7, 2),
        ]  # fmt: skip
        assert [each.what for each in bm.get_throttled(organization_id="other")] == ["bulk"]
        assert len(bm.get_throttled(limit=1)) == 1
        with pytest.raises(InvalidArgument, match="limit"):
            bm.get_throttled(limit=0)


class TestConnection:
    def test_is_led_elsewhere_with_the_key_that_it_has(self, bm: BackMarket) -> None:
        connect(bm, ORG)
        before = bm.get_connection_status(ORG).connection
        after = bm.update_connection(ORG, locale="de-de")
        assert (after.locale, after.generation, after.environment) == ("de-de", before.generation, "production")
        moved = bm.update_connection(ORG, environment="sandbox", base_url="http://127.0.0.1:1")
        assert (moved.environment, moved.base_url, moved.locale) == ("sandbox", "http://127.0.0.1:1", "de-de")
        assert moved.generation > before.generation
        assert bm.update_connection(ORG, base_url=None).base_url is None

    def test_that_is_disabled_stays_so(self, bm: BackMarket) -> None:
        connect(bm, ORG)
        bm.disconnect(ORG)
        assert not bm.update_connection(ORG, locale="es-es").enabled

    def test_needs_a_key_and_values_that_can_be(self, bm: BackMarket) -> None:
        with pytest.raises(ConnectionNotFound):
            bm.update_connection(ORG, locale="de-de")
        connect(bm, ORG)
        with pytest.raises(InvalidArgument, match="no locale"):
            bm.update_connection(ORG, locale="en-us")
        execute(
            bm,
            "INSERT INTO backmarket.orders (organization_id, order_id, raw, content) VALUES (%s, 1, '{}', 1)", ORG,
        )  # fmt: skip
        with pytest.raises(InvalidArgument, match="Rows of another region"):
            bm.update_connection(ORG, environment="sandbox")
        assert bm.update_connection(ORG, environment="sandbox", discard_rows=True).environment == "sandbox"
        assert bm.get_orders(ORG).items == []
        bm.disconnect(ORG, clear_api_key=True)
        with pytest.raises(ApiKeyMissing):
            bm.update_connection(ORG, locale="de-de")


class TestHistory:
    def test_is_that_of_one_row_the_newest_first(self, bm: BackMarket) -> None:
        for resource, number, kind in [("orders", 1, "created"), ("orders", 2, "created"), ("listings", 1, "created"),
                                       ("orders", 1, "updated"), ("orders", 1, "removed")]:  # fmt: skip
            execute(
                bm,
                "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)"
                " VALUES (%s, %s, %s, %s, '{state}')", ORG, resource, str(number), kind,
            )  # fmt: skip
        assert [each.kind for each in bm.get_history(ORG, "orders", 1)] == ["removed", "updated", "created"]
        assert [each.fields for each in bm.get_history(ORG, "orders", 1, limit=1)] == [["state"]]
        assert bm.get_history("other", "orders", 1) == []
        with pytest.raises(InvalidArgument, match="no resource"):
            bm.get_history(ORG, "labels", 1)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="limit"):
            bm.get_history(ORG, "orders", 1, limit=0)

    def test_writes_of_an_order_are_those_of_its_lines_and_invoices_too(self, bm: BackMarket) -> None:
        for lane, kind, thing in [("order/1", "update_order", "1"), ("order/1", "update_orderline", "77"),
                                  ("invoice/1", "upload_order_invoice", "1"),
                                  ("order/2", "update_order", "2")]:  # fmt: skip
            execute(
                bm,
                "INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale,"
                " environment,"
                " region) VALUES (%s, %s, %s, %s, '{}', 'fr-fr', 'production', 'EU')", ORG, kind, thing, lane,
            )  # fmt: skip
        assert [each.kind for each in bm.get_writes(ORG, order_id=1)] == [
            "upload_order_invoice", "update_orderline", "update_order",
        ]  # fmt: skip
        assert [each.kind for each in bm.get_writes(ORG, order_id=1, kind="update_order")] == ["update_order"]


def test_parts_are_found_by_their_state(bm: BackMarket) -> None:
    execute(
        bm,
        "INSERT INTO backmarket.bulk_jobs (organization_id, id, object_prefix, locale, environment, region,"
        " header, lines,"
        " fingerprint) VALUES (%s, 7, '', 'fr-fr', 'production', 'EU', '', 9, '')", ORG,
    )  # fmt: skip
    execute(
        bm,
        "INSERT INTO backmarket.bulk_parts (organization_id, job_id, number, state, byte_offset, byte_length, lines,"
        " line_numbers) SELECT %s, 7, n, CASE WHEN n > 5 THEN 'failed' ELSE 'pending' END, 0, 1, 1, '{1}'"
        " FROM generate_series(1, 9) n", ORG,
    )  # fmt: skip
    parts: Bulk = bm
    assert [each.number for each in parts.get_bulk_parts_in(ORG, 7, ["failed", "unknown"], limit=3)] == [6, 7, 8]
    with pytest.raises(BulkJobNotFound):
        parts.get_bulk_parts_in(ORG, 8, ["failed"])
    with pytest.raises(InvalidArgument, match="A state is invalid"):
        parts.get_bulk_parts_in(ORG, 7, ["lost"])
    with pytest.raises(InvalidArgument, match="limit"):
        parts.get_bulk_parts_in(ORG, 7, ["failed"], limit=0)


ASKED: dict[str, tuple[Any, str, int]] = {
    "orders in a state": (lambda bm: bm.get_orders(LARGE, state=1), "orders_", 60),  # where few wait, `orders_to_ship`
    "orders in no state that any has": (lambda bm: bm.get_orders(LARGE, state=3), "orders_state", 60),
    "orders of a country": (lambda bm: bm.get_orders(LARGE, country_code="sk-sk"), "orders_country", 60),
    "an order by its tracking number": (
        lambda bm: bm.get_orders(LARGE, tracking_number="T-4000"), "orders_tracking", 5,
    ),
    "orders of some days": (
        lambda bm: bm.get_orders(LARGE, created_after=datetime(2024, 1, 4, tzinfo=UTC),
                                 created_before=datetime(2024, 1, 5, tzinfo=UTC)), "orders_newest", 60,
    ),
    "the history of an order": (lambda bm: bm.get_history(LARGE, "orders", 4000), "changes", 5),
    "the writes of an order": (lambda bm: bm.get_writes(LARGE, order_id=4000), "api_writes_lanes", 5),
    "lags of a page of organizations": (
        lambda bm: bm.get_lag_history([f"seller-{n:06}" for n in range(1, 26)]), "sync_runs", 8000,
    ),
    "a page of organizations": (
        lambda bm: bm.get_connection_statuses(after="seller-000100", limit=26), "connections_pkey", 600,
    ),
    "parts of a job": (
        lambda bm: bm.get_bulk_parts_in(LARGE, 7, ["failed"], limit=21), "bulk_parts", 1000,
    ),
}  # fmt: skip
"""What is asked, the beginning of the name of an index that answers it, and the rows that may be read for it."""


@pytest.mark.slow
def test_each_is_answered_by_an_index(shared_url: str) -> None:
    """The plans that PostgreSQL really used, with 3,000 organizations, and one that has half of 20,000 orders."""
    empty(shared_url)
    fill(shared_url, organizations=3000, orders=20_000, runs=6)
    faults = {}
    with explained(shared_url) as (database, plans):
        bm = BackMarket(Settings(database_url=shared_url))
        bm._services.__dict__["database"] = database
        for name, (ask, index, most) in ASKED.items():
            ask(bm)
            faults[name] = _fault(plans, index, most)
    assert {name: each for name, each in faults.items() if each} == {}


def test_the_overview_is_two_statements(shared_url: str) -> None:
    empty(shared_url)
    fill(shared_url, organizations=50, orders=100)
    with explained(shared_url) as (database, plans):
        bm = BackMarket(Settings(database_url=shared_url))
        bm._services.__dict__["database"] = database
        assert bm.get_overview().total == 50
        assert len(plans.seen) == 2
        plans.seen.clear()
        assert len(bm.get_connection_statuses(limit=40)) == 40
        assert len(plans.seen) == 2
        plans.seen.clear()
        bm.get_lag_history([f"seller-{n:06}" for n in range(1, 41)])
        bm.get_throttled()
        assert len(plans.seen) == 2


def _fault(plans: Plans, index: str, most: int) -> Any:
    nodes = plans.nodes()
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    looked_at = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    read = sum(sum(node.get(each, 0) for each in looked_at) * node["Actual Loops"] for node in nodes if _reads(node))
    return None if any(index in each for each in used) and read <= most else (used, read)


def _reads(node: dict[str, Any]) -> bool:
    return "Relation Name" in node or "Index Name" in node
