"""Whatever the API answers, it becomes a value or an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backmarket.bulk.engine import task_report
from backmarket.client import Answer, check, retry_after
from backmarket.client import operations as known
from backmarket.client.answers import MAX_RETRY_AFTER_SECONDS
from backmarket.client.caller import Caller, read
from backmarket.client.operation import Operation
from backmarket.client.pagination import walk, walk_by_cursor
from backmarket.errors import BackMarketError, BrokenAnswer, IncompleteWalk
from backmarket.observability.redaction import MAX_TEXT_CHARS
from tests.support.examples import examples

quickly = settings(deadline=None, max_examples=examples(150))

OPERATIONS: list[Operation[Any]] = [each for each in vars(known).values() if isinstance(each, Operation)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
PAGES = st.lists(
    st.fixed_dictionaries({"results": st.lists(JSON, max_size=3)}, optional={"count": JSON, "next": JSON}), max_size=3
)
EMPTY = {"results": [], "count": 0, "next": None}


class Recorded:
    """Answers with pages in their order, then with empty ones."""

    def __init__(self, pages: list[dict[str, Any]]) -> None:
        self._pages = iter(pages)

    def call(self, operation: Operation[Any], arguments: Any) -> Any:
        body = json.dumps(next(self._pages, EMPTY)).encode()
        return read(operation, Answer(200, {}, body))


def error_of(make: Callable[[], object]) -> BackMarketError | None:
    """An error of ours; None where there is none. Any other is a fault."""
    try:
        make()
    except BackMarketError as error:
        return error
    return None


@quickly
@given(st.integers(100, 599), BODIES, st.dictionaries(st.sampled_from(["cf-ray", "retry-after"]), st.text(max_size=9)))
@example(429, b"", {"retry-after": "inf"})
@example(503, b'{"errors": [[[{"message": NaN}]]], "requestId": {"a": 1}}', {"cf-ray": "\n"})
@example(400, b'{"error": ' + b"[" * 5000 + b"]" * 5000 + b"}", {})
@example(400, json.dumps({"error": {"code": "\ud800\0", "message": "x\u202e" * 999}}).encode(), {})
def test_any_status_and_body(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = error_of(lambda: check(Answer(status, headers, body)))
    assert (error is None) == (200 <= status < 300)
    if error is not None:
        assert error.message.isprintable()
        assert len(error.message) < 3 * MAX_TEXT_CHARS
        str(error).encode()


@quickly
@given(st.text(max_size=12) | st.floats().map(str) | st.integers().map(str))
def test_any_headers(text: str) -> None:
    answer = Answer(429, {"retry-after": text, "date": text}, b"")
    seconds = retry_after(answer)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS
    assert answer.date is None


@quickly
@given(st.sampled_from(OPERATIONS), BODIES)
@example(known.GET_ORDERS, b'{"results": {}}')
@example(known.GET_ORDERS, b"[" * 100_000)
def test_any_body_of_any_operation(operation: Operation[Any], body: bytes) -> None:
    with suppress(BrokenAnswer):
        read(operation, Answer(200, {}, body))


@quickly
@given(PAGES)
@example([{"results": [1], "count": float("inf"), "next": "x"}])
@example([{"results": [{"order_id": [float("nan")]}], "count": float("nan")}])
@example([{"results": [{"order_id": 1}, {"order_id": 1}], "count": 10**400}])
def test_any_pages_of_a_list(pages: list[dict[str, Any]]) -> None:
    error = error_of(lambda: list(walk(cast(Caller, Recorded(pages)), known.GET_ORDERS, {})))
    assert error is None or isinstance(error, IncompleteWalk | BrokenAnswer)


@quickly
@given(PAGES)
@example([{"results": [], "next": "http://[::1?cursor=x"}])
@example([{"results": [], "next": {"a": "\ud800"}}])
def test_any_pages_of_a_list_with_a_cursor(pages: list[dict[str, Any]]) -> None:
    error = error_of(lambda: list(walk_by_cursor(cast(Caller, Recorded(pages)), known.GET_BUYBACK_LISTINGS, {})))
    assert error is None or isinstance(error, IncompleteWalk | BrokenAnswer)


@quickly
@given(JSON | JSON.map(json.dumps), st.lists(st.text(max_size=4), max_size=3))
@example("[" * 100_000, ["A"])
@example({"A": {"errors": [{"message": float("nan")}, None, [[["x\ud800"]]]]}}, ["a"])
def test_any_report_of_a_task(result: Any, skus: list[str]) -> None:
    for reasons in task_report.read(result, skus).values():
        assert all(len(reason) <= task_report.MAX_REASON_CHARS and "\0" not in reason for reason in reasons)
