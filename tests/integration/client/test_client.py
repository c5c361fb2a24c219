"""The typed client over sockets: each request as it arrives held against the contract, and what can go wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest

from backmarket import Attachment, BackMarketClient, create_backmarket_client
from backmarket.client.arguments import (
    Choice,
    Files,
    Flag,
    Money,
    NamedContents,
    Prices,
    Text,
    Texts,
    Timestamp,
    Uuid,
    UuidOrWhole,
    Whole,
)
from backmarket.client.operation import Operation
from backmarket.client.operations import OPERATIONS
from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    IncompleteWalk,
    InvalidArgument,
    NetworkError,
    NotAvailable,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
    UnknownOutcome,
)
from backmarket.sandbox import SandboxServer
from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.programs import CHECKOUT
from tests.contract.facts import JSON, Fact, Fields, faults, misfits, parameters, request_fields
from tests.contract.facts import OPERATIONS as DOCUMENTED
from tests.support.gate import QuietServer
from tests.support.sandboxes import fresh_sandbox

AGENT = "BM-Test-Client;dev@test.example"
FORM = "multipart/form-data"
SOME_ID = "7e1f4a8d-b1bb-47aa-9f77-2cca759eb41b"

# --- each operation once, against a server that writes down what comes


@dataclass
class Arrived:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=monotonic)

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        pairs = parse_qsl(urlsplit(self.target).query, keep_blank_values=True)
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


class Far(QuietServer):
    """Answers everything with `status` and `body`, and keeps what came.

    `makes` is the media type that it has; asked for others alone, it answers 406, as a strict server does.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Clerk)
        self.arrived: list[Arrived] = []
        self.status = 200
        self.body = b"{}"
        self.makes: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Clerk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Far

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.arrived.append(Arrived(self.command, self.path, headers, body))
        accepted = [part.partition(";")[0].strip() for part in headers.get("accept", "*/*").split(",")]
        is_refused = self.server.makes is not None and not {self.server.makes, "*/*"} & {*accepted}
        self.send_response(406 if is_refused else self.server.status)
        if self.server.status != 204:
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.server.status != 204:
            self.wfile.write(self.server.body)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """`do_GET`, `do_POST` and so on: all are answered alike."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Far]:
    with Far() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def far(server: Far) -> Far:
    server.arrived.clear()
    server.status, server.body, server.makes = 200, b"{}", None
    return server


Connect = Callable[..., BackMarketClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    made: list[BackMarketClient] = []

    def make(url: str, key: str = "token-of-s", **changes: Any) -> BackMarketClient:
        patience = changes.pop("patience", 5.0)
        settings = Settings(user_agent=AGENT, allowed_base_urls=(url,), **{"rate_window": 0.2, **changes})
        made.append(create_backmarket_client(key, base_url=url, settings=settings, patience=patience))
        return made[-1]

    yield make
    for client in made:
        client.close()


SAMPLES_OF_FORM = {"[A-Z]{3}": "EUR", r"https?://\S+": "https://carrier.example/ü"}
SAMPLES: dict[type, Callable[[Any], Any]] = {
    Whole: lambda kind: max(kind.least, 7),
    Text: lambda kind: SAMPLES_OF_FORM.get(kind.form) or "x" * max(kind.shortest, 1),
    Choice: lambda kind: kind.values[0],
    Flag: lambda _: True,
    Timestamp: lambda _: datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    Money: lambda _: Decimal("12.50"),
    Uuid: lambda _: UUID(SOME_ID),
    UuidOrWhole: lambda _: SOME_ID,
    Texts: lambda _: ["first", "second"],
    NamedContents: lambda _: [{"name": "photo.jpg", "content": "a photo"}],
    Prices: lambda _: {"FR": {"amount": Decimal("12.50"), "currency": "EUR"}},
    Files: lambda kind: (
        Attachment("ü 1.pdf", b"%PDF-1", "application/pdf")
        if kind.least is None
        else [Attachment("1.jpg", b"one\r\n--", "image/jpeg"), Attachment("2.jpg", b"two", "image/jpeg")]
    ),
}  # fmt: skip
"""A value of each kind of argument."""


DIALECT = {"delimiter": ";", "quotechar": '"'}
"""Of a CSV file: Python's own module refuses two that are equal, from 3.13 on."""


