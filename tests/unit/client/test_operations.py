"""The typed client's operations, held against the facts of the contract; what they take, refuse and send."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, get_args, get_origin, get_type_hints
from uuid import uuid4

import pytest

from backmarket import Attachment, BackMarketClient, create_backmarket_client
from backmarket.client.api.calls import Calls
from backmarket.client.arguments import (
    UNSET,
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
from backmarket.client.credentials import Credentials
from backmarket.client.local_limits import OwnLimits
from backmarket.client.multipart import encode_form
from backmarket.client.operation import Field, Limit, Operation
from backmarket.client.operations import GET_COMPETITORS, OPERATIONS
from backmarket.client.pagination import cursor_of
from backmarket.errors import BrokenAnswer, InvalidArgument, RateLimited, SettingsError
from backmarket.queries.listings import PublicationState
from backmarket.queries.orders import OrderLineState, OrderState
from backmarket.settings import Settings
from tests.contract.facts import JSON, Fact, Fields, parameters
from tests.contract.facts import OPERATIONS as DOCUMENTED

FORM = "multipart/form-data"
STRICTER = {
    "upload_order_invoice": {"invoice"},
    "create_refund": {"orderline_id", "refund_type"},
    "update_buyback_listing": {"prices"},
}
"""Arguments that we want although the document does not ask for them: without them the request means nothing."""

UNDOCUMENTED = {"update_listing": {"pub_state"}}
"""Members of a body that the document does not have, and recorded use shows."""

NOT_OPERATIONS = {"close", "with_locale"}
ENUMS = {"OrderState": OrderState, "OrderLineState": OrderLineState, "PublicationState": PublicationState}
FILE = Attachment("photo.jpg", b"a photo", "image/jpeg")
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def document(operation: Operation[Any]) -> str:
    return f"{operation.method} {operation.path}"


@pytest.fixture(params=OPERATIONS.values(), ids=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation[Any]:
    found: Operation[Any] = request.param
    return found


def placed(operation: Operation[Any], place: str) -> dict[str, Field]:
    return {each.name: each for each in operation.fields if each.place == place}


def body_fields(operation: Operation[Any]) -> Fields:
    (fields,) = DOCUMENTED[document(operation)]["request"].values()
    return {path.removeprefix("$."): fact for path, fact in fields.items() if re.fullmatch(r"\$\.\w+", path)}


# --- the table against the document


def test_every_operation_of_the_document_is_there_once() -> None:
    assert sorted(map(document, OPERATIONS.values())) == sorted(DOCUMENTED)
    assert len(OPERATIONS) == 39


def test_every_operation_is_a_method_and_every_method_an_operation() -> None:
    methods = {name for name, _ in inspect.getmembers(BackMarketClient, inspect.isfunction) if name[0] != "_"}
    walks = {name for name in methods if name.startswith("iter_")}
    assert methods - walks - NOT_OPERATIONS == set(OPERATIONS)
    assert {name.replace("iter_", "get_", 1) for name in walks} == {
        name for name, each in OPERATIONS.items() if "results" in fields_of(each.answer)
    }


def test_the_operation_id_is_the_documents(operation: Operation[Any]) -> None:
    assert operation.id == DOCUMENTED[document(operation)]["operation_id"]


def test_the_limits_are_the_documents(operation: Operation[Any]) -> None:
    spans = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
    known = [text.split(" requests / ") for text in DOCUMENTED[document(operation)]["limits"] if "requests" in text]
    assert [(each.requests, each.seconds) for each in operation.limits] == [
        (int(figure), spans[span]) for figure, span in known
    ]


def test_the_parameters_are_the_documents(operation: Operation[Any]) -> None:
    for place in ("path", "query"):
        known, ours = parameters(document(operation), place), placed(operation, place)
        assert set(ours) == set(known)
        assert [(name, unlike(ours[name], known[name])) for name in known if unlike(ours[name], known[name])] == []


def test_the_body_is_the_documents(operation: Operation[Any]) -> None:
    request = DOCUMENTED[document(operation)].get("request")
    if request is None:
        assert {each.place for each in operation.fields} <= {"path", "query"}
        return
    ours = placed(operation, {JSON: "body", FORM: "form"}[next(iter(request))])
    known = body_fields(operation)
    assert set(ours) - set(known) == UNDOCUMENTED.get(operation.name, set())
    assert set(known) <= set(ours)
    assert [(name, unlike(ours[name], known[name])) for name in known if unlike(ours[name], known[name])] == []
    stricter = {ours[name].argument for name in known if ours[name].required and not known[name].get("required")}
    assert stricter == STRICTER.get(operation.name, set())
    assert operation.needs_any or not request.get(JSON, {}).get("$", {}).get("minProperties")


def test_everything_sent_has_a_place_in_the_document(operation: Operation[Any]) -> None:
    request = DOCUMENTED[document(operation)].get("request", {})
    allowed = {"path", "query"} | {{JSON: "body", FORM: "form"}[kind] for kind in request}
    assert {each.place for each in operation.fields} <= allowed


def unlike(field: Field, fact: Fact) -> str:
    """How a field is laxer than the document, or of another type; empty if it is neither."""
    if fact.get("required") and not field.required:
        return "required"
    if field.nullable and not fact.get("nullable"):
        return "never null"
    if isinstance(field.kind, Choice):
        enum = [value for value in fact.get("enum", ()) if value is not None]
        return "" if sorted(map(repr, field.kind.values)) == sorted(map(repr, enum)) else "other values"
    types = {choice.get("type") for choice in fact.get("any_of", [fact])}
    return "" if "enum" not in fact and ALIKE[type(field.kind)](field.kind, fact, types) else f"otherwise: {fact}"


def alike_text(kind: Text, fact: Fact, types: set[str]) -> bool:
    long = kind.longest == fact.get("maxLength") and kind.shortest >= fact.get("minLength", 0)
    return types == {"string"} and long and (fact.get("format") == "url") == ("http" in (kind.form or ""))


def alike_whole(kind: Whole, fact: Fact, types: set[str]) -> bool:
    undescribed = fact == {"required": True}  # the order's id in a body
    return undescribed or (
        "integer" in types and kind.most == fact.get("maximum") and kind.least >= fact.get("minimum", 0)
    )


def alike_moment(kind: Timestamp, fact: Fact, types: set[str]) -> bool:
    return types == {"string"} and (fact.get("format") in {"date-time", "datetime"} or kind.form.endswith("-%M"))


ALIKE: dict[type, Callable[[Any, Fact, set[str]], bool]] = {
    Whole: alike_whole,
    Text: alike_text,
    Timestamp: alike_moment,
    Money: lambda kind, _, types: ("number" if kind.number else "string") in types,
    Uuid: lambda _, fact, types: types == {"string"} and fact.get("format") == "uuid",
    UuidOrWhole: lambda _, __, types: types == {"string", "integer"},
    Flag: lambda _, __, types: types == {"boolean"},
    Files: lambda _, __, types: types == {"array"},
    Texts: lambda _, __, types: types == {"array"},
    NamedContents: lambda _, __, types: types == {"array"},
    Prices: lambda _, __, types: types == {"object"},
}
"""Whether a kind is what the document says."""


# --- the types of the answers against the document


def fields_of(answer: Any) -> dict[str, Any]:
    """The fields of a TypedDict with their types, those of a generic one filled in; none of any other type."""
    origin = get_origin(answer) or answer
    if not hasattr(origin, "__total__"):
        return {}
    hints = get_type_hints(origin)
    arguments = dict(zip(getattr(origin, "__parameters__", ()), get_args(answer), strict=False))
    return {name: filled(hint, arguments) for name, hint in hints.items()}


def filled(hint: Any, arguments: dict[Any, Any]) -> Any:
    if get_origin(hint) is list:
        return list[filled(get_args(hint)[0], arguments)]  # type: ignore[misc]
    return arguments.get(hint, hint)


def described(answer: Any, path: str = "$", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, set[str | None]]]:
    """Every field of an answer's type, by the paths of the facts, with the document's words for its types."""
    null: set[str | None] = set()
    null |= {"null" for each in get_args(answer) if each is type(None)}
    if null:
        (answer,) = (each for each in get_args(answer) if each is not type(None))
    if get_origin(answer) is list:
        yield path, null | {"array"}
        yield from described(get_args(answer)[0], f"{path}[]", above)
    elif get_origin(answer) is dict:
        yield path, null | {"object"}
        yield from described(get_args(answer)[1], path + "{}", above)
    elif fields := fields_of(answer):
        yield path, null | {"object"}
        if answer not in above:
            for name, each in fields.items():
                yield from described(each, f"{path}.{name}", (*above, answer))
    else:
        yield path, null | TYPED.get(answer, {None})


TYPED: dict[Any, set[str | None]] = {
    str: {"string"},
    int: {"integer", "number"},  # a count is a whole number, whatever the document calls it
    float: {"number"},
    bool: {"boolean"},
}


def test_the_answers_type_has_the_documents_fields(operation: Operation[Any]) -> None:
    (answers,) = DOCUMENTED[document(operation)]["answers"].values()
    if operation.answer is type(None):
        assert not answers.get(JSON, {"$": {}}).keys() - {"$"}, "it says something"
        return
    (known,) = answers.values()
    ours = dict(described(operation.answer))
    real = {path: fact for path, fact in known.items() if not under_an_array(known, path)}
    untyped = {path for path, fact in real.items() if "type" not in fact}  # required, and not described
    below = {path for path in ours if any(path != each and path.startswith(each) for each in untyped)}
    vague = {path for path, types in ours.items() if None in types}
    assert ours.keys() - below - (vague - real.keys()) == real.keys()
    assert vague <= untyped | {"$.lines[].warnings[]"}
    assert {path for path in real.keys() - untyped if real[path]["type"] not in ours[path]} == set()
    assert {path for path, fact in real.items() if fact.get("nullable") and "null" not in ours[path]} == set()


def under_an_array(known: Fields, path: str) -> bool:
    """Whether the document requires a field of a list, which it must mean of the list's items."""
    return known.get(path.rpartition(".")[0], {}).get("type") == "array"


