"""The sandbox against the facts of the contract: what it takes, what it answers, and what it leaves out."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from backmarket.sandbox import Assumptions, Fault, InProcessTransport, Settings, World, create_app
from tests.contract.facts import KNOWN, OPERATIONS, Fact, answer_fields, faults, parameters, request_fields

NOT_SERVED = {
    "GET /ws/backbox/v1/competitors/{listingId}",
    "GET /ws/buyback/v1/competitors/{listingId}",
    "GET /ws/buyback/v1/listings",
    "GET /ws/buyback/v1/listings/{buybackListingId}",
    "GET /ws/buyback/v1/orders",
    "GET /ws/buyback/v1/orders/pending-reply",
    "GET /ws/buyback/v1/orders/suspend-reasons",
    "GET /ws/buyback/v1/orders/{buybackOrderId}",
    "GET /ws/buyback/v1/orders/{buybackOrderId}/counter-offers/reasons",
    "GET /ws/buyback/v1/orders/{buybackOrderId}/messages",
    "GET /ws/listings_bi",
    "GET /ws/sav",
    "GET /ws/sav/{careFolderId}",
    "POST /ws/buyback/v1/orders/{buybackOrderId}/messages",
    "POST /ws/sav/refund",
    "POST /ws/sav/{careFolderId}/item-transfer",
    "POST /ws/sav/{careFolderId}/msg",
    "POST /ws/sav/{careFolderId}/problem",
    "PUT /ws/buyback/v1/listings/{buybackListingId}",
    "PUT /ws/buyback/v1/orders/{buybackOrderId}/suspend",
    "PUT /ws/buyback/v1/orders/{buybackOrderId}/validate",
    "PUT /ws/buyback/v2/orders/{buybackOrderId}/counter-offers",
}
"""Documented operations without a counterpart in the sandbox: nothing of ours calls them."""

BESIDE = {"GET /static/shipment_labels/{name}", "GET /static/return_labels/{name}"}
"""Served beside the documented operations: the files that documented fields lead to."""

NULL_ALTHOUGH_REQUIRED = {
    "dateDelivery",
    "datePickup",
    "label",
    "labelUrl",
    "pickupInfo",
}
"""Required and not nullable by the document, but null until it has happened. An optional field may be null anyway."""

_OF_AN_ORDER = ("shipper", "psp_reference", "orderlines[].shipper")
BEYOND = {
    "POST /ws/listings/{listingId}": {"$.new_battery is not documented"},
    "GET /ws/orders": {f"$.results[].{name} is not documented" for name in _OF_AN_ORDER},
    "GET /ws/orders/{order_id}": {f"$.{name} is not documented" for name in _OF_AN_ORDER},
    "POST /ws/orders/{order_id}": {f"$.{name} is not documented" for name in _OF_AN_ORDER},
}
"""Answered although the document does not name it: a listing's member that it has when it is read, and what recorded
answers have."""

NEVER_GIVEN = {
    "GET /ws/category/tree": ("$[].attributes[]",),  # only leaves have some, and leaves lie in undocumented `childrens`
}
"""Documented fields, and what lies in them, that no answer of the sandbox has."""

NOT_REFUSED = {"shipper_1", "shipper_2", "shipper_3"}
"""Fields of a request whose unknown values are answered 200: the document tells of them in `shippings_response`."""

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADERS = {
    "authorization": "Basic token",
    "user-agent": "BM-Test-Unit;dev@test.example",
    "accept-language": "fr-fr",
}
CSV = "sku;quantity;price\n%s;3;120.00\n"


class Api:
    """One seller's sandbox, and the answers of each operation that it serves."""

    def __init__(self, **assumptions: Any) -> None:
        self.now = NOW
        settings = Settings(assumptions=Assumptions(**{"address_email": "absent", **assumptions}), task_delay=60)
        self.world = World(settings=settings, clock=lambda: self.now)
        spec = {"orders": 120, "hidden": 10, "listings": 60, "deliveries": 60, "returns": 40}
        self.world.add_seller("s", "token", market="en-us", **spec)  # whose addresses have every field
        self.world.settings.enforce_limit = False
        transport = InProcessTransport(self.world)
        self.client = httpx.Client(transport=transport, base_url="http://sandbox", headers=HEADERS)

    def ids(self, stock: str) -> list[Any]:
        return [row["shipmentId" if stock in {"deliveries", "returns"} else "id"] for row in self.rows(stock)]

    def rows(self, stock: str) -> list[dict[str, Any]]:
        paths = {"orders": "/ws/orders", "listings": "/ws/listings"}
        path = paths.get(stock, f"/ws/shipping/v1/{stock}")
        return [row for page in self.pages(path) for row in page.json()["results"]]

    def pages(self, path: str) -> Iterator[httpx.Response]:
        page = 1
        while True:
            size = {} if "shipping" in path else {"page-size": 50}
            answer = self.client.get(path, params={"page": page, **size})
            yield answer
            if answer.json()["next"] is None:
                return
            page += 1

    def moved_lines(self) -> Iterator[httpx.Response]:
        """Every move that a seller may make, on some orders that allow it."""
        for old, new in ((1, 2), (1, 4), (2, 3), (2, 5), (3, 6)):
            lines = [(order, line) for order in self.rows("orders") for line in order["orderlines"][:1]]
            for order, line in [(order, line) for order, line in lines if line["state"] == old][:8]:
                number = order["order_id"]
                body = {"id": number, "order_id": number, "new_state": new, "sku": line["listing"]}
                yield self.client.post(f"/ws/orders/{number}", json=body | {"tracking_number": "T1"})

    def registered(self) -> httpx.Response:
        line = next(
            line for order in self.rows("orders") for line in order["orderlines"]
            if not line.get("imei") and not line.get("serial_number")
        )  # fmt: skip
        return self.client.patch(
            f"/ws/orderlines/{line['id']}", json={"imei": "356938035643809", "serial_number": "S1"}
        )

    def listing_update(self) -> httpx.Response:
        body = {"price": "99.50", "quantity": 4, "comment": None, "shipper_1": "Colissimo", "shipping_price_1": 3.9}
        return self.client.post(f"/ws/listings/{self.rows('listings')[0]['id']}", json=body)

    def details(self) -> Iterator[httpx.Response]:
        for listing, name in product(self.rows("listings")[:5], ("id", "listing_id", "sku")):
            yield self.client.get("/ws/listings/detail", params={name: listing[name]})

    def submitted(self) -> httpx.Response:
        catalog = CSV % self.rows("listings")[0]["sku"] + "no-such-sku;x;y\n"
        dialect = {"quotechar": '"', "delimiter": ";", "encoding": "utf-8"}
        return self.client.post("/ws/listings", json={"catalog": catalog, **dialect})

    def tasks(self) -> Iterator[httpx.Response]:
        """A task from its submission to its end."""
        number = self.submitted().json()["bodymessage"]
        for _ in range(4):
            yield self.client.get(f"/ws/tasks/{number}")
            self.now += timedelta(seconds=30)


