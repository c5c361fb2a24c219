"""What an answer means, whichever of the documented shapes its body has."""

import json
import string
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket import errors
from backmarket.client import Answer, check, retry_after
from backmarket.client.answers import MAX_RETRY_AFTER_SECONDS, is_of_sku_quota
from backmarket.errors import BackMarketError
from backmarket.observability.redaction import MAX_TEXT_CHARS, redact

REQUEST_ID = "6b1f0d6c-94a1-4b8e-9d50-2f3d5a1f7c11"
RAY = "8c1d2e3f4a5b6c7d-CDG"

SHAPES = {
    "v1": {"error": {"code": "E009", "message": "Not like this"}, "requestId": REQUEST_ID},
    "v2": {"errors": [{"code": "E009", "message": "Not like this"}, {"code": "E010"}], "requestId": REQUEST_ID},
    "v3": {
        "error": {"code": "E009", "message": "Not like this"},
        "status": 400,
        "title": "Bad Request",
        "type": "/errors/bad",
        "requestId": REQUEST_ID,
    },
    "validation": {"errors": [{"type": "E009", "title": "T", "detail": "Not like this"}], "requestId": REQUEST_ID},
    "problem": {"type": "E009", "title": "Bad Request", "detail": "Not like this", "requestId": REQUEST_ID},
    "nulls": {"type": "E009", "title": "Not like this", "detail": None, "errors": None, "requestId": REQUEST_ID},
}

MEANINGS = {
    301: errors.RequestRefused,
    302: errors.RequestRefused,
    400: errors.RequestRefused,
    401: errors.Unauthorized,
    403: errors.NotAvailable,
    404: errors.NotFound,
    409: errors.RequestRefused,
    422: errors.RequestRefused,
    429: errors.RateLimited,
    500: errors.ServerError,
    502: errors.ServerError,
    503: errors.ServerError,
    522: errors.ServerError,
}

ODD_BODIES = {
    "empty": b"",
    "not JSON": b"upstream connect error",
    "cut JSON": b'{"error": {"code": "E0',
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 60_000,
    "deep in an error": b'{"error":' * 10_000,
    "huge number": b"9" * 60_000,
    "NaN": b"NaN",
    "null": b"null",
    "list": b'[{"error": 1}]',
    "number for error": b'{"error": 7}',
    "text for error": b'{"error": "gone"}',
    "list for error": b'{"error": [["x"]], "requestId": ["x"]}',
    "empty errors": b'{"errors": [], "requestId": null}',
    "object for errors": b'{"errors": {"sku": ["needed"]}, "requestId": {}}',
    "booleans": b'{"error": {"code": true, "message": false}, "requestId": true}',
    "half a surrogate pair": rb'{"error": {"code": "x", "message": "\ud800 \u0000 \u001b[31m"}}',
}


def error_of(status: int, body: Any, **headers: str) -> BackMarketError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BackMarketError) as caught:
        check(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content))
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_an_answer_of_success_is_handed_back(status: int) -> None:
    answer = Answer(status, {}, b"<html>")
    assert check(answer) is answer


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_at_each_status(shape: str, status: int) -> None:
    error = error_of(status, SHAPES[shape], cf_ray=RAY)
    assert type(error) is MEANINGS[status]
    assert (error.status, error.request_id, error.cf_ray) == (status, REQUEST_ID, RAY)
    assert status == 429 or ": E009 Not like this." in error.message
    assert str(error).endswith(f"(status {status}, requestId {REQUEST_ID}, cf-ray {RAY})")


@pytest.mark.parametrize("status", MEANINGS)
@pytest.mark.parametrize("body", ODD_BODIES)
def test_an_odd_body_changes_no_meaning(body: str, status: int) -> None:
    error = error_of(status, ODD_BODIES[body])
    assert type(error) is MEANINGS[status]
    assert error.request_id is None
    assert str(error).isprintable()
    assert len(error.message) < 2 * MAX_TEXT_CHARS + 100


def test_a_bare_string_is_told() -> None:
    assert error_of(400, "Catalog is empty.").message == "The API refused the request: Catalog is empty."


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html>Just a moment...</html>",
        b"\n <html>",
        {"errors": [{"code": "bot-need-challenge", "message": "x"}]},
        {"error": {"code": "bot-need-challenge"}},
        {"errors": [{"code": "other"}, {"code": "bot-need-challenge"}]},
        {"type": "/errors/bot-need-challenge"},
    ],
)
def test_the_firewall_is_no_bad_token(body: Any) -> None:
    error = error_of(403, body, cf_ray=RAY)
    assert type(error) is errors.FirewallBlocked
    assert error.cf_ray == RAY