def test_the_rows_of_a_list_are_known_by_a_field_that_they_have(operation: Operation[Any]) -> None:
    rows = fields_of(operation.answer).get("results")
    if operation.key is not None:
        assert operation.key in fields_of(get_args(rows)[0])


# --- the methods against the table


def hints_of(name: str) -> dict[str, Any]:
    return get_type_hints(getattr(BackMarketClient, name), localns=ENUMS)


def test_a_method_takes_what_its_operation_does(operation: Operation[Any]) -> None:
    signature = inspect.signature(getattr(BackMarketClient, operation.name)).parameters
    ours = {each.argument: each for each in operation.fields}
    assert signature.keys() - {"self"} == ours.keys()
    for name, field in ours.items():
        needed = any(each.required for each in operation.fields if each.argument == name)
        defaulted = name in {"delimiter", "quotechar", "encoding", "files"} and operation.name in {
            "create_or_update_listings",
            "post_buyback_order_message",
        }
        default = signature[name].default
        assert (default is inspect.Parameter.empty) == (needed and not defaulted), name
        if not needed:
            assert default == (UNSET if field.nullable else () if isinstance(field.kind, Files) else None), name


def test_a_method_says_the_type_of_its_answer(operation: Operation[Any]) -> None:
    assert hints_of(operation.name)["return"] == operation.answer


