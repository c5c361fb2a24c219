"""What Back Market says of each line, in every shape that it may have, and in shapes that it should not have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backmarket.bulk.engine.task_report import MAX_REASON_CHARS, NO_REASON, read

SKUS = ("A-1", "b 2", "77")
UUID = "2b9d3c50-0000-4000-8000-00000000000b"
OK: list[str] = []
EXPECTED = {"a-1": OK, "b 2": ["price is wrong"]}
"""What each of the shapes says: the first is well, the second failed, of the third nothing is said."""

ROWS = [{"sku": "a-1", "status": "ok", "errors": []}, {"sku": "B 2", "status": "error", "errors": ["price is wrong"]}]

SHAPES: dict[str, Any] = {
    "by SKU": {"A-1": {"status": "ok", "errors": []}, "B 2": {"status": "error", "errors": ["price is wrong"]}},
    "as recorded": {
        "product_success": {"A-1": {"listing_id": 7, "backmarket_id": 8, "publication_state": 2}},
        "product_errors": {"B 2": "price is wrong"},
    },
    "as recorded, a list of errors": {"product_success": {"A-1": {}}, "product_errors": {"B 2": ["price is wrong"]}},
    "as recorded, code and message": {
        "product_success": {"A-1": None},
        "product_errors": {"B 2": {"code": "E1", "message": "price is wrong"}},
    },
    "as recorded, by listing": {"product_success": {"41": {}}, "product_errors": {UUID.upper(): "price is wrong"}},
    "as recorded, rows": {
        "product_success": [{"sku": "a-1"}],
        "product_errors": [{"id": UUID, "error": "price is wrong"}],
    },
    "by SKU, a list of errors": {"a-1": [], "b 2": ["price is wrong"]},
    "by SKU, true or errors": {"a-1": True, "b 2": {"error": "price is wrong"}},
    "rows": ROWS,
    "rows of another name": [
        {"SKU": "A-1", "success": True},
        {"SKU": "b 2", "success": False, "message": "price is wrong"},
    ],
    "rows in an object": {"count": 2, "results": ROWS},
    "errors and successes apart": {"success": [ROWS[0]], "errors": {"b 2": ["price is wrong"]}},
    "a text of rows": "\n".join(json.dumps(row) for row in ROWS),
    "a text with an object": json.dumps({"results": ROWS}),
    "a text with noise": "Report\n" + "\n".join(json.dumps(row) for row in ROWS) + "\nend of report",
    "nested errors": [ROWS[0], {"sku": "b 2", "errors": [{"message": "price is wrong"}]}],
    "others beside": [*ROWS, {"sku": "stranger", "status": "error"}, None, 7, "done"],
    "a number as SKU": [*ROWS, {"sku": 78, "status": "ok"}],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_understood(shape: str) -> None:
    assert read(SHAPES[shape], SKUS, {"41": "A-1", UUID: "b 2"}) == EXPECTED


@pytest.mark.parametrize("first", [0, 1, 2])
def test_rows_are_understood_where_every_row_is_reported(first: int) -> None:
    result = {
        "product_success": {str(first): {"listing_id": 1}, str(first + 2): {"listing_id": 2}},
        "product_errors": {str(first + 1): {"price": ["price is wrong"]}},
    }
    skus = ("A-1", "b 2", "c")
    assert read(result, skus) == {"a-1": OK, "b 2": ["price: price is wrong"], "c": OK}
    assert read({"product_errors": {str(first + 1): "price is wrong"}}, skus) == {}, "which row that is, is not known"


def test_a_number_that_is_a_sku_is_no_row() -> None:
    assert read({"product_success": {"77": {}}, "product_errors": {"1": "no"}}, SKUS) == {"77": OK}


def test_a_text_among_no_errors_is_no_failure() -> None:
    assert read({"A-1": "Listing updated", "b 2": "price is wrong"}, SKUS) == {}
    assert read({"product_success": {"A-1": "Listing updated"}}, SKUS) == {"a-1": OK}


@pytest.mark.parametrize(
    "result", [None, [], {}, "", "nonsense", "{", 9, True, [[]], {"A-1": None}, {"A-1": {}}, {"a-1": {"status": 9}}]
)
def test_what_says_nothing_is_silence(result: Any) -> None:
    assert read(result, SKUS) == {}


def test_errors_by_their_fields_are_told_with_them() -> None:
    assert read({"77": {"errors": {"price": ["too low", "odd"]}}}, SKUS) == {"77": ["price: too low", "price: odd"]}


def test_a_failure_without_a_reason_is_one() -> None:
    assert read([{"sku": "77", "status": "KO"}], SKUS) == {"77": [NO_REASON]}


def test_of_both_the_failure_is_believed() -> None:
    rows = [{"sku": "77", "status": "ok"}, {"sku": "77", "status": "error", "errors": ["no"]}]
    assert read(rows, SKUS) == read(rows[::-1], SKUS) == {"77": ["no"]}


def test_reasons_are_short_and_printable() -> None:
    ((reason,),) = read({"77": ["a\x00b\n" + "x" * 9999]}, SKUS).values()
    assert reason.startswith("ab x")
    assert len(reason) <= MAX_REASON_CHARS


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*SKUS, "sku", "errors", "ok"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*SKUS, "sku", "errors", "status"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(JSON)
@example({"A-1": "\x1b"})
def test_anything_can_be_read(result: Any) -> None:
    for known in (read(result, SKUS), read(json.dumps(result), SKUS)):
        assert known.keys() <= {"a-1", "b 2", "77"}
        assert all(isinstance(each, str) and each for reasons in known.values() for each in reasons)
