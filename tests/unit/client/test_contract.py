"""What we ask of the API and read from it, against the facts of the contract."""

import re
from urllib.parse import parse_qsl

import httpcore
import httpx
import pytest

from backmarket.client import Credentials
from backmarket.client.endpoints import HOSTS, LOCALES
from backmarket.client.transport import Transport
from backmarket.resources import RESOURCES, Resource
from backmarket.resources.columns import Column
from backmarket.sandbox import InProcessTransport, World
from tests.contract.facts import KNOWN, OPERATIONS, Fact, answer_fields, misfits, parameters

FITTING: dict[str, set[tuple[str, str | None]]] = {
    "bigint": {("integer", None)},
    "integer": {("integer", None)},
    "text": {("string", None), ("string", "url"), ("string", "uuid")},
    "boolean": {("boolean", None)},
    "numeric": {("string", None), ("integer", None)},
    "uuid": {("string", "uuid")},
    "timestamptz": {("string", "date-time")},
    "jsonb": {("object", None), ("array", None)},
}
"""The documented types and formats that each kind of column is made of."""


RECORDED = {"shipper", "psp_reference"}
"""Columns read from members that the document does not have, and recorded answers do."""


def listing(resource: Resource) -> str:
    return f"GET {resource.path}"


def asked(resource: Resource) -> dict[str, str]:
    since = {resource.since: "2026-01-01T00:00:00Z"} if resource.since else {}
    return {"page": "1", **dict(resource.paging), **since}


def as_typed(text: str, fact: Fact) -> str | int:
    return int(text) if fact.get("type") == "integer" and text.isdigit() else text


@pytest.fixture(params=RESOURCES.values(), ids=list(RESOURCES))
def resource(request: pytest.FixtureRequest) -> Resource:
    found: Resource = request.param
    return found


def test_a_list_and_a_row_are_documented_operations(resource: Resource) -> None:
    assert listing(resource) in OPERATIONS
    rows = [name for name in OPERATIONS if re.fullmatch(re.escape(listing(resource)) + r"/{\w+}", name)]
    assert len(rows) == 1


def test_what_is_asked_is_documented_and_allowed(resource: Resource) -> None:
    known = parameters(listing(resource), "query")
    for name, text in asked(resource).items():
        assert name in known
        assert misfits(known[name], as_typed(text, known[name])) == "", name


def test_pages_are_as_large_as_they_may_be(resource: Resource) -> None:
    size = parameters(listing(resource), "query").get("page-size", {}).get("maximum")
    assert dict(resource.paging).get("page-size") == (str(size) if size else None)


def test_columns_are_read_from_documented_fields_of_their_type(resource: Resource) -> None:
    fields, row = answer_fields(listing(resource), 200), f"$.{resource.field}[]"

    def misread(column: Column, path: str) -> bool:
        fact = fields.get(path)
        return fact is None or (fact.get("type"), fact.get("format")) not in FITTING[column.kind]

    columns = [(column, f"{row}.{column.source}") for column in (resource.key, *resource.columns)]
    if resource.lines:
        line = f"{row}.{resource.lines.field}[]"
        lines = (resource.lines.key, *resource.lines.columns)
        columns += [(column, f"{line}.{column.source}") for column in lines]
    assert [path for column, path in columns if misread(column, path) and column.name not in RECORDED] == []


def test_requests_as_they_leave(resource: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[httpcore.Request] = []
    world = World()
    world.add_seller("s", "token")
    sandbox = InProcessTransport(world)

    def record(_: httpcore.ConnectionPool, request: httpcore.Request) -> httpcore.Response:
        sent.append(request)
        url = httpx.URL(bytes(request.url).decode())
        answer = sandbox.handle_request(httpx.Request(request.method.decode(), url, headers=request.headers))
        return httpcore.Response(answer.status_code, headers=answer.headers.raw, content=answer.read())

    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", record)
    transport = Transport(user_agent="BM-Test-Unit;dev@test.example")
    credentials = Credentials("http://sandbox", "token", "account", "fr-fr")
    assert transport.get(credentials, resource.path, tuple(asked(resource).items())).status == 200
    (request,) = sent
    path, _, query = request.url.target.decode().partition("?")
    assert f"{request.method.decode()} {path}" == listing(resource)
    assert dict(parse_qsl(query)) == asked(resource)
    wanted = {
        "authorization": "Basic token",
        "accept": "application/json",
        "content-type": "application/json",
        "accept-language": "fr-fr",
        "user-agent": "BM-Test-Unit;dev@test.example",
    }
    headers = {name.decode().lower(): value.decode() for name, value in request.headers}
    assert {name: headers[name] for name in wanted} == wanted


def test_the_hosts_are_the_documents_servers() -> None:
    assert sorted(HOSTS.values()) == KNOWN["servers"]


def test_the_locales_are_of_the_documented_form_and_hold_every_market() -> None:
    locales = {locale for region in LOCALES.values() for locale in region}
    form = parameters("GET /ws/listings", "header")["Accept-Language"]
    assert [locale for locale in locales if misfits(form, locale)] == []
    assert locales == set(answer_fields("GET /ws/orders", 200)["$.results[].country_code"]["enum"])