SERVED: dict[str, Callable[[Api], Any]] = {
    "GET /ws/category/tree": lambda api: [api.client.get("/ws/category/tree")],
    "GET /ws/category/tree/{categoryId}": lambda api: [
        api.client.get(f"/ws/category/tree/{number}") for number in (1, 3)
    ],
    "GET /ws/listings": lambda api: api.pages("/ws/listings"),
    "GET /ws/listings/detail": Api.details,
    "GET /ws/listings/{listingId}": lambda api: [
        api.client.get(f"/ws/listings/{row[name]}") for row in api.rows("listings")[:5] for name in ("id", "listing_id")
    ],
    "GET /ws/orders": lambda api: api.pages("/ws/orders"),
    "GET /ws/orders/{order_id}": lambda api: [
        api.client.get(f"/ws/orders/{row.id}") for row in api.world.sellers["s"].orders.rows
    ],
    "GET /ws/shipping/v1/deliveries": lambda api: api.pages("/ws/shipping/v1/deliveries"),
    "GET /ws/shipping/v1/deliveries/{id}": lambda api: [
        api.client.get(f"/ws/shipping/v1/deliveries/{number}") for number in api.ids("deliveries")
    ],
    "GET /ws/shipping/v1/returns": lambda api: api.pages("/ws/shipping/v1/returns"),
    "GET /ws/shipping/v1/returns/{id}": lambda api: [
        api.client.get(f"/ws/shipping/v1/returns/{number}") for number in api.ids("returns")
    ],
    "GET /ws/tasks/{taskId}": Api.tasks,
    "PATCH /ws/orderlines/{orderline_id}": lambda api: [api.registered()],
    "POST /ws/listings": lambda api: [api.submitted()],
    "POST /ws/listings/{listingId}": lambda api: [api.listing_update()],
    "POST /ws/orders/{order_id}": Api.moved_lines,
    "POST /ws/orders/{order_id}/invoice": lambda api: [
        api.client.post(f"/ws/orders/{api.rows('orders')[0]['order_id']}/invoice", files={"invoice": b"%PDF-1.4"})
    ],
}
"""How each operation that the sandbox serves is brought to answer."""

LISTS = [name for name in SERVED if "query page" in OPERATIONS[name]["parameters"]]
SIZED = [name for name in LISTS if "query page-size" in OPERATIONS[name]["parameters"]]
WITH_BODY = [name for name in SERVED if "application/json" in OPERATIONS[name].get("request", {})]