def arguments_of(operation: Operation[Any]) -> dict[str, Any]:
    samples = {each.argument: SAMPLES[type(each.kind)](each.kind) for each in operation.fields}
    return samples | {name: DIALECT[name] for name in samples if name in DIALECT}


def sample_answer(fields: Fields, path: str = "$") -> Any:
    """A body that the facts allow."""
    fact = fields[path]
    if "enum" in fact:
        return fact["enum"][0]
    match fact.get("type"):
        case "array":
            return [sample_answer(fields, f"{path}[]")] if f"{path}[]" in fields else []
        case "object":
            names = [re.fullmatch(re.escape(path) + r"\.(\w+)", each) for each in fields]
            return {name[1]: sample_answer(fields, name[0]) for name in names if name}
        case kind:
            return {"string": "text", "integer": 5, "number": 1.5, "boolean": True}.get(kind or "")


@pytest.fixture(params=OPERATIONS.values(), ids=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation[Any]:
    found: Operation[Any] = request.param
    return found


def documented(operation: Operation[Any]) -> dict[str, Any]:
    return DOCUMENTED[f"{operation.method} {operation.path}"]


def test_a_request_as_it_arrives_is_the_documents(far: Far, connect: Connect, operation: Operation[Any]) -> None:
    ((status, answers),) = documented(operation)["answers"].items()
    fields = answers.get(JSON)
    far.status = int(status)
    answer = sample_answer(fields) if fields else None
    far.body = json.dumps(answer).encode() if fields else b"said in words"
    far.makes = next(iter(answers), None)
    client = connect(far.url, "token-of-wire").with_locale("de-de")
    result = getattr(client, operation.name)(**arguments_of(operation))
    (request,) = far.arrived
    assert request.method == operation.method
    name = f"{operation.method} {operation.path}"
    hold_path(request, name)
    hold_query(request, name)
    hold_headers(request)
    hold_body(request, name)
    if operation.answer is type(None):
        assert result is None
    else:
        assert result == (answer if fields else "said in words")


UNDOCUMENTED = {"POST /ws/listings/{listingId}": {"pub_state"}}


def hold_path(request: Arrived, name: str) -> None:
    known = parameters(name, "path")
    pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", name.partition(" ")[2])
    found = re.fullmatch(pattern, request.path)
    assert found, request.path
    for key, text in found.groupdict().items():
        assert misfits(known[key], as_typed(text, known[key])) == "", key


def hold_query(request: Arrived, name: str) -> None:
    known = parameters(name, "query")
    assert request.query.keys() == known.keys()
    for key, text in request.query.items():
        assert misfits(known[key], as_typed(text, known[key])) == "", key


def hold_headers(request: Arrived) -> None:
    assert request.headers["authorization"] == "Basic token-of-wire"
    assert request.headers["accept"] in {JSON, "application/json, text/plain;q=0.9"}
    assert request.headers["accept-language"] == "de-de"
    assert request.headers["user-agent"] == AGENT


def hold_body(request: Arrived, name: str) -> None:
    (kind, *_) = DOCUMENTED[name].get("request", {"": {}})
    given = request.headers["content-type"]
    if not kind:
        assert (given, request.body) == (JSON, b"")
    elif kind == JSON:
        body = json.loads(request.body)
        assert given == JSON
        said = {f"$.{extra} is not documented" for extra in UNDOCUMENTED.get(name, ())}
        assert set(faults(request_fields(name), body)) == said
        assert body.keys() - UNDOCUMENTED.get(name, set()) == names_in(request_fields(name))
    else:
        assert given.startswith(f"{FORM}; boundary=")
        hold_form(form_of(request), request_fields(name, FORM))


def names_in(fields: Fields) -> set[str]:
    return {path[2:] for path in fields if re.fullmatch(r"\$\.\w+", path)}


def hold_form(parts: list[tuple[str, str | None, bytes]], fields: Fields) -> None:
    assert {name for name, _, _ in parts} == names_in(fields)
    for name, filename, content in parts:
        inner = fields.get(f"$.{name}[]", fields[f"$.{name}"])
        assert (filename is not None) == (inner.get("format") == "binary")
        if filename is None:
            assert misfits(inner, as_typed(content.decode(), inner)) == "", name
        else:
            assert (filename, content) in {("ü 1.pdf", b"%PDF-1"), ("1.jpg", b"one\r\n--"), ("2.jpg", b"two")}


def form_of(request: Arrived) -> list[tuple[str, str | None, bytes]]:
    """The parts of a multipart form, as the standard library reads it."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP.clone(utf8=True)).parsebytes(head + request.body)
    found = []
    for part in message.iter_parts():
        (line,) = (value for name, value in part.raw_items() if name.lower() == "content-disposition")
        names = dict(re.findall(r'\b(name|filename)="([^"]*)"', str(line).encode("ascii", "surrogateescape").decode()))
        found.append((names["name"], names.get("filename"), bytes(part.get_payload(decode=True))))
    return found


def as_typed(text: str, fact: Fact) -> Any:
    kinds = {choice.get("type") for choice in fact.get("any_of", [fact])}
    if "integer" in kinds and text.isdigit():
        return int(text)
    if "number" in kinds:
        return float(text)
    return {"true": True, "false": False}.get(text, text) if "boolean" in kinds else text


def test_only_what_is_given_is_sent(far: Far, connect: Connect) -> None:
    far.body = b'{"results": []}'
    connect(far.url).get_orders()
    assert far.arrived[0].query == {}
    connect(far.url).update_listing(SOME_ID, comment=None)
    assert json.loads(far.arrived[1].body) == {"comment": None}


def test_what_can_t_be_meant_never_leaves(far: Far, connect: Connect) -> None:
    client = connect(far.url)
    for call in (
        lambda: client.get_orders(state=77),  # type: ignore[arg-type]
        lambda: client.update_order(1, new_state=3),
        lambda: client.iter_listings(publication_state=9),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgument):
            call()
    assert far.arrived == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"7", b"null", b'{"results": 1}', b"{}", b"\xff"])
def test_a_page_of_another_shape_is_broken(far: Far, connect: Connect, body: bytes, quick: None) -> None:
    far.body = body
    with pytest.raises(BrokenAnswer):
        connect(far.url).get_orders()
    assert len(far.arrived) == 4


@pytest.mark.parametrize("body", [b"{}", b"null", b""])
def test_a_list_of_another_shape_is_broken(far: Far, connect: Connect, body: bytes, quick: None) -> None:
    far.body = body
    with pytest.raises(BrokenAnswer):
        connect(far.url).get_category_tree()


def test_fields_that_the_document_does_not_know_stay(far: Far, connect: Connect) -> None:
    far.body = b'{"order_id": 1, "state": 77, "price": null, "new": {"a": [1]}}'
    assert connect(far.url).get_order_by_id(1) == json.loads(far.body)


def test_a_404_says_that_a_listing_has_no_competitors(far: Far, connect: Connect) -> None:
    far.status, far.body = 404, b"<html>Not Found</html>"
    assert connect(far.url, "token-of-no-competitors").get_competitors(SOME_ID) == []


@pytest.mark.parametrize("status", [200, 400, 403, 429])
def test_after_sales_says_that_its_limit_is_reached_with_a_code_of_its_own(
    far: Far, connect: Connect, status: int
) -> None:
    far.status, far.body = status, b'{"error": {"code": "E008", "message": "Rate limited"}}'
    own_limits = {"request_deadline": 20.0 + status / 1000}  # limiters of the same figures are shared
    client = connect(far.url, f"token-of-care-{status}", patience=0.0, **own_limits)
    with pytest.raises(RateLimited):
        client.get_care_folders()
    far.status, far.body = 200, b'{"results": []}'
    with pytest.raises(RateLimited):
        client.get_care_folders()
    assert len(far.arrived) == 1, "asked while its limit was used up"
    if status != 429:
        client.get_orders()
        assert len(far.arrived) == 2, "the account is held up by the limit of one operation"


def test_an_order_names_itself_once_where_the_setting_says_so(far: Far, connect: Connect) -> None:
    connect(far.url, order_update_sends_id=False).update_order(7, new_state=2, sku="a")
    assert json.loads(far.arrived[0].body) == {"order_id": 7, "new_state": 2, "sku": "a"}


def test_competitors_are_asked_twice_a_second(far: Far, connect: Connect) -> None:
    far.body = b"[]"
    client = connect(far.url, "token-of-competitors")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.get_competitors(SOME_ID), range(5)))
    times = [request.at for request in far.arrived]
    assert len(times) == 5
    assert all(third - first >= 1.0 for first, third in zip(times, times[2:], strict=False))


def test_a_limit_that_is_used_up_for_long_is_said_at_once(far: Far, connect: Connect) -> None:
    client = connect(far.url, "token-of-backbox")
    rows = client.iter_backbox()
    for number in range(2):
        far.body = json.dumps({"count": 150, "next": "x", "results": [{"sku": str(number)}]}).encode()
        next(rows)
    with pytest.raises(RateLimited, match="2 in 3600 s, for each locale") as caught:
        next(rows)
    assert caught.value.retry_after == pytest.approx(3600, abs=60)
    assert len(far.arrived) == 2
    client.with_locale("de-de").get_backbox()


def test_a_list_with_cursors_is_followed_on_its_own_host(far: Far, connect: Connect) -> None:
    pages = {
        None: {"results": [{"id": "a"}, {"id": "b"}], "next": f"http://evil.invalid/ws?cursor={SOME_ID}"},
        SOME_ID: {"results": [{"id": "b"}, {"id": "c"}], "next": None},
    }
    found = []
    far.body = json.dumps(pages[None]).encode()
    for row in connect(far.url).iter_buyback_listings(product_id=SOME_ID):
        found.append(row["id"])
        far.body = json.dumps(pages[SOME_ID]).encode()
    assert found == ["a", "b", "c"]
    assert [request.query.get("cursor") for request in far.arrived] == [None, SOME_ID]
    assert all(request.query["productId"] == SOME_ID and request.query["pageSize"] == "100" for request in far.arrived)


def test_a_list_with_cursors_that_goes_round_ends(far: Far, connect: Connect) -> None:
    far.body = json.dumps({"results": [{"id": "a"}], "next": f"/ws?cursor={SOME_ID}"}).encode()
    with pytest.raises(IncompleteWalk, match="loops back"):
        list(connect(far.url).iter_buyback_listings())
    assert len(far.arrived) == 2


def test_no_one_listens(connect: Connect, quick: None) -> None:
    """What certainly never left may be sent again, and is said to be so."""
    (port,) = free_ports(1)
    client = connect(f"http://127.0.0.1:{port}")
    for call in (lambda: client.get_order_by_id(1), lambda: client.update_listing(SOME_ID, quantity=1)):
        with pytest.raises(NetworkError) as caught:
            call()
        assert caught.value.delivery == "not_sent"


# --- against the sandbox, whose answers go wrong


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with fresh_sandbox() as sandbox:
        sandbox.control.add_seller("s", "token-of-s", orders=120)
        yield sandbox


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    running.control.reset()
    yield running
    running.control.remove_faults()
    running.control.settings(limit=200, window=10.0, block=10.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between two tries are not what is tried here."""
    monkeypatch.setattr("backmarket.limits.backoff.RETRY_SECONDS", 0.02)


def asked(sandbox: SandboxServer, operation: str) -> int:
    return sandbox.control.stats().sellers["s"].operations.get(operation, 0)


def test_what_the_sandbox_answers(sandbox: SandboxServer, connect: Connect) -> None:
    client = connect(sandbox.url)
    orders = {order["order_id"] for order in client.iter_orders()}
    truth = {row["order_id"] for row in sandbox.control.truth("s") if row["state"] not in {0, 8}}
    assert orders == truth
    assert asked(sandbox, "orders.list") == -(-len(truth) // 50)
    found: dict[str, list[tuple[Any, Any]]] = {
        "listings": [(row["id"], row["sku"]) for row in client.iter_listings()],
        "deliveries": [(row["shipmentId"], row["labelUrl"]) for row in client.iter_deliveries()],
        "returns": [(row["shipmentId"], row["label"]) for row in client.iter_returns()],
    }
    fields = {"listings": ("id", "sku"), "deliveries": ("shipmentId", "labelUrl"), "returns": ("shipmentId", "label")}
    for name, (key, other) in fields.items():
        assert sorted(found[name]) == sorted((row[key], row[other]) for row in sandbox.control.truth("s", name))
    listing = next(client.iter_listings())
    assert client.get_listing_detail(sku=listing["sku"])["id"] == listing["id"]
    assert client.get_listing_by_id(listing["id"])["sku"] == listing["sku"]
    tree = client.get_category_tree()
    assert client.get_category_branch(tree[0]["category_id"]) == tree[0]


def test_changes_at_the_sandbox(sandbox: SandboxServer, connect: Connect) -> None:
    client = connect(sandbox.url)
    listing = next(client.iter_listings())
    assert client.update_listing(listing["id"], quantity=77, price="99.90")["quantity"] == 77
    task = client.create_or_update_listings(f"sku;quantity\n{listing['sku']};78\n")
    assert client.get_task_status(task["bodymessage"])["task_id"] == task["bodymessage"]
    order = next(order for order in client.iter_orders(state=1) if len(order["orderlines"]) == 1)
    line = order["orderlines"][0]
    accepted = client.update_order(order["order_id"], new_state=2, sku=line["listing"])
    assert [each["state"] for each in accepted["orderlines"]] == [2]
    assert client.update_orderline(line["id"], serial_number="SN-1") == {"serial_number": "SN-1"}
    client.upload_order_invoice(order["order_id"], Attachment("invoice.pdf", b"%PDF-1.7", "application/pdf"))
    assert sandbox.control.truth("s", "invoices")[-1]["order_id"] == order["order_id"]


def deadline_for(kind: str) -> dict[str, float]:
    """A short one where it is waited for."""
    return {"request_deadline": 2.0} if kind == "timeout" else {}


TRANSIENT: list[tuple[str, dict[str, Any], type[BackMarketError]]] = [
    ("status", {"status": 503}, ServerError),
    ("status", {"status": 500, "html": True}, ServerError),
    ("reset", {}, NetworkError),
    ("close", {}, NetworkError),
    ("cut", {}, NetworkError),
    ("timeout", {}, NetworkError),
    ("garbage", {}, BrokenAnswer),
    ("empty", {}, BrokenAnswer),
    ("rate_limited", {}, RateLimited),
]


@pytest.mark.parametrize(("kind", "rule", "_error"), TRANSIENT)
def test_a_question_is_asked_again(
    sandbox: SandboxServer, connect: Connect, quick: None, kind: Any, rule: dict[str, Any], _error: Any
) -> None:
    sandbox.control.add_fault(kind, operation="orders.list", count=3, **rule)
    page = connect(sandbox.url, **deadline_for(kind)).get_orders(page_size=50)
    assert len(page["results"]) == 50
    assert asked(sandbox, "orders.list") == 4


@pytest.mark.parametrize(("kind", "rule", "error"), TRANSIENT)
def test_a_question_is_given_up_after_four_tries(
    sandbox: SandboxServer, connect: Connect, quick: None, kind: Any, rule: dict[str, Any], error: type[BackMarketError]
) -> None:
    sandbox.control.add_fault(kind, operation="orders.list", **rule)
    with pytest.raises(error) as caught:
        connect(sandbox.url, **deadline_for(kind)).get_orders()
    assert asked(sandbox, "orders.list") == 4
    assert "token-of-s" not in str(caught.value)


def test_the_pauses_between_two_tries_grow(sandbox: SandboxServer, connect: Connect) -> None:
    sandbox.control.add_fault("status", operation="orders.list", count=3)
    connect(sandbox.url).get_orders()
    times = [entry.arrival for entry in sandbox.control.requests()]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [least <= pause for least, pause in zip((0.3, 0.6, 1.2), pauses, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unauthorized", Unauthorized),
        ("forbidden", NotAvailable),
        ("waf_html", BackMarketError),
        ("early_404", NotFound),
    ],
)
def test_a_refusal_is_final(sandbox: SandboxServer, connect: Connect, kind: Any, error: type[BackMarketError]) -> None:
    sandbox.control.add_fault(kind, operation="orders.get")
    with pytest.raises(error):
        connect(sandbox.url).get_order_by_id(1)
    assert asked(sandbox, "orders.get") == 1


LOST: list[tuple[str, dict[str, Any]]] = [
    ("reset", {}),
    ("close", {}),
    ("timeout", {}),
    ("status", {"status": 502, "html": True}),
    ("garbage", {}),
    ("empty", {}),
    ("cut", {}),
]


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize(("kind", "rule"), LOST)
def test_a_change_whose_answer_is_lost_is_sent_once_and_not_known(
    sandbox: SandboxServer, connect: Connect, kind: Any, rule: dict[str, Any], *, applied: bool
) -> None:
    client = connect(sandbox.url, **deadline_for(kind))
    listing = next(client.iter_listings())
    quantity = listing["quantity"] + 1
    sandbox.control.add_fault(kind, operation="listings.update", applied=applied, **rule)
    with pytest.raises(UnknownOutcome, match="ask get_listing_by_id, and call update_listing again only if") as caught:
        client.update_listing(listing["id"], quantity=quantity)
    assert asked(sandbox, "listings.update") == 1
    assert caught.value.status in {None, 200, 502}
    done = client.get_listing_by_id(listing["id"])["quantity"] == quantity
    assert done is (applied or kind == "cut")


def test_what_can_t_be_read_back_says_where_to_look(sandbox: SandboxServer, connect: Connect) -> None:
    client = connect(sandbox.url)
    order = next(client.iter_orders())
    sandbox.control.add_fault("reset", operation="orders.invoice", applied=True)
    with pytest.raises(UnknownOutcome, match="back office before you call upload_order_invoice again"):
        client.upload_order_invoice(order["order_id"], Attachment("invoice.pdf", b"%PDF-1.7"))
    assert asked(sandbox, "orders.invoice") == 1


def test_a_change_that_was_refused_is_not_sent_again(sandbox: SandboxServer, connect: Connect) -> None:
    client = connect(sandbox.url)
    sandbox.control.add_fault("rate_limited", operation="listings.update", count=1)
    listing = next(client.iter_listings())
    with pytest.raises(RateLimited):
        client.update_listing(listing["id"], quantity=1)
    assert asked(sandbox, "listings.update") == 1
    assert client.update_listing(listing["id"], quantity=1)["quantity"] == 1, "it waits for the block to end"


def test_a_longer_wait_than_the_patience_is_said(sandbox: SandboxServer, connect: Connect) -> None:
    sandbox.control.add_fault("rate_limited", operation="orders.list", count=1)
    with pytest.raises(RateLimited) as caught:
        connect(sandbox.url, rate_window=8.0, patience=0.5).get_orders()
    assert caught.value.retry_after == pytest.approx(8.0, abs=1.0)
    assert asked(sandbox, "orders.list") == 1


# --- lists as a whole

WALKS: list[tuple[str, dict[str, Any], str | None]] = [
    ("repeat_page", {}, "ended at page 2"),
    ("early_empty_page", {"page": 2}, "ended at page 2"),
    ("early_404", {"page": 2}, "ended at page 2"),
    ("wrong_count", {"value": 3}, "and it counts"),
    ("wrong_count", {"value": -60}, None),
    ("next_null_early", {}, None),
    ("unknown_fields", {}, None),
    ("unknown_states", {}, None),
]


@pytest.mark.parametrize(("kind", "rule", "said"), WALKS)
def test_a_walk_brings_every_row_or_says_that_it_did_not(
    sandbox: SandboxServer, connect: Connect, kind: Any, rule: dict[str, Any], said: str | None
) -> None:
    truth = {row["order_id"] for row in sandbox.control.truth("s") if row["state"] not in {0, 8}}
    sandbox.control.add_fault(kind, operation="orders.list", **rule)
    rows = connect(sandbox.url).iter_orders()
    found = []
    if said is None:
        found = [row["order_id"] for row in rows]
        assert set(found) == truth
    else:
        with pytest.raises(IncompleteWalk, match=said):
            found.extend(row["order_id"] for row in rows)
    assert len(found) == len(set(found))


def test_a_walk_asks_only_for_what_is_wanted(sandbox: SandboxServer, connect: Connect) -> None:
    rows = connect(sandbox.url).iter_orders()
    assert sandbox.control.stats().requests == 0
    for _ in range(50):
        next(rows)
    assert asked(sandbox, "orders.list") == 1


def test_a_list_that_is_not_there_is_said(sandbox: SandboxServer, connect: Connect) -> None:
    sandbox.control.add_fault("early_404", operation="orders.list")
    with pytest.raises(NotFound):
        next(connect(sandbox.url).iter_orders())


# --- the limit of a process


def test_clients_with_one_key_share_one_limit(sandbox: SandboxServer, connect: Connect) -> None:
    sandbox.control.settings(limit=10, window=0.4, block=0.4)
    limits = {"rate_limit": 10, "rate_window": 0.4}
    clients = [connect(sandbox.url, **limits), connect(sandbox.url, **limits).with_locale("de-de")]
    order = next(clients[0].iter_orders())["order_id"]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: clients[number % 2].get_order_by_id(order), range(40)))
    assert sandbox.control.stats().sellers["s"].violations == 0
    assert asked(sandbox, "orders.get") == 40


