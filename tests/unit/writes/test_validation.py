"""What is checked before a write is sent: by the document's facts, and against what is stored."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.client import listing_rules
from backmarket.client.endpoints import LOCALES
from backmarket.client.field_rules import currency_of
from backmarket.errors import InvalidArgument
from backmarket.queries.orders import NEXT_STATES, OrderLineState
from backmarket.sandbox.api.order_writes import NEXT_STATES as SANDBOX_STATES
from backmarket.sandbox.world.people import MARKETS
from backmarket.writes.request import validation
from backmarket.writes.request.faults import InvalidWrite
from backmarket.writes.request.models import UpdateOrder, WriteRequest, as_json, from_json
from backmarket.writes.request.validation import update_listing, update_order, update_orderline, upload_order_invoice
from tests.contract.facts import request_fields

IMEI = "490154203237518"
WRONG_IMEI = "490154203237519"
SERIAL = "SN-ABC123"
LISTING = "da72cf47-1b1f-434a-9224-1f8684ac1bd4"
ORDER_BODY = request_fields("POST /ws/orders/{order_id}")
LISTING_BODY = request_fields("POST /ws/listings/{listingId}")
LINE_BODY = request_fields("PATCH /ws/orderlines/{orderline_id}")


@dataclass(frozen=True)
class Line:
    listing: str | None = "Sku-A"
    state: int | None = 1
    quantity: int | None = 1
    imei: str | None = None
    serial_number: str | None = ""


def refused(call: Any, *arguments: Any, **named: Any) -> InvalidWrite:
    with pytest.raises(InvalidWrite) as raised:
        call(*arguments, **named)
    return raised.value


def ship(**named: Any) -> UpdateOrder:
    return update_order(7, 3, tracking_number="T1", **named)


# --- orders ------------------------------------------------------------------------------------------------


def test_an_order_is_moved_on_with_all_that_the_document_knows() -> None:
    when = datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=timezone(timedelta(hours=2)))
    shipped = update_order(
        7,
        OrderLineState.SHIPPED,
        tracking_number="T1",
        tracking_url="https://carrier.example/T1",
        shipper="Colissimo",
        date_shipping=when,
        vat_type="MARGINAL",
        imei=IMEI,
        serial_number=SERIAL,
        lines=[Line(state=2)],
    )
    assert as_json(shipped) == {
        "order_id": 7,
        "new_state": 3,
        "tracking_number": "T1",
        "tracking_url": "https://carrier.example/T1",
        "shipper": "Colissimo",
        "date_shipping": "2026-05-04T01:02:01Z",
        "vat_type": "MARGINAL",
        "imei": IMEI,
        "serial_number": SERIAL,
    }
    refund = update_order(7, 6, sku="A", return_reason=21, return_message="Sorry.\nIt will be paid back.")
    assert (refund.return_reason, refund.new_state) == (21, OrderLineState.REFUNDED_AFTER_SHIPPING)


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("order_id", {"order_id": 0}),
        ("order_id", {"order_id": True}),
        ("order_id", {"order_id": 2**63}),
        ("new_state", {"new_state": 1}),
        ("new_state", {"new_state": 7}),
        ("new_state", {"new_state": 10}),
        ("new_state", {"new_state": True}),
        ("new_state", {"new_state": "3"}),
        ("tracking_number", {"tracking_number": None}),
        ("tracking_number", {"tracking_number": ""}),
        ("tracking_number", {"tracking_number": "T" * 201}),
        ("tracking_number", {"tracking_number": " T1"}),
        ("tracking_number", {"tracking_number": "T1\n"}),
        ("tracking_number", {"tracking_number": 5}),
        ("tracking_number", {"new_state": 2}),
        ("tracking_url", {"tracking_url": "carrier.example/T1"}),
        ("tracking_url", {"tracking_url": "ftp://carrier.example/T1"}),
        ("tracking_url", {"tracking_url": "https://"}),
        ("tracking_url", {"tracking_url": "https://[::1"}),
        ("tracking_url", {"tracking_url": "https://carrier.example/T 1"}),
        ("tracking_url", {"tracking_url": "https://carrier.example/" + "x" * 300}),
        ("shipper", {"shipper": "S" * 201}),
        ("date_shipping", {"date_shipping": datetime(2026, 5, 4)}),  # noqa: DTZ001 - what is to be refused
        ("date_shipping", {"date_shipping": "2026-05-04T01:02:01Z"}),
        ("date_shipping", {"date_shipping": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}),
        ("imei", {"imei": WRONG_IMEI}),
        ("imei", {"imei": IMEI[:14]}),
        ("serial_number", {"serial_number": "S" * 51}),
        ("return_reason", {"return_reason": 21}),
        ("return_message", {"return_message": "Sorry"}),
        ("return_reason", {"new_state": 6, "tracking_number": None, "return_reason": 2}),
        ("return_reason", {"new_state": 6, "tracking_number": None, "return_reason": True}),
        ("return_message", {"new_state": 6, "tracking_number": None, "return_message": "x" * 501}),
        ("return_message", {"new_state": 6, "tracking_number": None, "return_message": "a\0b"}),
        ("vat_type", {"vat_type": "regular"}),
        ("sku", {"sku": ""}),
        ("sku", {"sku": "\ud800"}),
    ],
)
def test_what_the_document_does_not_allow_of_an_order(field: str, named: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"order_id": 7, "new_state": 3, "tracking_number": "T1"} | named
    error = refused(update_order, **arguments)
    assert isinstance(error, InvalidArgument)
    assert error.field == field
    assert len(error.faults) == 1


def test_all_faults_are_told_at_once_and_nothing_personal_is_quoted() -> None:
    error = refused(update_order, -1, 3, imei=WRONG_IMEI, serial_number="secret\0", return_message="to Mrs. Secret")
    assert [fault.field for fault in error.faults] == [
        "order_id",
        "imei",
        "serial_number",
        "return_message",
        "tracking_number",
    ]
    text = str(error)
    assert "got -1" in text
    assert "unchecked_imei=True" in text
    assert "got a text of 7 characters" in text
    assert WRONG_IMEI not in text
    assert "ecret" not in text


@pytest.mark.parametrize("now", [*range(10), 42, None])
@pytest.mark.parametrize("new", [2, 4, 5, 6])
def test_a_line_is_moved_only_where_the_document_lets_it(now: int | None, new: int) -> None:
    if now in {None, 42} or (now is not None and new in SANDBOX_STATES.get(now, ())):
        assert update_order(7, new, lines=[Line(state=now)]).sku == Line().listing
    else:
        error = refused(update_order, 7, new, lines=[Line(state=now)])
        assert error.field == "new_state"
        assert "fetch the order" in str(error)


def test_the_sku_is_sent_as_the_order_has_it() -> None:
    lines = [Line("Sku-A"), Line("Sku-B"), Line(None, state=4)]
    assert update_order(7, 2, sku="sku-b", lines=lines).sku == "Sku-B"
    error = refused(update_order, 7, 2, sku="sku-c", lines=lines)
    assert error.field == "sku"
    assert "Sku-A, Sku-B" in str(error)


def test_the_sku_is_needed_where_several_could_be_meant_and_found_where_one_is() -> None:
    assert refused(update_order, 7, 2, lines=[Line("a"), Line("b")]).field == "sku"
    assert update_order(7, 2, lines=[Line("a"), Line("b", state=2)]).sku == "a"
    assert update_order(7, 2, lines=[Line("a"), Line("A")]).sku in {"a", "A"}
    assert update_order(7, 2, lines=[Line("a")]).sku == "a"
    assert update_order(7, 2).sku is None


def test_a_listing_may_be_published_as_recorded_use_does() -> None:
    assert update_listing(1, {"pub_state": "2"}, locale="fr-fr").changes == {"pub_state": 2}
    assert "no other value is known" in str(refused(update_listing, 1, {"pub_state": 1}, locale="fr-fr"))


def test_state_3_takes_all_accepted_lines_along() -> None:
    lines = [Line("a", state=2), Line("b", state=2), Line("c", state=4)]
    assert ship(lines=lines).sku is None
    assert refused(ship, sku="a", lines=lines).field == "sku"
    assert ship(sku="a", lines=[Line("A", state=2), Line("c", state=4)]).sku is None
    assert refused(ship, lines=[Line(state=1)]).field == "new_state"
    assert refused(ship, lines=[]).field == "new_state"


def test_a_device_is_registered_only_where_there_is_one() -> None:
    accepted = Line(state=2)
    assert ship(imei=IMEI, serial_number=SERIAL, lines=[accepted]).imei == IMEI
    for lines in ([accepted, Line("b", state=2)], [Line(state=2, quantity=2)]):
        error = refused(ship, imei=IMEI, serial_number=SERIAL, lines=lines)
        assert [fault.field for fault in error.faults] == ["imei", "serial_number"]
        assert "update_orderline" in str(error)
    error = refused(ship, imei=IMEI, lines=[Line(state=2, imei=IMEI)])
    assert "registered" in str(error)


def test_enums_and_lengths_are_those_of_the_document() -> None:
    assert set(validation.RETURN_REASONS) == set(ORDER_BODY["$.return_reason"]["enum"])
    assert set(validation.VAT_TYPES) == set(ORDER_BODY["$.vat_type"]["enum"])
    assert NEXT_STATES == SANDBOX_STATES
    ours = {each.name for each in fields(UpdateOrder)} | {"id"}
    assert {f"$.{name}" for name in ours} == set(ORDER_BODY) - {"$"}
    for name in ("tracking_number", "tracking_url", "shipper", "serial_number", "return_message"):
        longest = ORDER_BODY[f"$.{name}"]["maxLength"]
        state = 6 if name == "return_message" else 3
        tracking: dict[str, Any] = {"tracking_number": "T1"} if state == 3 else {}
        prefix = "https://x.example/" if name == "tracking_url" else ""
        update_order(7, state, **(tracking | {name: prefix.ljust(longest, "x")}))
        assert refused(update_order, 7, state, **(tracking | {name: prefix.ljust(longest + 1, "x")})).field == name
    assert LINE_BODY["$.imei"]["maxLength"] == len(IMEI)
    assert LINE_BODY["$.serial_number"]["maxLength"] == ORDER_BODY["$.serial_number"]["maxLength"]


# --- order lines -------------------------------------------------------------------------------------------


def test_a_device_is_registered_on_its_line() -> None:
    sent = update_orderline(9, imei=IMEI, serial_number=SERIAL, line=Line())
    assert as_json(sent) == {"orderline_id": 9, "imei": IMEI, "serial_number": SERIAL}
    assert IMEI not in repr(sent)
    assert SERIAL not in repr(sent)


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("imei", {}),
        ("imei", {"imei": ""}),
        ("imei", {"imei": f" {IMEI}"}),
        ("imei", {"imei": "49-015420-323751-8"}),
        ("imei", {"imei": WRONG_IMEI}),
        ("imei", {"imei": "٤٩٠١٥٤٢٠٣٢٣٧٥١٨"}),
        ("imei", {"imei": int(IMEI)}),
        ("imei", {"imei": "A" * 16, "unchecked_imei": True}),
        ("imei", {"imei": "A-1", "unchecked_imei": True}),
        ("imei", {"imei": "", "unchecked_imei": True}),
        ("serial_number", {"serial_number": ""}),
        ("serial_number", {"serial_number": "SN "}),
        ("serial_number", {"serial_number": "S\tN"}),
        ("serial_number", {"serial_number": "S\u200bN"}),
        ("orderline_id", {"orderline_id": "9", "imei": "x"}),
    ],
)
def test_what_can_never_be_corrected_is_checked_hard(field: str, named: dict[str, Any]) -> None:
    arguments = {"orderline_id": 9} | named
    if field == "orderline_id":
        arguments["orderline_id"] = "nine"
    assert refused(update_orderline, **arguments).field == field


def test_an_identifier_of_another_kind_can_be_sent_on_purpose() -> None:
    assert update_orderline(9, imei=WRONG_IMEI, unchecked_imei=True).imei == WRONG_IMEI
    assert update_orderline(9, imei="A00000DEADBEEF", unchecked_imei=True).imei == "A00000DEADBEEF"


def test_one_mistyped_digit_is_always_found() -> None:
    for place in range(15):
        for digit in "0123456789":
            mistyped = IMEI[:place] + digit + IMEI[place + 1 :]
            if mistyped != IMEI:
                assert refused(update_orderline, 9, imei=mistyped).field == "imei"


def test_what_is_registered_is_neither_replaced_nor_sent_again() -> None:
    registered = Line(imei=IMEI)
    assert as_json(update_orderline(9, imei=IMEI, serial_number=SERIAL, line=registered)) == {
        "orderline_id": 9,
        "serial_number": SERIAL,
    }
    assert "nothing to do" in str(refused(update_orderline, 9, imei=IMEI, line=registered))
    other = refused(update_orderline, 9, imei="356938035643809", serial_number=SERIAL, line=registered)
    assert [fault.field for fault in other.faults] == ["imei"]
    assert IMEI not in str(other)


# --- listings ----------------------------------------------------------------------------------------------


def listing(locale: str = "fr-fr", **changes: Any) -> dict[str, Any]:
    return dict(update_listing(LISTING, changes, locale=locale).changes)


def test_amounts_are_exact_and_go_with_their_currency() -> None:
    assert listing(price=Decimal("160.9")) == {"price": "160.90", "currency": "EUR"}
    assert listing("en-gb", price="160") == {"price": "160.00", "currency": "GBP"}
    assert listing("ja-jp", price=12000) == {"price": "12000", "currency": "JPY"}
    assert listing("ja-jp", price="12000.00", currency="JPY")["price"] == "12000"
    assert listing(min_price=Decimal("1E+2")) == {"min_price": "100.00"}
    assert listing(min_price=None) == {"min_price": None}


def test_everything_that_the_document_lets_one_set_can_be_set() -> None:
    changes: dict[str, Any] = {
        "price": "99.90",
        "min_price": "90",
        "quantity": 0,
        "comment": " Très bon état\u00a0!\nLivré vite ",
        "warranty_delay": 24,
        "shipper_1": "DHL Express",
        "shipper_display_1": "DHL",
        "shipping_delay_1": 36,
        "shipping_price_1": 0,
        "shipper_2": None,
    }
    sent = listing(**changes)
    assert sent["comment"] == "Très bon état\u00a0!\nLivré vite"
    assert (sent["shipping_price_1"], sent["shipper_2"], sent["quantity"]) == ("0.00", None, 0)
    assert {f"$.{name}" for name in listing_rules.listing_rules("fr-fr")} == set(LISTING_BODY) - {"$"}
    nullable = {name for name, fact in LISTING_BODY.items() if fact.get("nullable")}
    for name, rule in listing_rules.listing_rules("fr-fr").items():
        if f"$.{name}" in nullable:
            assert rule(None) is None
        else:
            with pytest.raises(ValueError, match=r"."):
                rule(None)
    for carrier in LISTING_BODY["$.shipper_1"]["enum"]:
        assert listing(shipper_1=carrier)["shipper_1"] == carrier


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("changes", {}),
        ("prise", {"prise": "1.00"}),
        ("price", {"price": 160.99}),
        ("price", {"price": "160,99"}),
        ("price", {"price": "160.999"}),
        ("price", {"price": Decimal("0.001")}),
        ("price", {"price": Decimal("NaN")}),
        ("price", {"price": Decimal("Infinity")}),
        ("price", {"price": "1e3"}),
        ("price", {"price": "+5"}),
        ("price", {"price": "-5"}),
        ("price", {"price": -5}),
        ("price", {"price": "0"}),
        ("price", {"price": "007"}),
        ("price", {"price": "\uff11\uff12"}),
        ("price", {"price": 10**9}),
        ("price", {"price": True}),
        ("price", {"price": None}),
        ("currency", {"currency": "EUR"}),
        ("currency", {"price": "5", "currency": "USD"}),
        ("min_price", {"price": "5", "min_price": "5.01"}),
        ("quantity", {"quantity": -1}),
        ("quantity", {"quantity": 1.0}),
        ("quantity", {"quantity": "1.0"}),
        ("quantity", {"quantity": None}),
        ("quantity", {"quantity": 2**31}),
        ("comment", {"comment": "x" * 501}),
        ("comment", {"comment": "  "}),
        ("comment", {"comment": "a\x07"}),
        ("warranty_delay", {"warranty_delay": 11}),
        ("shipper_1", {"shipper_1": "My cousin"}),
        ("shipper_1", {"shipper_1": ["DHL"]}),
        ("shipper_2", {"shipping_price_2": "1.00"}),
        ("shipping_price_1", {"shipper_1": "DHL", "shipping_price_1": "-1"}),
    ],
)
def test_what_the_document_does_not_allow_of_a_listing(field: str, changes: dict[str, Any]) -> None:
    error = refused(update_listing, LISTING, changes, locale="fr-fr")
    assert error.field == field
    assert len(error.faults) == 1


def test_an_unknown_field_names_the_known_ones() -> None:
    text = str(refused(update_listing, LISTING, {"prise": 1}, locale="fr-fr"))
    assert all(name in text for name in ("price", "quantity", "shipping_delay_3"))


def test_a_market_without_cents() -> None:
    assert "no decimals" in str(refused(update_listing, LISTING, {"price": "5.50"}, locale="ja-jp"))


@pytest.mark.parametrize(
    ("given_id", "sent"), [(LISTING.upper(), LISTING), (UUID(LISTING), LISTING), (123, "123"), ("123", "123")]
)
def test_a_listing_is_named_by_its_uuid_or_the_older_number(given_id: Any, sent: str) -> None:
    assert update_listing(given_id, {"quantity": 1}, locale="fr-fr").listing_id == sent


@pytest.mark.parametrize("given_id", ["../orders/1", "SKU-1", 0, -1, None, True, 1.5])
def test_what_is_no_listing_id(given_id: Any) -> None:
    assert refused(update_listing, given_id, {"quantity": 1}, locale="fr-fr").field == "listing_id"


def test_each_market_has_its_currency() -> None:
    locales = [locale for known in LOCALES.values() for locale in known]
    assert {locale: currency_of(locale) for locale in locales} == {
        locale: market.currency for locale, market in MARKETS.items()
    }


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(), st.lists(st.none())
    ),
    st.sampled_from(sorted(listing_rules.listing_rules("fr-fr"))),
)
def test_whatever_comes_is_sent_or_refused_with_a_reason(value: object, name: str) -> None:
    with suppress(InvalidWrite):
        sent = update_listing(LISTING, {name: value}, locale="fr-fr").changes
        assert set(sent) <= {name, "currency"}
        assert isinstance(sent[name], str | int | None)


@given(st.text())
def test_whatever_text_comes_as_an_identifier_is_sent_as_it_is_or_refused(value: str) -> None:
    with suppress(InvalidWrite):
        assert update_orderline(9, serial_number=value).serial_number == value
    with suppress(InvalidWrite):
        assert update_orderline(9, imei=value, unchecked_imei=True).imei == value


# --- invoices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["invoice.pdf", "Facture n° 7.PDF", "請求書.pdf"])
def test_an_invoice_has_a_name(name: str) -> None:
    assert upload_order_invoice(7, name).filename == name


@pytest.mark.parametrize(
    "name", ["invoice", "a/b.pdf", "a\\b.pdf", 'a".pdf', "a\r\n.pdf", ".pdf ", "", "x" * 252 + ".pdf", None]
)
def test_what_is_no_name_of_an_invoice(name: Any) -> None:
    assert refused(upload_order_invoice, 7, name).field == "filename"


# --- kept as rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        ship(date_shipping=datetime(2026, 5, 4, tzinfo=UTC), imei=IMEI),
        update_order(7, 6, sku="a", return_reason=0, return_message="Sorry"),
        update_orderline(9, serial_number=SERIAL),
        update_listing(LISTING, {"price": "5", "min_price": None, "quantity": 3}, locale="en-gb"),
        upload_order_invoice(7, "i.pdf"),
    ],
)
def test_a_request_comes_back_from_its_row(request_: WriteRequest) -> None:
    kept = as_json(request_)
    assert from_json(request_.kind, kept) == request_
    assert as_json(from_json(request_.kind, kept)) == kept