@pytest.fixture(scope="module")
def api() -> Api:
    """For what changes nothing."""
    return Api()


def path_of(operation: str) -> str:
    return operation.partition(" ")[2]


def call(api: Api, operation: str, **options: Any) -> httpx.Response:
    method, _, path = operation.partition(" ")
    return api.client.request(method, re.sub(r"{\w+}", "1", path), **options)


def unexpected(operation: str, answer: httpx.Response) -> set[str]:
    """What the facts don't allow in an answer, but for the nulls that are meant."""
    fields = answer_fields(operation, answer.status_code)
    if not fields:
        return {"a body"} if answer.content else set()

    def meant(fault: str) -> bool:
        path, _, null = fault.partition(" is ")
        if null != "null":
            return False
        return not fields[path].get("required") or path.rpartition(".")[2] in NULL_ALTHOUGH_REQUIRED

    return {fault for fault in faults(fields, answer.json()) if not meant(fault)} - BEYOND.get(operation, set())


# What is served


def test_the_tables_hold_every_documented_operation() -> None:
    assert set(SERVED) | NOT_SERVED == set(OPERATIONS)
    assert set(SERVED) & NOT_SERVED == set()


def test_the_sandbox_has_a_route_for_what_it_serves_and_no_other() -> None:
    nameless = re.compile(r"{\w+}")
    routes = {
        f"{method} {nameless.sub('{}', route.path)}"
        for route in create_app(World()).routes
        if isinstance(route, Route) and route.methods
        for method in route.methods - {"HEAD"}
    }
    assert routes == {nameless.sub("{}", name) for name in SERVED.keys() | BESIDE}


@pytest.mark.parametrize("operation", sorted(NOT_SERVED))
def test_an_operation_that_is_not_served_answers_404(api: Api, operation: str) -> None:
    assert call(api, operation).status_code == 404


@pytest.mark.parametrize("path", sorted({path_of(operation) for operation in SERVED}))
def test_a_method_that_is_not_documented_answers_404(api: Api, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        if not documented(method, path):
            assert call(api, f"{method} {path}").status_code == 404


def documented(method: str, path: str) -> bool:
    """Also as the value of another path's parameter, as in `POST /ws/listings/{listingId}` with `detail`."""
    same = (name.partition(" ")[2] for name in OPERATIONS if name.startswith(f"{method} "))
    return any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) for template in same)


# What is answered


@pytest.mark.parametrize("operation", SERVED)
def test_answers_hold_what_is_documented_and_nothing_else(operation: str) -> None:
    answers = list(SERVED[operation](Api()))
    assert answers
    for answer in answers:
        assert str(answer.status_code) in OPERATIONS[operation]["answers"], answer.text
        assert unexpected(operation, answer) == set()


@pytest.mark.parametrize("shape", ["recorded", "dict", "list", "text", "errors", "nothing"])
def test_a_task_is_documented_in_every_shape_of_its_result(shape: str) -> None:
    for answer in Api(task_result=shape).tasks():
        assert unexpected("GET /ws/tasks/{taskId}", answer) == set()


def test_an_address_carries_an_undocumented_email_where_that_is_assumed() -> None:
    for answer in Api(address_email="present").pages("/ws/orders"):
        found = unexpected("GET /ws/orders", answer)
        assert found
        assert all(fault.endswith("_address.email is not documented") for fault in found)


@pytest.mark.parametrize("kind", ["unknown_fields", "unknown_states", "wrong_types", "id_missing"])
def test_a_fault_breaks_the_contract_so_that_these_tests_can_fail(kind: Any) -> None:
    api = Api()
    api.world.faults.add(Fault(kind=kind))
    found = unexpected("GET /ws/listings", api.client.get("/ws/listings"))
    assert found


@pytest.mark.parametrize("operation", SERVED)
def test_every_documented_field_appears_in_some_answer(operation: str) -> None:
    """A field that the sandbox never gives would never be tried against our parsing."""
    bodies = [answer.json() for answer in SERVED[operation](Api()) if answer.content]
    seen = {path for body in bodies for path in paths_in(body)}
    (status,) = OPERATIONS[operation]["answers"]
    wanted = {path for path, fact in answer_fields(operation, int(status)).items() if not fact.get("deprecated")}
    assert {path for path in wanted - seen if not path.startswith(NEVER_GIVEN.get(operation, ()))} == set()


def paths_in(value: Any, path: str = "$") -> set[str]:
    below: set[str] = set()
    if isinstance(value, dict):
        below = {inner for name, each in value.items() for inner in paths_in(each, f"{path}.{name}")}
    elif isinstance(value, list):
        below = {inner for each in value for inner in paths_in(each, f"{path}[]")}
    return {path} | below


