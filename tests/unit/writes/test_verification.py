"""Did a write arrive: properties tried on the sandbox's own application, and what another client may have done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backmarket.queries.orders import NEXT_STATES
from backmarket.sandbox import InProcessTransport, Settings, World
from backmarket.writes.engine.verification import REACHED, Verdict, compare, seen
from backmarket.writes.request.http import http_request
from backmarket.writes.request.models import WriteRequest
from backmarket.writes.request.validation import (
    may_move,
    update_listing,
    update_order,
    update_orderline,
    upload_order_invoice,
)
from tests.support.examples import examples

HEADERS = {"authorization": "Basic token", "user-agent": "BM-Test-Unit;test@example.com"}
IMEI, OTHER_IMEI = "490154203237518", "356938035643809"
LOCALE = "en-gb"


# --- the sandbox -------------------------------------------------------------------------------------------


class Api:
    """A sandbox in this process with one order and one listing."""

    def __init__(self) -> None:
        self.world = World(clock=lambda: datetime(2026, 5, 4, tzinfo=UTC), settings=Settings(enforce_limit=False))
        self.world.settings.sku_lines_limit = 10**9
        self.world.add_seller("s", "token", orders=5, listings=1, deliveries=0, returns=0)
        transport, headers = InProcessTransport(self.world), HEADERS | {"accept-language": LOCALE}
        self.client = httpx.Client(transport=transport, base_url="http://sandbox", headers=headers)
        self.orders = self.world.sellers["s"].orders
        self.order_id = next(row.id for row in self.orders.rows)
        self.listing_id = self.client.get("/ws/listings").json()["results"][0]["id"]

    def place(self, lines: list[dict[str, Any]]) -> None:
        """Give the order these lines."""

        def edit(body: dict[str, Any]) -> None:
            known = body["orderlines"][0]
            body["orderlines"] = [known | {"id": 100 + place} | line for place, line in enumerate(lines)]
            body |= {"state": 1, "tracking_number": "", "is_backship": False}

        row = self.orders.rows.get(self.order_id)
        assert row is not None
        self.orders.edit(row, row.modified, edit)

    def order(self) -> dict[str, Any]:
        return dict(self.client.get(f"/ws/orders/{self.order_id}").json())

    def listing(self) -> dict[str, Any]:
        return dict(self.client.get(f"/ws/listings/{self.listing_id}").json())

    def send(self, request: WriteRequest) -> None:
        sent = http_request(request)
        headers = {"content-type": sent.content_type}
        answer = self.client.request(sent.method, sent.path, content=sent.body, headers=headers)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def api() -> Api:
    return Api()


@dataclass(frozen=True)
class Line:
    listing: str | None
    state: int | None
    quantity: int | None
    imei: str | None
    serial_number: str | None


def line(state: int = 1, **members: Any) -> dict[str, Any]:
    plain = {
        "state": state,
        "listing": "Sku-A",
        "quantity": 1,
        "imei": None,
        "serial_number": "",
        "return_reason": None,
    }
    return plain | members


def stored(order: dict[str, Any]) -> list[Line]:
    names = ("listing", "state", "quantity", "imei", "serial_number")
    return [Line(**{name: one[name] for name in names}) for one in order["orderlines"]]


# --- what was sent is found, and what was not is missed ----------------------------------------------------


lines = st.builds(line, state=st.integers(0, 9), listing=st.sampled_from(["Sku-A", "B"]), quantity=st.integers(1, 2))


@given(
    first=lines,
    others=st.lists(lines, max_size=2),
    way=st.sampled_from([(now, new) for now, onward in NEXT_STATES.items() for new in onward]),
    with_sku=st.booleans(),
    reason=st.sampled_from([None, 0, 21]),
    with_imei=st.booleans(),
)
@settings(max_examples=examples(150), deadline=None)
def test_an_order_that_was_changed_and_one_that_was_not(
    api: Api,
    first: dict[str, Any],
    others: list[dict[str, Any]],
    way: tuple[int, int],
    with_sku: bool,
    reason: int | None,
    with_imei: bool,
) -> None:
    now, new = way
    placed = [first | {"state": now}, *others]
    several = len({one["listing"] for one in placed if may_move(one["state"], new)}) > 1
    named: dict[str, Any] = {"sku": first["listing"].swapcase()} if new != 3 and (with_sku or several) else {}
    named |= {"tracking_number": "T1"} if new == 3 else {}
    named |= {"return_reason": reason} if new > 3 else {}
    named |= {"imei": IMEI} if new == 3 and with_imei and len(placed) == first["quantity"] == 1 else {}
    api.place(placed)
    before = api.order()
    request = update_order(api.order_id, new, lines=stored(before), **named)
    prior = json.loads(json.dumps(seen(request, before)))
    assert compare(request, prior, before) == Verdict("not_applied")
    assert compare(request, None, before).state in {"not_applied", "undecidable"}
    api.send(request)
    assert compare(request, prior, api.order()) == Verdict("applied")
    assert compare(request, None, api.order()) == Verdict("applied")


identifiers = st.fixed_dictionaries({}, optional={"imei": st.just(IMEI), "serial_number": st.just("SN")})


@given(sent=identifiers.filter(bool))
@settings(deadline=None)
def test_an_order_line_that_was_registered_and_one_that_was_not(api: Api, sent: dict[str, Any]) -> None:
    api.place([line(3), line(3)])
    request = update_orderline(101, **sent)
    assert compare(request, None, api.order()) == Verdict("not_applied")
    api.send(request)
    assert compare(request, None, api.order()) == Verdict("applied")
    assert compare(update_orderline(100, **sent), None, api.order()) == Verdict("not_applied")


amounts = st.decimals("0.01", "9999.99", places=2)
carriers = st.fixed_dictionaries(
    {"shipper_1": st.sampled_from(["DHL", "UPS"])},
    optional={
        "shipper_display_1": st.sampled_from(["Express", "Standard"]),
        "shipping_delay_1": st.integers(0, 99),
        "shipping_price_1": amounts,
    },
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "price": st.decimals("500", "9999.99", places=2),
        "min_price": st.none() | st.decimals("1", "500", places=2),
        "quantity": st.integers(0, 99),
        "comment": st.none() | st.sampled_from(["Fine", "Très bon état", "a\nb"]),
        "warranty_delay": st.integers(12, 36),
    },
)


@given(first=changes, own=carriers, sent=changes, carrier=st.none() | carriers)
@settings(max_examples=examples(150), deadline=None)
def test_a_listing_that_was_changed_and_one_that_was_not(
    api: Api, first: dict[str, Any], own: dict[str, Any], sent: dict[str, Any], carrier: dict[str, Any] | None
) -> None:
    assume(sent or carrier)
    api.send(update_listing(api.listing_id, first | own, locale=LOCALE))
    before = api.listing()
    request = update_listing(api.listing_id, sent | (carrier or {}), locale=LOCALE)
    prior = json.loads(json.dumps(seen(request, before)))
    unsent = compare(request, prior, before)
    api.send(request)
    after = api.listing()
    assert compare(request, prior, after) == Verdict("applied")
    changed = seen(request, after) != prior
    assert unsent == Verdict("not_applied" if changed else "applied")


# --- orders: another client -----------------------------------------------------------------------------------


def order(*lines: dict[str, Any], tracking_number: str | None = None) -> dict[str, Any]:
    numbered = [{"id": 100 + place} | one for place, one in enumerate(lines)]
    return {"orderlines": numbered, "tracking_number": tracking_number}


def after(request: WriteRequest, before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    verdict = compare(request, None if before is None else seen(request, before), now)
    assert (verdict.reason is not None) == (verdict.state == "undecidable")
    return verdict.state


@pytest.mark.parametrize("new", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("now", range(10))
def test_a_line_that_has_gone_on_since_was_moved(new: int, now: int) -> None:
    ways = {new}
    while more := {state for way in ways for state in NEXT_STATES.get(way, ())} - ways:
        ways |= more
    assert REACHED[new] == ways
    tracking = {"tracking_number": "T1"} if new == 3 else {}
    request = update_order(7, new, **tracking)  # type: ignore[arg-type]
    origin = next(state for state, onward in NEXT_STATES.items() if new in onward)
    shown = order(line(now), tracking_number="T1")
    assert after(request, order(line(origin)), shown) == ("applied" if now in ways else "not_applied")


def test_what_was_shipped_by_another_client() -> None:
    request = update_order(7, 3, tracking_number="T1")
    before = order(line(2))
    assert after(request, before, order(line(3), tracking_number="T2")) == "undecidable"
    assert after(request, before, order(line(3))) == "undecidable"
    assert after(request, before, order(line(5))) == "not_applied"
    device = update_order(7, 3, tracking_number="T1", imei=IMEI)
    for imei in (None, OTHER_IMEI):
        assert after(device, before, order(line(3, imei=imei), tracking_number="T1")) == "undecidable"


def test_a_part_of_the_lines() -> None:
    request = update_order(7, 3, tracking_number="T1")
    before = order(line(2), line(2), line(4))
    assert after(request, before, order(line(3), line(2), line(4), tracking_number="T1")) == "undecidable"
    assert after(request, before, order(line(3), tracking_number="T1")) == "undecidable"
    assert after(request, before, order()) == "undecidable"
    assert after(request, before, {"orderlines": None}) == "undecidable"


def test_a_refund_for_another_reason_was_not_ours() -> None:
    request = update_order(7, 6, return_reason=21)
    assert after(request, order(line(3)), order(line(6, return_reason=0))) == "undecidable"
    assert after(request, order(line(3)), order(line(6, return_reason=[]))) == "undecidable"
    assert after(request, order(line(3)), order(line(6))) == "applied"


@pytest.mark.parametrize("state", [None, 42, "3", [3]])
def test_an_unknown_state_decides_nothing(state: Any) -> None:
    request = update_order(7, 3, tracking_number="T1")
    assert after(request, order(line(2)), order(line(state), tracking_number="T1")) == "undecidable"
    assert after(request, None, order(line(state), tracking_number="T1")) == "undecidable"


def test_the_sku_is_found_without_regard_to_case() -> None:
    request = update_order(7, 2, sku="SKU-B")
    before = order(line(1), line(1, listing="sku-b"))
    assert after(request, before, order(line(2), line(1, listing="sku-b"))) == "not_applied"
    assert after(request, before, order(line(1), line(2, listing="sku-b"))) == "applied"
    assert after(request, before, order(line(2, listing=None))) == "undecidable"


def test_an_order_whose_prior_state_is_not_known() -> None:
    request = update_order(7, 2)
    assert after(request, None, order(line(1))) == "not_applied"
    assert after(request, None, order(line(2))) == "applied"
    assert after(request, None, order(line(2), line(1))) == "undecidable"


# --- order lines: another client ------------------------------------------------------------------------------


def test_what_was_registered_by_another_client() -> None:
    both = update_orderline(100, imei=IMEI, serial_number="SN")
    assert after(both, None, order(line(imei=OTHER_IMEI))) == "undecidable"
    assert after(both, None, order(line(imei=IMEI))) == "undecidable"
    assert after(both, None, order(line(imei="", serial_number=None))) == "not_applied"
    assert after(both, None, order()) == "undecidable"
    verdict = compare(both, None, order(line(imei=OTHER_IMEI)))
    assert verdict.reason
    assert OTHER_IMEI not in verdict.reason


# --- listings: another client ---------------------------------------------------------------------------------


def listing(**members: Any) -> dict[str, Any]:
    return {"price": "100.00", "currency": "GBP", "quantity": 5, "comment": None, "shippings": []} | members


def test_amounts_are_equal_however_they_are_written() -> None:
    request = update_listing(1, {"price": "90"}, locale=LOCALE)
    for shown in ("90", "90.0", "90.000", 90, 90.0):
        assert after(request, listing(), listing(price=shown)) == "applied"
    assert after(request, listing(), listing(price="100.0")) == "not_applied"
    assert after(request, listing(), listing(price="95")) == "undecidable"
    assert after(request, listing(), listing(price="ninety")) == "undecidable"
    assert after(request, listing(), listing(price="90", currency="EUR")) == "applied"


def test_an_emptied_text_may_be_shown_in_two_ways() -> None:
    request = update_listing(1, {"comment": None}, locale=LOCALE)
    for shown in (None, ""):
        assert after(request, listing(comment="x"), listing(comment=shown)) == "applied"


def test_a_sale_in_between_does_not_hide_what_the_other_fields_say() -> None:
    request = update_listing(1, {"price": "90", "quantity": 10}, locale=LOCALE)
    assert after(request, listing(), listing(price="90.00", quantity=9)) == "applied"
    assert after(request, listing(), listing(quantity=4)) == "not_applied"
    assert after(request, listing(), listing(quantity=10)) == "undecidable"
    stock = update_listing(1, {"quantity": 10}, locale=LOCALE)
    assert after(stock, listing(), listing(quantity=9)) == "undecidable"


def test_what_would_have_changed_nothing_proves_nothing() -> None:
    request = update_listing(1, {"quantity": 5}, locale=LOCALE)
    assert after(request, listing(), listing()) == "applied"
    assert after(request, listing(), listing(quantity=4)) == "undecidable"


def test_a_listing_whose_prior_values_are_not_known() -> None:
    request = update_listing(1, {"quantity": 10}, locale=LOCALE)
    assert after(request, None, listing(quantity=10)) == "applied"
    assert after(request, None, listing(quantity=5)) == "undecidable"


def test_carriers_are_those_of_the_market_that_was_meant() -> None:
    request = update_listing(1, {"shipper_1": "DHL", "shipping_price_1": "3.9"}, locale=LOCALE)
    here, elsewhere = {"country_code": "en-gb"}, {"country_code": "fr-fr", "shipper": "DHL", "shipping_price": "3.90"}
    ups = here | {"shipper": "UPS", "shipping_price": "5.00"}
    dhl = here | {"shipper": "DHL", "shipping_price": "3.90"}
    before = listing(shippings=[elsewhere, ups])
    assert after(request, before, listing(shippings=[elsewhere, dhl])) == "applied"
    assert after(request, before, before) == "not_applied"
    assert after(request, before, listing(shippings=None)) == "undecidable"


# --- invoices ------------------------------------------------------------------------------------------------


def test_an_invoice_cannot_be_read_back() -> None:
    assert after(upload_order_invoice(7, "a.pdf"), None, order(line())) == "undecidable"


def test_a_published_listing_is_one_that_is_online_or_on_its_way() -> None:
    request = update_listing(1, {"pub_state": 2}, locale=LOCALE)
    prior = seen(request, {"publication_state": 0})
    assert compare(request, prior, {"publication_state": 1}).state == "applied"
    assert compare(request, prior, {"publication_state": 0}).state == "not_applied"
