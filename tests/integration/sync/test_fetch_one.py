"""One row asked of the API now, as a host application asks: what is stored, and every way in which it cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from backmarket import ActionStatus, BackMarket, TaskStatus, connections
from backmarket.errors import (
    ApiKeyMissing,
    BackMarketError,
    BrokenAnswer,
    ConnectionDisabled,
    ConnectionNotFound,
    ConnectionUnauthorized,
    EnvironmentMismatch,
    InvalidArgument,
    LeaseLost,
    NotAvailable,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
)
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.control.client import SandboxControl
from tests.support.databases import empty
from tests.support.sellers import Shop, let_time_pass
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
WAITING = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ALL = ("orders", "listings", "deliveries", "returns")


@pytest.fixture
def shop(shared_url: str, redis_url: str, sandbox: SandboxControl, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """One organization with a seller of this test's own; nothing is synced."""
    empty(shared_url)
    settings = fresh_settings(
        database_url=shared_url,
        redis_url=redis_url,
        rate_limit=100_000,
    )
    shop = Shop(settings, sandbox, ALL)
    shop.sandbox.add_seller(seller(request), f"token-{seller(request)}", orders=30, hidden=5)
    shop.connect(ORG, f"token-{seller(request)}")
    yield shop
    shop.sandbox.remove_faults()
    shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


@pytest.fixture
def truth(shop: Shop, request: pytest.FixtureRequest) -> Callable[[str], list[dict[str, Any]]]:
    """What the seller of this test has of a resource."""
    return lambda resource: shop.sandbox.truth(seller(request), resource)