def test_a_walk_takes_what_its_list_does_and_gives_its_rows(operation: Operation[Any]) -> None:
    if "results" not in fields_of(operation.answer):
        return
    walk = operation.name.replace("get_", "iter_", 1)
    given = inspect.signature(getattr(BackMarketClient, walk)).parameters.keys() - {"self"}
    assert given == {each.argument for each in operation.fields} - {"page", "page_size", "cursor"}
    (row,) = get_args(fields_of(operation.answer)["results"])
    assert get_args(hints_of(walk)["return"]) == (row,)


def test_a_walk_asks_for_the_largest_pages(operation: Operation[Any]) -> None:
    largest = [each.kind.most for each in operation.fields if isinstance(each.kind, Whole) and "size" in each.argument]
    if largest:
        source = inspect.getsource(getattr(BackMarketClient, operation.name.replace("get_", "iter_", 1)))
        assert re.search(rf"page_size\"?[=:] ?{largest[0]}\b", source)


def test_the_values_to_choose_from_are_in_the_methods_types(operation: Operation[Any]) -> None:
    for each in operation.fields:
        if isinstance(each.kind, Choice):
            hint = hints_of(operation.name)[each.argument]
            literals = [one for one in (hint, *get_args(hint)) if one == each.kind.literal]
            assert literals, each.argument


