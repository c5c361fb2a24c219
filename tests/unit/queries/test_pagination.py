"""Cursors and the size of pages."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import NO_DATE, Page, check_limit, date, decode_cursor, encode_cursor, whole

AT = datetime(2026, 11, 28, 20, 45, tzinfo=UTC)
ID = UUID("da72cf47-1b1f-434a-9224-1f8684ac1bd4")


@pytest.mark.parametrize(
    ("position", "kinds"),
    [((7,), [whole]), ((AT, 7), [date, whole]), ((NO_DATE, ID), [date, UUID]), (("b", -1), [str, whole])],
)
def test_a_cursor_gives_the_position_it_was_made_of(
    position: tuple[Any, ...], kinds: list[Callable[[Any], Any]]
) -> None:
    assert decode_cursor(encode_cursor(*position), *kinds) == position


def word(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["", "17", "ä", "\ud800", "[" * 99999]
    + [
        word(value)
        for value in ([], [1], [NO_DATE, 2**63], [NO_DATE, True], ["x", 1], [1, 1], {"a": 1}, None, [NO_DATE, 1, 1])
    ],
)
def test_any_other_text_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="next_cursor"):
        decode_cursor(cursor, date, whole)


def test_a_page_has_a_cursor_only_if_rows_follow() -> None:
    assert Page.of([1, 2], 2, lambda row: [row]) == Page([1, 2], None)
    assert Page.of([1, 2, 3], 2, lambda row: [row]) == Page([1, 2], encode_cursor(2))


@pytest.mark.parametrize("limit", [0, -1, 11])
def test_a_limit_outside_its_range_is_refused(limit: int) -> None:
    with pytest.raises(InvalidArgument, match="limit must be 1 to 10, not"):
        check_limit(limit, 10)