def test_a_client_can_be_used_by_many_threads_and_closed(sandbox: SandboxServer, connect: Connect) -> None:
    client = connect(sandbox.url)
    with client, ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda page: client.get_orders(page=page, page_size=10), range(1, 6)))
    assert len({row["order_id"] for page in pages for row in page["results"]}) == 50


# --- the types, as a host application's mypy sees them

TYPED = """
from typing import assert_type

from backmarket import OrderState, create_backmarket_client
from backmarket.client.types.orders import Order
from backmarket.client.types.pages import Page

client = create_backmarket_client("key")
assert_type(client.get_orders(state=3), Page[Order])
assert_type(client.get_orders(state=OrderState.PAID)["results"][0]["price"], str)
for order in client.iter_orders():
    assert_type(order["orderlines"][0]["imei"], str)
client.get_orders(state=2)
client.get_orders(date_creation="2026-01-01")
client.update_listing("id", price=12.5)
client.get_orders()["results"][0]["nothing"]
client.create_refund(1)
"""


@pytest.mark.slow
def test_types_reach_the_application(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(TYPED)
    command = (sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(tmp_path / "application.py"))
    checked = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    found = re.findall(r"application\.py:(\d+): error: .*\[(\S+)\]", checked.stdout)
    wrong = TYPED.splitlines().index("client.get_orders(state=2)") + 1
    assert found == [
        (str(wrong), "arg-type"),
        (str(wrong + 1), "arg-type"),
        (str(wrong + 2), "arg-type"),
        (str(wrong + 3), "typeddict-item"),
        (str(wrong + 4), "call-arg"),
    ], checked.stdout + checked.stderr