# What is taken


def good_values(fact: Fact) -> list[str]:
    if "enum" in fact:
        return [str(value) for value in fact["enum"]]
    if fact.get("format") == "date-time":
        return ["2025-11-03T10:00:00Z", "2025-11-03T10:00:00+02:00", "2025-11-03T10:00:00.123456Z"]
    return {"integer": ["1"], "boolean": ["true", "false"], "string": ["x"]}[fact["type"]]


def bad_values(fact: Fact) -> list[str]:
    if "enum" in fact:
        return ["5", "x"]
    if fact.get("format") == "date-time":
        return ["yesterday"]
    return {"integer": ["x", "1.5"], "boolean": ["maybe"], "string": []}[fact["type"]]


@pytest.mark.parametrize("operation", LISTS)
def test_documented_parameters_are_taken(api: Api, operation: str) -> None:
    for name, fact in parameters(operation, "query").items():
        for value in good_values(fact):
            answer = call(api, operation, params={name: value})
            assert answer.status_code == 200, (name, value)
            assert unexpected(operation, answer) == set()


@pytest.mark.parametrize("operation", LISTS)
def test_malformed_parameters_are_refused(api: Api, operation: str) -> None:
    for name, fact in parameters(operation, "query").items():
        for value in bad_values(fact):
            assert call(api, operation, params={name: value}).status_code in {400, 422}, (name, value)


@pytest.mark.parametrize("operation", SIZED)
def test_the_size_of_a_page_is_as_documented(api: Api, operation: str) -> None:
    size = parameters(operation, "query")["page-size"]
    assert len(call(api, operation).json()["results"]) == size["default"] == 10
    biggest = call(api, operation, params={"page-size": size["maximum"]})
    assert len(biggest.json()["results"]) == size["maximum"] == 50
    assert call(api, operation, params={"page-size": size["maximum"] + 1}).status_code == 400


@pytest.mark.parametrize("operation", sorted(set(LISTS) - set(SIZED)))
def test_the_size_of_other_pages_is_not_the_callers_to_choose(api: Api, operation: str) -> None:
    plain, sized = call(api, operation), call(api, operation, params={"page-size": 3})
    assert len(plain.json()["results"]) == len(sized.json()["results"]) == api.world.settings.shipping_page_size


@pytest.mark.parametrize("operation", WITH_BODY)
def test_bodies_that_the_contract_refuses_are_refused(operation: str) -> None:
    api = Api()
    (*_, good) = SERVED[operation](api)
    request = good.request
    body = json.loads(request.content)
    assert list(faults(request_fields(operation), {name: body[name] for name in body})) == []
    tried = 0
    for path, fact in request_fields(operation).items():
        name = path.removeprefix("$.")
        for wrong in wrong_values(fact) if name not in {"$", *NOT_REFUSED} else ():
            answer = api.client.request(request.method, request.url, json={**body, name: wrong})
            assert 400 <= answer.status_code < 500, (name, wrong)
            tried += 1
        if fact.get("required") and not (name == "id" and "order_id" in body):
            less = {key: value for key, value in body.items() if key != name}
            answer = api.client.request(request.method, request.url, json=less)
            assert 400 <= answer.status_code < 500, f"without {name}"
    assert tried


def wrong_values(fact: Fact) -> Iterator[Any]:
    if "enum" in fact:
        yield "none of them"
    if "maxLength" in fact:
        yield "x" * (fact["maxLength"] + 1)
    if fact.get("type") in {"string", "integer"}:
        yield from (1.5, {})


def test_every_locale_is_taken(api: Api) -> None:
    for operation in SERVED:
        if (
            "Accept-Language" in parameters(operation, "header")
            and operation.startswith("GET")
            and "{" not in operation
        ):
            for locale in ("fr-fr", "en-us", "ja-jp"):
                params = {"id": api.rows("listings")[0]["id"]} if operation.endswith("detail") else {}
                answer = call(api, operation, headers={"accept-language": locale}, params=params)
                assert unexpected(operation, answer) == set()


def test_the_limits_are_those_of_the_document() -> None:
    settings = Settings()
    said = {
        f"{settings.limit} requests / {settings.window:.0f} seconds",
        f"{settings.sensitive_limit} requests / {settings.window:.0f} seconds",
        f"blocked {settings.block:.0f} seconds",
        f"{settings.sku_lines_limit} lines / {'hour' if settings.sku_lines_window == 3600 else '?'}",
    }
    assert said == set(KNOWN["limits"])
    assert OPERATIONS["POST /ws/listings"]["limits"] == [f"{settings.file_lines_limit} lines / file"]
