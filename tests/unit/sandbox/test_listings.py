"""Listings in the sandbox: one stock, a price for each market, updates at once, and bulk files after a while."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from backmarket.sandbox import Assumptions, Fault, InProcessTransport, Settings, World
from backmarket.sandbox.settings import patched
from backmarket.sandbox.world.changes import Change

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    world = World(4, clock=clock)
    world.add_seller("s", "token", orders=3, listings=70)
    return world


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = client.get("/ws/listings", params={"page": page, "page-size": 50} | query).json()
        rows += answer["results"]
        if answer["next"] is None:
            return rows
        page += 1


@pytest.fixture
def listing(client: httpx.Client) -> dict[str, Any]:
    """One that is online."""
    return listed(client, publication_state=1)[0]


def test_all_listings_are_there_once(client: httpx.Client) -> None:
    rows = listed(client)
    assert len({row["id"] for row in rows}) == len({row["sku"].lower() for row in rows}) == len(rows) == 70


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"publication_state": 0}, lambda row: row["publication_state"] == 0),
        ({"min_quantity": 20}, lambda row: row["quantity"] >= 20),
        ({"max_quantity": 5}, lambda row: row["quantity"] <= 5),
        ({"min_quantity": -1, "max_quantity": 5}, lambda row: row["quantity"] <= 5),
        ({"min_quantity": 5, "max_quantity": 9}, lambda row: 5 <= row["quantity"] <= 9),
    ],
)
def test_filters(client: httpx.Client, query: dict[str, int], expected: Any) -> None:
    rows = listed(client, **query)
    assert 0 < len(rows) < 70
    assert rows == [row for row in listed(client) if expected(row)]


@pytest.mark.parametrize("query", [{"publication_state": 5}, {"min_quantity": "x"}, {"page-size": 51}])
def test_malformed_filters_are_refused(client: httpx.Client, query: dict[str, Any]) -> None:
    assert client.get("/ws/listings", params=query).status_code == 400


def test_one_listing_by_each_of_its_names(client: httpx.Client, listing: dict[str, Any]) -> None:
    expected = listing | {"statuscode": 200}
    for path in (
        f"/ws/listings/{listing['id']}",
        f"/ws/listings/{listing['listing_id']}",
        f"/ws/listings/detail?sku={listing['sku'].lower()}",
        f"/ws/listings/detail?listing_id={listing['listing_id']}",
        f"/ws/listings/detail/?id={listing['id']}",
    ):
        assert client.get(path).json() == expected, path
    assert client.get("/ws/listings/7a97a1b6-547e-4718-bc72-5b84aca91b09").status_code == 404
    assert client.get("/ws/listings/neither").status_code == 400
    assert client.get("/ws/listings/detail").status_code == 400


def update(client: httpx.Client, listing: dict[str, Any], locale: str = "fr-fr", **fields: Any) -> httpx.Response:
    return client.post(f"/ws/listings/{listing['id']}", json=fields, headers={"accept-language": locale})


def shown(client: httpx.Client, listing: dict[str, Any], locale: str = "fr-fr") -> dict[str, Any]:
    row: dict[str, Any] = client.get(f"/ws/listings/{listing['id']}", headers={"accept-language": locale}).json()
    return row


def test_a_price_belongs_to_a_market_and_quantity_to_all(client: httpx.Client, listing: dict[str, Any]) -> None:
    before = shown(client, listing)
    answer = update(client, listing, "en-gb", price="111.5", currency="GBP", quantity="7", comment="Fine")
    assert answer.status_code == 200
    assert answer.json()["statuscode"] == 200
    british, french = shown(client, listing, "en-gb"), shown(client, listing)
    assert (british["price"], british["currency"], british["quantity"], british["comment"]) == (
        "111.50",
        "GBP",
        7,
        "Fine",
    )
    assert (french["price"], french["currency"], french["quantity"]) == (before["price"], "EUR", 7)
    assert french["comment"] == before["comment"]


def test_a_price_may_belong_to_the_account(client: httpx.Client, listing: dict[str, Any], world: World) -> None:
    world.settings = Settings(assumptions=Assumptions(price_market="account"))
    update(client, listing, "en-gb", price=99)
    assert shown(client, listing)["price"] == shown(client, listing, "de-de")["price"] == "99.00"


def test_a_locale_of_another_region_means_the_accounts_own_market(
    client: httpx.Client, listing: dict[str, Any]
) -> None:
    assert shown(client, listing, "en-us") == shown(client, listing, "xx") == shown(client, listing)


def test_quantity_nought_takes_a_listing_offline(client: httpx.Client, listing: dict[str, Any]) -> None:
    assert update(client, listing, quantity=0).json()["publication_state"] == 0
    assert update(client, listing, quantity=3).json()["publication_state"] == 1
    too_much = str(float(listing["max_price"]) + 1)
    assert update(client, listing, price=too_much).json()["publication_state"] == 0


def test_shippers(client: httpx.Client, listing: dict[str, Any]) -> None:
    answer = update(client, listing, "de-de", shipper_1="DHL", shipping_price_1=3.9, shipping_delay_1=24).json()
    assert answer["shippings_response"] == ["Shipping method 1 (DHL) updated"]
    assert answer["shippings"][-1] == {
        "country_code": "de-de", "shipper": "DHL", "shipper_display": "DHL", "shipping_delay": 24,
        "shipping_price": "3.90",
    }  # fmt: skip
    after = update(client, listing, "de-de", shipper_1=None).json()
    assert not [one for one in after["shippings"] if one["country_code"] == "de-de"]


@pytest.mark.parametrize(
    "fields",
    [
        {"price": "-1"}, {"price": "1,5"}, {"price": True}, {"quantity": -1}, {"quantity": 1.5}, {"comment": "c" * 501},
        {"warranty_delay": 11}, {"price": "5", "currency": "GBP"}, {"currency": "EURO"}, {"shipping_delay_2": "soon"},
    ],
)  # fmt: skip
def test_malformed_updates_are_refused_with_a_bare_string(
    client: httpx.Client, listing: dict[str, Any], fields: dict[str, Any]
) -> None:
    before = shown(client, listing)
    answer = update(client, listing, **fields)
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)
    assert shown(client, listing) == before


def bulk(client: httpx.Client, catalog: str, locale: str = "fr-fr", **other: str) -> httpx.Response:
    body = {"catalog": catalog, "quotechar": '"', "delimiter": ";", "encoding": "utf-8"} | other
    return client.post("/ws/listings", json=body, headers={"accept-language": locale})


def task(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    row: dict[str, Any] = client.get(f"/ws/tasks/{answer.json()['bodymessage']}").json()
    return row


def test_a_bulk_file_is_worked_on_after_a_while(client: httpx.Client, listing: dict[str, Any], clock: Clock) -> None:
    catalog = (
        f'"sku";"price";"comment"\n"{listing["sku"].upper()}";"77.70";"says ""yes""; and\nmore"\n"NEW";"5.00";""\n'
    )
    answer = bulk(client, catalog)
    assert answer.json() == {"bodymessage": answer.json()["bodymessage"], "statuscode": 200}
    statuses = []
    for _ in range(3):
        statuses.append(task(client, answer)["action_status"])
        assert (shown(client, listing)["price"] == "77.70") == (len(statuses) == 3)
        clock.forward(0.5)
    assert statuses == [0, 2, 9]
    row = shown(client, listing)
    assert (row["comment"], row["quantity"]) == ('says "yes"; and\nmore', listing["quantity"])
    assert task(client, answer) == {
        "task_id": answer.json()["bodymessage"],
        "action_status": 9,
        "last_action_error": None,
        "result": {
            "product_success": {
                listing["sku"].upper(): {"listing_id": None, "backmarket_id": None, "publication_state": 2}
            },
            "product_errors": {"NEW": "product_id or ean is required for a new listing"},
        },
        "statuscode": 200,
    }


def test_a_bulk_file_creates_listings(client: httpx.Client, clock: Clock) -> None:
    bulk(client, "sku,ean,price,quantity,grade\nNEW-1,123,10,4,GOOD\nNEW-1b,123,10,4,AWFUL\n", delimiter=",")
    clock.forward(1)
    row = client.get("/ws/listings/detail?sku=new-1").json()
    assert (row["price"], row["quantity"], row["grade"], row["state"], row["publication_state"]) == (
        "10.00",
        4,
        "GOOD",
        2,
        2,
    )
    assert client.get("/ws/listings/detail?sku=new-1b").status_code == 404
    assert len(listed(client)) == 71


def test_a_bulk_file_sets_prices_of_one_market(client: httpx.Client, listing: dict[str, Any], clock: Clock) -> None:
    before = shown(client, listing)["price"]
    bulk(client, f"sku;price;currency\n{listing['sku']};42.42;GBP\n", "en-gb")
    clock.forward(1)
    assert (shown(client, listing)["price"], shown(client, listing, "en-gb")["price"]) == (before, "42.42")


@pytest.mark.parametrize("missing", ["catalog", "quotechar", "delimiter", "encoding"])
def test_all_four_parameters_are_required(client: httpx.Client, missing: str) -> None:
    body = {"catalog": "sku\nx", "quotechar": '"', "delimiter": ";", "encoding": "utf-8"}
    del body[missing]
    answer = client.post("/ws/listings", json=body)
    assert (answer.status_code, answer.json()) == (400, f"parameter {missing} not found")


@pytest.mark.parametrize(
    ("catalog", "other"),
    [
        ("sku;x\ny", {"delimiter": ";;"}),
        ("sku\nx", {"encoding": "utf-99"}),
        ("price\n1", {}),
        ('sku\n"x', {}),
        ("", {}),
    ],
)
def test_malformed_files_are_refused_with_a_bare_string(
    client: httpx.Client, catalog: str, other: dict[str, str]
) -> None:
    answer = bulk(client, catalog, **other)
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)


@pytest.mark.parametrize(("assumed", "lines", "status"), [("rows", 5, 200), ("rows", 6, 400), ("with_header", 5, 400)])
def test_a_file_has_a_greatest_length(
    client: httpx.Client, world: World, assumed: Any, lines: int, status: int
) -> None:
    world.settings = Settings(file_lines_limit=5, assumptions=Assumptions(file_lines=assumed))
    assert bulk(client, "sku\n" + "x\n" * lines).status_code == status


def test_sku_lines_have_an_hourly_limit_that_single_updates_share(
    client: httpx.Client, listing: dict[str, Any], world: World, clock: Clock
) -> None:
    world.settings = Settings(sku_lines_limit=10)
    assert bulk(client, "sku\n" + "x\n" * 6).status_code == 200
    clock.forward(1800)
    assert [update(client, listing, quantity=1).status_code for _ in range(4)] == [200] * 4
    refused = update(client, listing, quantity=9)
    assert (refused.status_code, set(refused.json())) == (429, {"error", "requestId"})
    assert shown(client, listing)["quantity"] == 1
    assert bulk(client, "sku\nx\n").status_code == 429
    clock.forward(1800)
    assert bulk(client, "sku\n" + "x\n" * 6).status_code == 200
    assert update(client, listing, quantity=1).status_code == 429
    ledger = world.sellers["s"].sku_ledger
    assert (ledger.lines, ledger.refused) == (16, 3)


@pytest.mark.parametrize(("kind", "status"), [("task_fails", 8), ("task_hangs", 2), ("task_odd", 7)])
def test_tasks_that_do_not_succeed(
    client: httpx.Client, listing: dict[str, Any], world: World, clock: Clock, kind: Any, status: int
) -> None:
    world.faults.add(Fault(kind=kind, operation="listings.bulk"))
    answer = bulk(client, f"sku;quantity\n{listing['sku']};1234\n")
    clock.forward(999)
    told = task(client, answer)
    assert told["action_status"] == status
    assert (told["last_action_error"] is not None) == (status == 8)
    assert shown(client, listing)["quantity"] == listing["quantity"]


@pytest.mark.parametrize("shape", ["recorded", "dict", "list", "text"])
def test_a_report_has_one_of_several_shapes(client: httpx.Client, world: World, clock: Clock, shape: Any) -> None:
    world.settings = Settings(assumptions=Assumptions(task_result=shape))
    answer = bulk(client, "sku\nA\nB\n")
    clock.forward(1)
    result = task(client, answer)["result"]
    if shape == "recorded":
        assert result["product_success"] == {}
        told = [{"sku": sku, "status": "error"} for sku in result["product_errors"]]
    elif shape == "dict":
        told = [{"sku": sku, **entry} for sku, entry in result.items()]
    else:
        told = result if shape == "list" else [json.loads(line) for line in result.split("\n")]
    assert [(row["sku"], row["status"]) for row in told] == [("A", "error"), ("B", "error")]


def test_a_task_of_another_seller_is_not_there(client: httpx.Client, world: World) -> None:
    answer = bulk(client, "sku\nA\n")
    world.add_seller("other", "token-other", orders=0)
    path = f"/ws/tasks/{answer.json()['bodymessage']}"
    assert client.get(path, headers={"authorization": "Basic token-other"}).status_code == 404


def test_a_listing_is_published_by_a_field_that_is_not_documented(client: httpx.Client) -> None:
    rows = [row for page in (1, 2) for row in client.get("/ws/listings", params={"page": page}).json()["results"]]
    row = next(row for row in rows if row["publication_state"] in {2, 3, 4} and row["quantity"])
    answer = client.post(f"/ws/listings/{row['id']}", json={"pub_state": 2}).json()
    assert (answer["publication_state"], "pub_state" in answer) == (1, False)


@pytest.fixture
def german(world: World) -> httpx.Client:
    """The client of a seller who sells in Germany, too, and asks there."""
    world.add_seller("two", "token-two", orders=0, listings=70, markets=["de-de"])
    headers = HEADERS | {"authorization": "Basic token-two", "accept-language": "de-de"}
    return httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=headers)


def at_home(client: httpx.Client) -> dict[str, dict[str, Any]]:
    rows = httpx.Client(transport=client._transport, base_url="http://sandbox", headers=client.headers)
    rows.headers["accept-language"] = "fr-fr"
    return {row["id"]: row for row in listed(rows)}


class TestMarkets:
    def test_have_prices_and_states_of_their_own_and_a_common_quantity(self, german: httpx.Client) -> None:
        here, home = {row["id"]: row for row in listed(german)}, at_home(german)
        assert here.keys() == home.keys()
        assert all(here[key]["quantity"] == home[key]["quantity"] for key in here)
        assert sum(here[key]["price"] != home[key]["price"] for key in here) > 60
        assert any(here[key]["publication_state"] != home[key]["publication_state"] for key in here)
        offline = listed(german, publication_state=0)
        assert {row["id"] for row in offline} == {key for key, row in here.items() if row["publication_state"] == 0}

    def test_a_listing_is_unpublished_in_one_and_published_there_again(
        self, world: World, german: httpx.Client
    ) -> None:
        row = listed(german, publication_state=1)[0]
        home = at_home(german)[row["id"]]["publication_state"]
        fields = {"publication_state": 0}
        change = Change(seller="two", resource="listings", modify=1, ids=[row["id"]], market="de-de", fields=fields)
        world.change(change)
        assert german.get(f"/ws/listings/{row['id']}").json()["publication_state"] == 0
        assert at_home(german)[row["id"]]["publication_state"] == home
        answer = german.post(f"/ws/listings/{row['id']}", json={"price": "99.00", "currency": "EUR"}).json()
        assert answer["publication_state"] == 0, "a price publishes nothing"
        answer = german.post(f"/ws/listings/{row['id']}", json={"pub_state": 2}).json()
        assert answer["publication_state"] == 1

    def test_without_stock_it_is_offline_in_all(self, german: httpx.Client) -> None:
        row = listed(german, publication_state=1)[0]
        german.post(f"/ws/listings/{row['id']}", json={"quantity": 0})
        assert german.get(f"/ws/listings/{row['id']}").json()["publication_state"] == 0
        assert at_home(german)[row["id"]]["publication_state"] in {0, 2, 3, 4}

    def test_the_state_may_be_the_accounts(self, world: World, german: httpx.Client) -> None:
        world.settings = patched(world.settings, {"assumptions": {"state_market": "account"}})
        here, home = {row["id"]: row for row in listed(german)}, at_home(german)
        assert all(here[key]["publication_state"] == home[key]["publication_state"] for key in here)
        row = next(row for row in home.values() if row["publication_state"] == 3)
        german.post(f"/ws/listings/{row['id']}", json={"pub_state": 2})
        assert at_home(german)[row["id"]]["publication_state"] == 1

    def test_a_market_may_list_only_what_is_offered_there(self, world: World, german: httpx.Client) -> None:
        world.settings = patched(world.settings, {"assumptions": {"market_list": "offered"}})
        row = listed(german)[0]
        world.change(Change(seller="two", resource="listings", remove=1, ids=[row["id"]], market="de-de"))
        assert row["id"] not in {each["id"] for each in listed(german)}
        assert german.get(f"/ws/listings/{row['id']}").status_code == 404
        assert row["id"] in at_home(german)
        german.headers["accept-language"] = "es-es"
        assert listed(german) == []