def test_categories_are_sensitive_and_only_they() -> None:
    assert {each.path for each in OPERATIONS.values() if each.sensitive} == {
        "/ws/category/tree",
        "/ws/category/tree/{categoryId}",
    }


def test_every_method_stands_on_one_part() -> None:
    names = [name for part in BackMarketClient.__bases__ for name in vars(part) if name[0] != "_"]
    assert len(names) == len(set(names))
    assert all(issubclass(part, Calls) for part in BackMarketClient.__bases__)


# --- what is refused before anything is sent

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("get_orders", {"state": 2}, "state"),
    ("get_orders", {"state": True}, "state"),
    ("get_orders", {"country_code": "xx-secret"}, "country_code"),
    ("get_orders", {"date_creation": datetime(2026, 1, 1)}, "date_creation"),  # noqa: DTZ001
    ("get_orders", {"date_creation": "2026-01-01"}, "date_creation"),
    ("get_orders", {"page": 0}, "page"),
    ("get_orders", {"page": "2"}, "page"),
    ("get_orders", {"page_size": 51}, "page_size"),
    ("get_order_by_id", {"order_id": "1/../secret"}, "order_id"),
    ("get_order_by_id", {"order_id": -1}, "order_id"),
    ("get_order_by_id", {"order_id": None}, "order_id"),
    ("update_order", {"order_id": 1, "new_state": 10}, "new_state"),
    ("update_order", {"order_id": 1, "new_state": 2, "imei": "secret-0123456789"}, "imei"),
    ("update_order", {"order_id": 1, "new_state": 2, "serial_number": "s" * 51}, "serial_number"),
    ("update_order", {"order_id": 1, "new_state": 3, "tracking_number": ""}, "tracking_number"),
    ("update_order", {"order_id": 1, "new_state": 2, "tracking_number": "t" * 201}, "tracking_number"),
    ("update_order", {"order_id": 1, "new_state": 2, "tracking_url": "javascript:secret"}, "tracking_url"),
    ("update_order", {"order_id": 1, "new_state": 2, "vat_type": "NONE"}, "vat_type"),
    ("update_order", {"order_id": 1, "new_state": 2, "return_reason": 2}, "return_reason"),
    ("update_order", {"order_id": 1, "new_state": 2, "return_message": "r" * 501}, "return_message"),
    ("update_orderline", {"orderline_id": 1}, "imei, serial_number"),
    ("update_orderline", {"orderline_id": 1, "imei": ""}, "imei"),
    ("upload_order_invoice", {"order_id": 1, "invoice": b"%PDF"}, "invoice"),
    ("upload_order_invoice", {"order_id": 1, "invoice": Attachment("secret.pdf", b"")}, "invoice"),
    ("upload_order_invoice", {"order_id": 1, "invoice": Attachment("a", b"b", "text/x\r\nx: y")}, "content type"),
    ("update_listing", {"listing_id": 1}, "quantity"),
    ("update_listing", {"listing_id": "no-uuid-secret", "quantity": 1}, "listing_id"),
    ("update_listing", {"listing_id": 1, "quantity": -1}, "quantity"),
    ("update_listing", {"listing_id": 1, "price": 12.5}, "price"),
    ("update_listing", {"listing_id": 1, "price": "secret"}, "price"),
    ("update_listing", {"listing_id": 1, "price": Decimal("NaN")}, "price"),
    ("update_listing", {"listing_id": 1, "price": "-1"}, "price"),
    ("update_listing", {"listing_id": 1, "price": "1e99"}, "price"),
    ("update_listing", {"listing_id": 1, "currency": "euro"}, "currency"),
    ("update_listing", {"listing_id": 1, "comment": "half \ud800"}, "comment"),
    ("update_listing", {"listing_id": 1, "comment": "nul \0"}, "comment"),
    ("update_listing", {"listing_id": 1, "shipper_2": "Secret Post"}, "shipper_2"),
    ("get_listing_detail", {}, "sku, listing_uuid, listing_id"),
    ("create_or_update_listings", {"catalog": ""}, "catalog"),
    ("create_or_update_listings", {"catalog": "sku\na", "delimiter": ";;"}, "delimiter"),
    ("create_or_update_listings", {"catalog": "sku\n" + "a\n" * 15_001}, "15000"),
    ("create_or_update_listings", {"catalog": "sku\n" + "a" * 200_000}, "catalog"),
    ("get_deliveries", {"hub_scanned": 1}, "hub_scanned"),
    ("get_deliveries", {"order_state": 10}, "order_state"),
    ("get_buyback_order", {"buyback_order_id": ".."}, "buyback_order_id"),
    ("get_buyback_order", {"buyback_order_id": ""}, "buyback_order_id"),
    ("get_buyback_orders", {"status": "SECRET"}, "status"),
    ("get_buyback_listings", {"page_size": 101}, "page_size"),
    ("get_buyback_listings", {"cursor": "secret"}, "cursor"),
    ("suspend_buyback_order", {"buyback_order_id": "FR-1", "reasons": "broken"}, "reasons"),
    ("suspend_buyback_order", {"buyback_order_id": "FR-1", "reasons": []}, "reasons"),
    ("update_buyback_listing", {"buyback_listing_id": uuid4(), "prices": {}}, "prices"),
    ("update_buyback_listing", {"buyback_listing_id": uuid4(), "prices": {"FR": "1"}}, "prices"),
    ("update_buyback_listing", {"buyback_listing_id": uuid4(), "prices": {"FR": {"amount": 1}}}, "prices"),
    ("post_buyback_order_message", {"buyback_order_id": "FR-1", "message": ""}, "message"),
    ("post_buyback_order_message", {"buyback_order_id": "FR-1", "message": "m", "files": [{"name": "x"}]}, "files"),
    (
        "make_buyback_counter_offer",
        {"buyback_order_id": "FR-1", "price": "1", "reasons": ["r"], "files": []},
        "files",
    ),
    (
        "make_buyback_counter_offer",
        {"buyback_order_id": "FR-1", "price": "1", "reasons": ["r"], "files": [FILE, FILE]},
        "files",
    ),
    (
        "make_buyback_counter_offer",
        {"buyback_order_id": "FR-1", "price": "1", "reasons": ["r"], "files": [FILE], "comment": "c" * 201},
        "comment",
    ),
    ("get_care_folders", {"state": 1}, "state"),
    ("get_care_folders", {"last_message_date": datetime(2026, 1, 1)}, "last_message_date"),  # noqa: DTZ001
    ("declare_care_problem", {"care_folder_id": 1, "problem_type": "DAMAGED_PACKAGE"}, "attachments"),
    ("declare_care_problem", {"care_folder_id": 1, "attachments": FILE}, "attachments"),
    ("declare_care_item_transfer", {"care_folder_id": 1, "shipper_name": "", "tracking_number": "t"}, "shipper_name"),
    ("create_refund", {"orderline_id": 1, "refund_type": 7}, "refund_type"),
    ("create_refund", {"orderline_id": 1, "refund_type": 6, "amount": 1.5}, "amount"),
    ("get_competitors", {"listing_id": 1}, "listing_id"),
    ("iter_orders", {"state": 2}, "state"),
    ("iter_buyback_listings", {"product_id": "secret"}, "product_id"),
]  # fmt: skip