@pytest.mark.parametrize("body", [b"", b"Forbidden", {"error": {"code": "forbidden", "message": "No challenge"}}])
def test_a_plain_403_is_not_the_firewall(body: Any) -> None:
    assert type(error_of(403, body)) is errors.NotAvailable


def test_a_page_for_browsers_is_not_told() -> None:
    assert error_of(503, b"<html>Dear Victor</html>").message == "The API failed."


@pytest.mark.parametrize("name", [REQUEST_ID, "sandbox-12345678", "0123456789abcdef" * 2, "req:1.2_3", "x" * 128])
def test_an_id_is_kept_whole(name: str) -> None:
    error = error_of(500, {"error": {"code": "x", "message": "y"}, "requestId": name}, cf_ray=name)
    assert (error.request_id, error.cf_ray) == (name, name)
    assert name in str(error)


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "a b", "v@example.com", "a\nb", "a\n", "\x1b[31m", "é", 7, True, ["a"]]
)
def test_what_is_no_id_is_dropped(name: object) -> None:
    assert error_of(500, {"error": {"code": "x"}, "requestId": name}).request_id is None


def test_a_ray_that_is_no_id_is_dropped() -> None:
    assert error_of(500, b"", cf_ray="v@example.com").cf_ray is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 10.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e99", MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    error = error_of(429, b"<html>", retry_after=header)
    assert isinstance(error, errors.RateLimited)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("body", "by_api"),
    [
        (b'{"error":{"code":"rate-limited"},"requestId":"1"}', True),
        (b'{"title":"Too Many Requests","status":429}', True),
        (b'"Too many SKU lines"', True),
        (b"{}", True),
        (b"<html><h1>429 Too Many Requests</h1></html>", False),
        (b"error code: 1015", False),
        (b"Too many", False),
        (b"", False),
    ],
)
def test_a_429_in_json_is_the_apis_own_and_anything_else_the_firewalls(body: bytes, by_api: bool) -> None:
    error = error_of(429, body)
    assert isinstance(error, errors.RateLimited)
    assert error.by_api is by_api
    assert is_of_sku_quota(Answer(429, {}, body)) is by_api


def test_no_retry_after_is_none() -> None:
    assert retry_after(Answer(429, {}, b"")) is None


@pytest.mark.parametrize("header", [None, "", "yesterday", "2026-01-01T00:00:00Z"])
def test_an_odd_clock_is_none(header: str | None) -> None:
    assert Answer(200, {} if header is None else {"date": header}, b"").date is None


TOKENS = st.text(string.ascii_letters + string.digits + "+/_=-", min_size=32, max_size=90)
MAILS = st.emails()
PHONES = st.from_regex(r"(\+33 ?|0)[1-9]([ .-]?[0-9]{2}){4}|\+1 \([0-9]{3}\) [0-9]{3} - [0-9]{4}", fullmatch=True)
SECRETS = st.one_of(TOKENS, MAILS, PHONES)
AROUND = st.sampled_from(["", "Key ", "Basic ", "for buyer (", "sku=", "a, b. ", "é ", "x\u0000 ", "12 "])
AFTER = st.sampled_from(["", " is wrong", ".", ")", ", 3", "\n", " \u001b[0m"])


@given(SECRETS, AROUND, AFTER, st.sampled_from([400, 401, 403, 404, 500]), st.data())
def test_nothing_personal_survives(secret: str, before: str, after: str, status: int, data: st.DataObject) -> None:
    text = f"{before}{secret}{after}"
    bodies: list[Any] = [
        {"error": {"code": "c", "message": text}, "requestId": REQUEST_ID},
        {"error": {"code": text, "message": text}, "requestId": REQUEST_ID},
        {"errors": [{"code": "c", "message": text}]},
        {"error": text, "status": 400, "title": text, "type": text},
        {"type": text, "title": text, "detail": text},
        text,
        text.encode(),
    ]
    error = error_of(status, data.draw(st.sampled_from(bodies)))
    for shown in (str(error), repr(error), error.message):
        assert secret not in shown


@given(TOKENS)
def test_no_end_of_a_token_survives(token: str) -> None:
    assert redact(f"call 0612345678 {token} now") == "call [redacted] [redacted] now"


@pytest.mark.parametrize(
    "text", ["a.b" * 21_000, "1-" * 32_000, "%" * 65_000, "a@" * 32_000, "basic " * 10_000, "(" * 65_000]
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    began = thread_time()
    assert len(redact(text)) <= MAX_TEXT_CHARS
    assert thread_time() - began < 2.0
