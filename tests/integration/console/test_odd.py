"""Every page and form of the console with odd values in its path, query and fields: an answer, never a crash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote, urlencode

import pytest
from starlette.routing import Route

from backmarket import BackMarket, console
from backmarket.console.app import _routes
from backmarket.console.paths import segment
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.console import Visitor, console_settings, opened_shop
from tests.support.examples import examples, some
from tests.support.sellers import Shop

ORG = "auth0|odd"
ODD = (
    "", " ", "-1", "0", "9" * 400, "1" * 25, "1e999", "nan", "None", "é", "\u202e", "\x1b[31m", "\n", "a\0b", "true",
    "x" * 9000, "%s{0}", "'; DROP", "../../etc/passwd", "<script>", "2026-02-30", "0001-01-01T00:00:00+14:00", "٣", "²",
    "/", "9999-12-31T23:59:59-14:00", "{}", "%00", "%ff", "1,5", "1" * 300 + ".5", "[]", "\ufffd", "~AAAA", "on",
)  # fmt: skip
TEMPLATES = Path(console.__file__).parent / "templates"
FIELDS = sorted({name for each in TEMPLATES.glob("*.html") for name in re.findall(r'name="(\w+)"', each.read_text())})
QUERIES = (
    *("after", "cursor", "health", "order", "search", "state", "waits", "write", "next", "sku", "from", "until"),
    *("country", "due", "label", "resource", "seller", "stage", "step", "tracking", "watches"),
)
ROUTES = [
    (route.path, method)
    for route in _routes(Settings(invoice_max_bytes=1000))
    if isinstance(route, Route) and route.path not in {"/events", "/login", "/logout"}
    for method in sorted((route.methods or set()) - {"HEAD"})
]
FETCHES = ("POST", "/o/{organization}/labels/{resource}/{shipment}")
"""Waits until a worker has fetched the label, if there is one."""
ROUNDS = examples(15)
EXPECTED = {200, 303, 307, 400, 403, 404, 405, 422, 502, 503}
"""Never 500, which is a fault of ours; 502 and 503: the API refused, or has to be asked again."""


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str, sandbox: SandboxControl) -> Iterator[Shop]:
    with opened_shop(console_settings(stack, shared_url, s3_url), sandbox, ORG) as shop:
        with BackMarket(shop.settings) as bm:
            bm.create_webhook("https://shop.example/")
        yield shop


@pytest.fixture(scope="module")
def anna(shop: Shop) -> Iterator[Visitor]:
    visitor = Visitor(shop.settings)
    visitor.log_in()
    yield visitor
    visitor.close()


def filled(path: str, shop: Shop, dice: Random, odd: str | None) -> str:
    """The path with what is there in its places, or with something odd in one of them."""
    order = shop.sandbox.truth(ORG)[0]
    usual = {
        "organization": segment(ORG), "order": order["order_id"], "line": order["orderlines"][0]["id"],
        "listing": shop.sandbox.truth(ORG, "listings")[0]["id"], "resource": "deliveries",
        "shipment": shop.sandbox.truth(ORG, "deliveries")[0]["shipmentId"], "job": 1, "part": 1, "write": 1,
        "endpoint": 1,
    }  # fmt: skip
    names = re.findall(r"{(\w+)}", path)
    if odd is not None and names:
        usual[dice.choice(names)] = quote(odd, safe="")
    return path.format(**usual)


@pytest.mark.parametrize(("path", "method"), ROUTES, ids=str)
def test_odd_values_get_an_answer(anna: Visitor, shop: Shop, path: str, method: str) -> None:
    dice = Random(f"{method} {path}")
    shop.connect(ORG, f"token-of-{ORG}")  # an odd form may have disabled it, or cleared its key
    token = anna.token()
    for number in range(ROUNDS):
        is_odd = number % 3 == 2 or (method, path) == FETCHES
        at = filled(path, shop, dice, dice.choice(ODD) if is_odd else None)
        query = urlencode({name: dice.choice(ODD) for name in dice.sample(QUERIES, 5)})
        if method == "GET":
            answer = anna.get(f"{at}?{query}", **({"HX-Request": "true"} if number % 2 else {}))
        else:
            fields = {name: dice.choice(ODD) for name in dice.sample(FIELDS, dice.randrange(len(FIELDS)))}
            files = {"file": ("\u202eodd.csv", dice.choice(ODD).encode())} if number % 4 == 1 else None
            answer = anna.http.post(at, data=fields | {"csrf": token}, files=files)
        assert answer.status_code in EXPECTED, (at, answer.status_code, answer.text[:500])
    assert anna.get("/").status_code == 200


HEADERS: tuple[dict[str, str], ...] = (
    {"Origin": "http://["}, {"Origin": "null"}, {"Origin": "//" * 99}, {"Host": "127.0.0.1:["}, {"Host": "[::1]:x"},
    {"Content-Length": "0" * 99}, {"Content-Length": "-1"}, {"Content-Length": "\xb2"}, {"Sec-Fetch-Site": ""},
    {"Content-Type": "multipart/form-data"}, {"Content-Type": "multipart/form-data; boundary="},
    {"Content-Type": "multipart/form-data; boundary=x; charset=nothing"},
    {"Content-Type": "multipart/form-data;boundary=\xff"},
    {"Content-Type": "application/x-www-form-urlencoded; charset=nothing"}, {"Content-Type": "\xff/\xff"},
    {"X-CSRF-Token": "\xff"}, {"Cookie": "backmarket_console=" + "a" * 9000}, {"X-Forwarded-For": "[, ::, %"},
    {"Cookie": "backmarket_console=bnVsbA==.aaaaaa.bbbb"}, {"HX-Request": "\xff"}, {"If-Modified-Since": "\xff"},
    {"Range": "bytes=9-1,-,a-"},
)  # fmt: skip
BODIES = (
    b"", b"csrf=%ff%00&name=%ed%a0%80&next=%0a", b"&&==&a" * 99, b"a=1&" * 3000, b"\xff\x00", b"--x",
    b"--x\r\n\r\n\r\n--x--",
    b'--x\r\nContent-Disposition: form-data; name="csrf"; filename="\xff\0"\r\n\r\na\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n',
    b"--x\r\nContent-Disposition: \r\n\r\na\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\na\r\n' * 9 + b"--x--\r\n",
)  # fmt: skip
PLACES = (
    "/login",
    "/logout",
    "/connect",
    "/",
    "/events?a=%ff",
    "/static/%00",
    "/static/" + "a" * 300,
    "/o/%ff",
    "/o/~%C3%A9",
)


@pytest.mark.parametrize("is_known", [False, True], ids=["a stranger", "a person"])
def test_odd_requests_get_an_answer(shop: Shop, is_known: bool) -> None:
    visitor = Visitor(shop.settings)
    if is_known:
        visitor.log_in()
    token = visitor.token("/" if is_known else "/login").encode()
    kinds = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    sent = [(dict(each), body) for each in HEADERS for body in BODIES[:2]]
    sent += [({"Content-Type": kind}, body) for kind in kinds for body in (*BODIES, b"csrf=" + token + b"&key=%ff")]
    for number, place in enumerate(PLACES):
        for headers, body in some(sent, number):
            raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
            for method in ("POST", "GET"):
                if (method, place) != ("GET", "/events?a=%ff") or not is_known:
                    answer = visitor.http.request(method, place, content=body, headers=raw)
                    assert answer.status_code in {200, 303, 401, 206, 416, *EXPECTED, 413}, (
                        place,
                        raw,
                        answer.status_code,
                    )
    visitor.close()