@pytest.fixture
def nowhere() -> Iterator[BackMarketClient]:
    """A client whose requests would fail: nothing listens on the port."""
    settings = Settings(user_agent="BM-Test-Unit;dev@test.example", allowed_base_urls=("http://127.0.0.1:9",))
    with create_backmarket_client("token-of-nobody", settings=settings, base_url="http://127.0.0.1:9") as made:
        yield made


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_what_can_t_be_meant_is_refused_at_once(
    nowhere: BackMarketClient, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        getattr(nowhere, name)(**arguments)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value).lower()


# --- what is sent


def sent(name: str, **arguments: Any) -> dict[str, Any]:
    body = OPERATIONS[name].request(arguments).body
    assert body is not None
    found: dict[str, Any] = json.loads(body)
    return found


def test_an_order_s_id_is_sent_under_both_names() -> None:
    body = sent("update_order", order_id=5, new_state=OrderLineState.ACCEPTED, sku="A", date_shipping=MOMENT)
    assert body == {
        "id": 5,
        "order_id": 5,
        "new_state": 2,
        "sku": "A",
        "date_shipping": "2026-03-04T05:06:07Z",
    }
    assert type(body["new_state"]) is int


def test_times_are_sent_in_utc_and_care_s_to_the_minute() -> None:
    tokyo = MOMENT.astimezone(timezone(timedelta(hours=9)))
    orders = OPERATIONS["get_orders"].request({"date_modification": tokyo})
    assert orders.parameters == (("date_modification", "2026-03-04T05:06:07Z"),)
    care = OPERATIONS["get_care_folders"].request({"last_message_date": tokyo})
    assert care.parameters == (("last_message_date", "2026-03-04-05-06"),)