def seller(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", str(request.node.name))


Truth = Callable[[str], list[dict[str, Any]]]


class TestStored:
    def test_an_order_with_its_lines_also_one_that_no_list_shows(
        self, shop: Shop, bm: BackMarket, truth: Truth
    ) -> None:
        order = next(row for row in truth("orders") if row["state"] == 8)
        fetched = bm.fetch_order(ORG, order["order_id"])
        assert unsigned(fetched.raw) == unsigned(order)
        assert fetched == bm.get_order_by_id(ORG, order["order_id"])
        lines = bm.get_orderlines(ORG, order_id=order["order_id"])
        assert {line.orderline_id for line in lines} == {line["id"] for line in order["orderlines"]}
        assert shop.execute("SELECT resource, external_id, kind FROM backmarket.changes") == [
            ("orders", str(order["order_id"]), "created")
        ]

    def test_again_only_what_changed_is_written(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        number = truth("orders")[0]["order_id"]
        first = bm.fetch_order(ORG, number)
        assert bm.fetch_order(ORG, number).last_synced_at == first.last_synced_at
        assert shop.one("SELECT count(*) FROM backmarket.changes") == 1

    def test_a_listing_by_either_id(self, bm: BackMarket, truth: Truth) -> None:
        first, second = truth("listings")[:2]
        assert bm.fetch_listing(ORG, first["id"]).raw == first
        assert bm.fetch_listing(ORG, UUID(first["id"])).listing_id == UUID(first["id"])
        fetched = bm.fetch_listing(ORG, second["listing_id"])
        assert fetched == bm.get_listing_by_sku(ORG, second["sku"].upper())

    def test_shipments_and_the_labels_that_they_name(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        sent = next(row for row in truth("deliveries") if row["labelUrl"])
        back = next(row for row in truth("returns") if row["label"])
        assert bm.fetch_delivery(ORG, sent["shipmentId"]).label_url == sent["labelUrl"]
        assert bm.fetch_return(ORG, back["shipmentId"], download_labels=False).label == back["label"]
        assert shop.execute("SELECT resource, shipment_id, state FROM backmarket.labels ORDER BY 1") == [
            ("deliveries", sent["shipmentId"], "wanted"),
            ("returns", back["shipmentId"], "skipped"),
        ]

    def test_a_label_that_was_left_is_wanted_when_it_is_asked_for(
        self, shop: Shop, bm: BackMarket, truth: Truth
    ) -> None:
        number = next(row for row in truth("deliveries") if row["labelUrl"])["shipmentId"]
        bm.fetch_delivery(ORG, number, download_labels=False)
        bm.fetch_delivery(ORG, number)
        bm.fetch_delivery(ORG, number, download_labels=False)
        assert shop.execute("SELECT state FROM backmarket.labels") == [("wanted",)]

    def test_one_that_was_gone_is_back(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        number = truth("orders")[0]["order_id"]
        bm.fetch_order(ORG, number)
        shop.execute("UPDATE backmarket.orders SET removed_at = now()")
        assert bm.fetch_order(ORG, number).removed_at is None

    def test_a_fault_that_passes_is_tried_again(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        shop.sandbox.add_fault("status", status=503, count=2, operation="orders.get")
        assert bm.fetch_order(ORG, truth("orders")[0]["order_id"]).state is not None


class TestLocale:
    def test_another_market_is_given_and_not_stored(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        key = truth("listings")[0]["id"]
        home = bm.fetch_listing(ORG, key, locale="FR-FR")
        there = bm.fetch_listing(ORG, key, locale="en-gb")
        assert (home.currency, there.currency) == ("EUR", "GBP")
        assert (there.listing_id, there.sku, there.removed_at) == (home.listing_id, home.sku, None)
        assert isinstance(there.price, Decimal)
        assert bm.get_listing_by_id(ORG, key) == home

    @pytest.mark.parametrize("resource", ["orders", "deliveries", "returns"])
    def test_every_column_is_as_if_it_were_stored(
        self, shop: Shop, bm: BackMarket, truth: Truth, resource: str
    ) -> None:
        row = truth(resource)[0]
        asking: dict[str, Callable[..., Any]] = {
            "orders": bm.fetch_order, "deliveries": bm.fetch_delivery, "returns": bm.fetch_return,
        }  # fmt: skip
        ask, number = asking[resource], row["order_id" if resource == "orders" else "shipmentId"]
        there = ask(ORG, number, locale="de-de")
        assert shop.one(f"SELECT count(*) FROM backmarket.{resource}") == 0
        here = ask(ORG, number)
        moments = {"first_seen_at", "last_synced_at"}
        for name in set(type(here).__dataclass_fields__) - moments:
            assert getattr(there, name) == getattr(here, name), name
        assert abs(here.last_synced_at - there.last_synced_at).total_seconds() < 60

    def test_one_that_the_region_does_not_have_is_refused_with_those_it_has(self, bm: BackMarket) -> None:
        with pytest.raises(InvalidArgument, match=r"no locale 'en-us'; it has fr-fr, .*sv-se"):
            bm.fetch_listing(ORG, 1, locale="en-us")


ACTIONS = (
    "fetch_order", "fetch_listing", "fetch_delivery", "fetch_return", "get_task_status",
    "sync_orders", "sync_listings", "sync_deliveries", "sync_returns",
)  # fmt: skip


class TestRefusals:
    """Every action, before anything is asked of the API; the text names the fix."""

    def test_a_connection_that_can_not_be_used(self, shop: Shop, bm: BackMarket) -> None:
        before = shop.sandbox.stats().requests
        with shop.services.database.transaction() as transaction:
            generation = connections.get(shop.services.database, ORG).generation
            connections.mark_unauthorized(transaction, ORG, generation, Unauthorized("refused"))
        refused(ConnectionUnauthorized, "has just refused.*tried again at", bm, ACTIONS[:5])
        let_time_pass(shop, 31)
        with shop.services.database.transaction() as transaction:
            connections.mark_unauthorized(transaction, ORG, generation, Unauthorized("refused"))
        refused(ConnectionUnauthorized, r"connect it with a new key \(`upsert_connection`, `connections add`\), or", bm)
        bm.reconnect(ORG)
        bm.disconnect(ORG)
        refused(ConnectionDisabled, r"Enable it \(`enable_connection`, `connections enable`\)", bm)
        bm.disconnect(ORG, clear_api_key=True)
        refused(ApiKeyMissing, r"connect it again with a key \(`upsert_connection`, `connections add`\)", bm)
        with pytest.raises(ApiKeyMissing, match="connect it again with a key"):
            bm.reconnect(ORG)
        bm.remove_connection(ORG)
        refused(ConnectionNotFound, r"Connect it first \(`upsert_connection`, `connections add`\)", bm)
        assert shop.sandbox.stats().requests == before

    def test_another_environment_than_the_connection_s(self, bm: BackMarket) -> None:
        text = "'production', not 'sandbox': change the connection, or leave the environment out"
        refused(EnvironmentMismatch, text, bm, environment="sandbox")


def refused(
    kind: type[BackMarketError], text: str, bm: BackMarket, actions: Iterable[str] = ACTIONS, **options: Any
) -> None:
    for name in actions:
        with pytest.raises(kind, match=text) as caught:
            getattr(bm, name)(ORG, *([] if name.startswith("sync") else [1]), **options)
        assert type(caught.value) is kind, name


class TestAnswers:
    """What the API can answer, and what becomes of the connection."""

    def test_401_marks_the_connection_and_says_what_to_do(self, shop: Shop, bm: BackMarket) -> None:
        shop.sandbox.add_fault("unauthorized", operation="orders.get")
        with pytest.raises(Unauthorized, match=r"once more.*new key .*`connections add`") as caught:
            bm.fetch_order(ORG, 1)
        assert caught.value.status == 401
        connection = bm.get_connection_status(ORG).connection
        assert (connection.health, connection.last_error_code) == ("failing", "unauthorized")
        with pytest.raises(ConnectionUnauthorized):
            bm.fetch_order(ORG, 1)

    def test_404_marks_nothing_as_gone(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        number = truth("orders")[0]["order_id"]
        bm.fetch_order(ORG, number)
        shop.sandbox.add_fault("status", status=404, operation="orders.get")
        with pytest.raises(NotFound, match=f"Is {number} an id of orders of this very account"):
            bm.fetch_order(ORG, number)
        stored = bm.get_order_by_id(ORG, number)
        assert stored is not None
        assert stored.removed_at is None

    def test_403_without_backship_says_so_and_harms_nothing(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        number = truth("deliveries")[0]["shipmentId"]
        shop.sandbox.add_fault("forbidden", operation="deliveries.get")
        with pytest.raises(NotAvailable, match="BackShip"):
            bm.fetch_delivery(ORG, number)
        assert bm.get_connection_status(ORG).connection.health == "ok"

    def test_a_fault_that_stays_is_told_after_a_few_tries(self, shop: Shop, bm: BackMarket) -> None:
        shop.sandbox.add_fault("status", status=503, operation="orders.get")
        before = shop.sandbox.stats().requests
        with pytest.raises(ServerError):
            bm.fetch_order(ORG, 1)
        assert shop.sandbox.stats().requests - before == 4

    def test_a_row_without_an_id_is_no_answer(self, shop: Shop, bm: BackMarket, truth: Truth) -> None:
        shop.sandbox.add_fault("id_missing", operation="orders.get")
        with pytest.raises(BrokenAnswer, match="no usable id"):
            bm.fetch_order(ORG, truth("orders")[0]["order_id"])

    def test_a_limit_that_is_used_up_says_for_how_long(self, shop: Shop, bm: BackMarket) -> None:
        account = shop.one("SELECT account FROM backmarket.connections")
        shop.services.limiter.block(account, retry_after=600)
        with pytest.raises(RateLimited) as caught:
            bm.fetch_order(ORG, 1)
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 600

    @pytest.mark.parametrize("change", ["generation = generation + 1", "enabled = false"])
    def test_nothing_is_stored_for_a_connection_that_changed_meanwhile(
        self, shop: Shop, bm: BackMarket, truth: Truth, change: str
    ) -> None:
        number = truth("orders")[0]["order_id"]
        with ThreadPoolExecutor(1) as pool:
            with shop.services.database.transaction() as transaction:
                transaction.execute("SELECT FROM backmarket.sync_state FOR UPDATE")
                fetching = pool.submit(bm.fetch_order, ORG, number)
                wait_until(lambda: shop.one(WAITING), "it has the answer, and waits its turn to write")
                transaction.execute(f"UPDATE backmarket.connections SET {change}".encode())
            with pytest.raises(LeaseLost, match="nothing was stored"):
                fetching.result(PATIENCE_SECONDS)
        assert bm.get_order_by_id(ORG, number) is None


class TestTaskStatus:
    @pytest.mark.parametrize(
        ("status", "state"),
        [(0, "running"), (2, "running"), (8, "failed"), (9, "success"), (3, "unexplained"), (7, "unexplained")],
    )
    def test_every_status_has_a_word(self, status: int, state: str) -> None:
        task = TaskStatus(1, status, None, None, 200)
        assert (task.state, task.action_status) == (state, status)
        assert isinstance(task.action_status, ActionStatus) == (state != "unexplained")

    def test_a_task_of_the_api_s(self, shop: Shop, bm: BackMarket, truth: Truth, request: Any) -> None:
        shop.sandbox.settings(task_delay=0.0)
        sku = truth("listings")[0]["sku"]
        task = submit(shop, f"token-{seller(request)}", f'"sku";"quantity"\n"{sku}";"3"\n"{sku}x";"1"\n')
        status = bm.get_task_status(ORG, task, environment="production", locale="de-de")
        assert (status.task_id, status.state, status.last_action_error) == (task, "success", None)
        assert sku in status.result["product_success"]
        assert f"{sku}x" in status.result["product_errors"]
        assert sku not in repr(status)

    def test_one_that_failed(self, shop: Shop, bm: BackMarket, request: Any) -> None:
        shop.sandbox.settings(task_delay=0.0)
        shop.sandbox.add_fault("task_fails", operation="listings.bulk")
        status = bm.get_task_status(ORG, submit(shop, f"token-{seller(request)}", '"sku"\n'))
        assert (status.state, status.action_status, status.last_action_error) == (
            "failed", ActionStatus.FAILED, "Task has been interrupted.",
        )  # fmt: skip

    def test_a_task_that_the_api_does_not_know(self, bm: BackMarket) -> None:
        with pytest.raises(NotFound, match="an id of tasks"):
            bm.get_task_status(ORG, 5)


def submit(shop: Shop, token: str, catalog: str) -> int:
    """Send a bulk file as a seller does; the task's id."""
    body = {"catalog": catalog, "quotechar": '"', "delimiter": ";", "encoding": "utf-8"}
    headers = {"Authorization": f"Basic {token}", "User-Agent": "BM-Test-Suite;dev@test.example"}
    answer = httpx.post(f"{shop.sandbox.url}/ws/listings", json=body, headers=headers, trust_env=False)
    return int(answer.raise_for_status().json()["bodymessage"])
