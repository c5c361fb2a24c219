"""The names of objects: readable, never shared, and within what S3 takes."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backmarket.bucket.keys import WHOLE, invoice_key, invoices_prefix, label_key, labels_prefix, object_key
from backmarket.errors import InvalidArgument

KEY_BYTES = 1024
PART_BYTES = 255

EDGES = st.sampled_from([".", "..", "...", "%2E", "%2E%2E", "a", "a/b", "a%2Fb", "~", "a" * WHOLE, "a" * (WHOLE + 1)])
ORGANIZATIONS = EDGES | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("organization", "prefix"),
    [
        ("shop-1", "labels/shop-1/"),
        ("auth0|1", "labels/auth0%7C1/"),
        ("a/../b", "labels/a%2F..%2Fb/"),
        (".", "labels/%2E/"),
        ("..", "labels/%2E%2E/"),
        ("é ", "labels/%C3%A9%20/"),
    ],
)
def test_a_person_can_read_them(organization: str, prefix: str) -> None:
    assert labels_prefix(organization) == prefix
    assert label_key(organization, "returns", 7) == f"{prefix}returns/7.pdf"
    assert invoice_key(organization, 12, 3) == f"{invoices_prefix(organization)}12/3.pdf"


@given(ORGANIZATIONS, ORGANIZATIONS)
@example("a" * 300, "a" * 301)
@example("\U0001f600" * 200, "\U0001f600" * 199)
@example("\U0001f600" * 199 + "a", "\U0001f600" * 199 + "b")
def test_no_two_organizations_share_one_and_none_lies_in_another_s(one: str, other: str) -> None:
    prefixes = labels_prefix(one), labels_prefix(other)
    assert (prefixes[0] == prefixes[1]) == (one == other)
    assert prefixes[0].startswith(prefixes[1]) == (one == other)


@given(st.lists(ORGANIZATIONS, min_size=1, max_size=3), st.lists(ORGANIZATIONS, min_size=1, max_size=3))
def test_other_parts_give_another_key(one: list[str], other: list[str]) -> None:
    assert (object_key(*one) == object_key(*other)) == (one == other)


@given(ORGANIZATIONS)
@example("\U0001f600" * 200)
def test_they_are_plain_and_short_enough_for_every_server(organization: str) -> None:
    key = label_key(organization, "deliveries", 2**63 - 1)
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key
    assert len(key) <= KEY_BYTES
    parts = key.split("/")
    assert len(parts) == 4
    assert max(map(len, parts)) <= PART_BYTES
    assert not {"", ".", ".."} & set(parts)


@given(ORGANIZATIONS)
def test_a_part_that_is_not_too_long_is_whole(organization: str) -> None:
    part = object_key(organization)
    assert unquote(part) == organization or len(part) > WHOLE


@pytest.mark.parametrize("part", ["", "\ud800"])
def test_what_can_not_be_named_is_refused(part: str) -> None:
    with pytest.raises(InvalidArgument):
        object_key("labels", part)