@pytest.mark.parametrize(
    ("amount", "text", "number"),
    [
        (Decimal("12.50"), "12.50", 12.5),
        ("0.10", "0.10", 0.1),
        (7, "7", 7),
        (Decimal("1E+2"), "100", 100),
        ("-0", "0", 0),
    ],
)
def test_money_is_sent_exactly(amount: Any, text: str, number: float) -> None:
    assert sent("update_listing", listing_id=1, price=amount)["price"] == text
    assert sent("create_refund", orderline_id=1, refund_type=6, amount=amount)["amount"] == number


def test_none_empties_what_may_be_empty_and_unset_leaves_it() -> None:
    assert sent("update_listing", listing_id=1, comment=None, min_price=UNSET, quantity=None) == {"comment": None}


def test_ids_stay_inside_their_part_of_the_path() -> None:
    path = OPERATIONS["get_buyback_order"].request({"buyback_order_id": "FR/../1?x=ü#"}).path
    assert path == "/ws/buyback/v1/orders/FR%2F..%2F1%3Fx%3D%C3%BC%23"


def test_flags_and_uuids_are_texts_in_a_query() -> None:
    shipments = OPERATIONS["get_returns"].request({"hub_scanned": False})
    assert shipments.parameters == (("hub_scanned", "false"),)
    found = uuid4()
    assert OPERATIONS["get_listing_detail"].request({"listing_uuid": str(found).upper()}).parameters == (
        ("id", str(found)),
    )


def test_a_form_as_another_reads_it() -> None:
    name = 'in"voice\r\nX-Evil: 1.pdf'
    content = bytes(range(256)) * 3
    body, content_type = encode_form([("comment", "zwölf"), ("files", Attachment(name, content, "application/pdf"))])
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    comment, file = message.iter_parts()
    assert comment["content-disposition"].params == {"name": "comment"}
    assert comment.get_payload(decode=True) == "zwölf".encode()
    assert file["content-disposition"].params["filename"] == "in%22voice%0D%0AX-Evil: 1.pdf"
    assert file["x-evil"] is None
    assert file.get_content_type() == "application/pdf"
    assert file.get_payload(decode=True) == content


def test_an_attachment_is_read_from_a_file_and_shows_nothing(tmp_path: Any) -> None:
    (tmp_path / "jane-doe.pdf").write_bytes(b"%PDF secret")
    attachment = Attachment.read(tmp_path / "jane-doe.pdf")
    assert (attachment.filename, attachment.content_type) == ("jane-doe.pdf", "application/pdf")
    assert "doe" not in repr(attachment)
    assert "secret" not in repr(attachment)


def test_a_cursor_is_all_that_is_used_of_an_address() -> None:
    cursor = str(uuid4())
    assert cursor_of(f"https://evil.example/ws?cursor={cursor}&x=1") == cursor
    assert cursor_of(cursor) == cursor
    for broken in ("https://www.backmarket.fr/ws/buyback", "", 7, "http://[", "?cursor=1"):
        with pytest.raises(BrokenAnswer):
            cursor_of(broken)


# --- its making, and its limits


def test_a_client_is_made_with_checked_parts() -> None:
    settings = Settings(user_agent="BM-Test-Unit;dev@test.example")
    make = create_backmarket_client
    for wrong in (
        {"region": "XX"},
        {"environment": "test"},
        {"locale": "en-us"},
        {"base_url": "https://elsewhere.example"},
        {"user_agent": "curl"},
    ):
        with pytest.raises(InvalidArgument):
            make("key", settings=settings, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        make("Basic key", settings=settings)
    with pytest.raises(SettingsError, match="BACKMARKET_USER_AGENT"):
        make("key", settings=Settings())
    with pytest.raises(SettingsError, match="BACKMARKET_USER_AGENT"):
        make("key")


def test_a_client_shows_whose_limits_it_keeps_and_never_its_key(nowhere: BackMarketClient) -> None:
    assert repr(nowhere) == "<BackMarketClient EU production fr-fr, with limits of this process alone>"
    assert "de-de" in repr(nowhere.with_locale("de-DE"))
    shown = f"{nowhere!r} {nowhere._caller!r} {vars(nowhere)}"
    assert "token-of-nobody" not in shown
    with pytest.raises(InvalidArgument):
        nowhere.with_locale("en-us")


def credentials(locale: str = "fr-fr") -> Credentials:
    return Credentials("http://127.0.0.1:9", "key", f"account-{uuid4()}", locale)


def test_the_limits_of_an_operation_are_kept_each_by_its_own() -> None:
    limits = OwnLimits(Settings(), patience=0.0)
    operation = replace(GET_COMPETITORS, name="test", limits=(Limit(3, 60.0), Limit(2, 86_400.0)))
    account = credentials()
    for _ in range(2):
        limits.take(operation, account).complete()
    with pytest.raises(RateLimited, match=r"test are used up for now \(2 in 86400 s") as caught:
        limits.take(operation, account)
    assert caught.value.retry_after == pytest.approx(86_400, abs=60)
    minute = replace(operation, limits=operation.limits[:1])
    limits.take(minute, account)  # the refused one gave its place in the minute back
    with pytest.raises(RateLimited, match="3 in 60 s"):
        limits.take(minute, account)
    limits.take(operation, credentials())  # another account


def test_a_request_that_was_never_sent_costs_nothing() -> None:
    limits = OwnLimits(Settings(), patience=0.0)
    operation = replace(GET_COMPETITORS, name="test-2", limits=(Limit(1, 60.0),))
    account = credentials()
    limits.take(operation, account).release()
    limits.take(operation, account)
    with pytest.raises(RateLimited):
        limits.take(operation, account)


def test_a_limit_for_each_market_counts_them_apart() -> None:
    limits = OwnLimits(Settings(), patience=0.0)
    operation = OPERATIONS["get_backbox"]
    french = credentials()
    german = replace(french, locale="de-de")
    for account in (french, french, german, german):
        limits.take(operation, account).complete()
    for account in (french, german):
        with pytest.raises(RateLimited) as caught:
            limits.take(operation, account)
        assert caught.value.retry_after == pytest.approx(3600, abs=60)


def test_all_limits_of_a_process_are_one() -> None:
    account = credentials()
    for _ in range(2):
        OwnLimits(Settings(rate_limit=2), patience=0.0).take(OPERATIONS["get_orders"], account)
    with pytest.raises(RateLimited, match="The account has used up"):
        OwnLimits(Settings(rate_limit=2), patience=0.0).take(OPERATIONS["get_listings"], account)


def test_sensitive_operations_have_the_smaller_limit() -> None:
    limits = OwnLimits(Settings(sensitive_rate_limit=1), patience=0.0)
    account = credentials()
    limits.take(OPERATIONS["get_category_tree"], account)
    with pytest.raises(RateLimited):
        limits.take(OPERATIONS["get_category_branch"], account)
    limits.take(OPERATIONS["get_orders"], account)
