"""Signatures of links are not content; everything else in a link is."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from backmarket.cli.output import as_document
from backmarket.queries.orders import Order
from backmarket.queries.shipments import Delivery, Return
from backmarket.resources import ORDERS, parse_object
from backmarket.resources.signed_links import expires_at, without_signatures

V2 = "https://bucket.example/a/1.pdf?{more}AWSAccessKeyId=AKIA1&Signature={signature}%3D&Expires={expires}"
V4 = (
    "https://bucket.example/a/1.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20261128%2Feu-west-3"
    "%2Fs3%2Faws4_request&X-Amz-Date=20261128T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature={0}"
)


def content(note: str) -> int:
    row = parse_object(ORDERS, f'{{"order_id": 7, "state": 1, "delivery_note": "{note}"}}'.encode())
    assert row is not None
    return row.content


def v2(signature: str = "abc", expires: int = 1, more: str = "") -> str:
    return V2.format(signature=signature, expires=expires, more=more)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (v2("abc", 1), v2("xyz", 2)),
        (V4.format("aa"), V4.format("bb").replace("T120000Z", "T130000Z")),
        (v2("abc", 1).replace("&", r"\u0026"), v2("xyz", 2)),
        ("seen at " + v2("a") + " and " + v2("b"), "seen at " + v2("c") + " and " + v2("d")),
        (v2("abc", more="version=3&"), v2("xyz", more="version=3&")),
    ],
)
def test_another_signature_is_the_same_content(one: str, other: str) -> None:
    assert content(one) == content(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (v2(), v2().replace("1.pdf", "2.pdf")),
        (v2(), v2().replace("bucket.", "other.")),
        (v2(more="version=3&"), v2(more="version=4&")),
        (v2(), v2(more="version=4&")),
        ("https://shop.example/?Expires=1", "https://shop.example/?Expires=2"),
        ("https://shop.example/?AWSAccessKeyId=1", "https://shop.example/?AWSAccessKeyId=2"),
        (v2(), ""),
    ],
)
def test_everything_else_is_content(one: str, other: str) -> None:
    assert content(one) != content(other)


def test_text_without_a_signature_is_left_as_it_is() -> None:
    text = b'{"a": "?Expires=1&b=2", "c": "what? signature = none"}'
    assert without_signatures(text) is text


@pytest.mark.parametrize(
    ("url", "end"),
    [
        (v2(expires=1795867200), datetime(2026, 11, 28, 12, tzinfo=UTC)),
        (V4.format("aa"), datetime(2026, 11, 28, 12, 15, tzinfo=UTC)),
        ("https://shop.example/?Expires=1795867200", None),
        (v2(expires=10**30), None),
        (v2().replace("Expires=1", "Expires=soon"), None),
        ("http://[", None),
        (None, None),
    ],
)
def test_a_link_says_when_it_ends(url: str | None, end: datetime | None) -> None:
    assert expires_at(url) == end


@pytest.mark.parametrize(
    ("kind", "link", "told"),
    [
        (Order, "delivery_note", "delivery_note_expires_at"),
        (Delivery, "label_url", "label_url_expires_at"),
        (Return, "label", "label_expires_at"),
    ],
)
def test_a_link_that_dies_says_when_to_programs_that_may_see_it(kind: Any, link: str, told: str) -> None:
    values = dict.fromkeys(each.name for each in fields(kind))
    row = kind(**values | {link: "https://a.example/1.pdf?AWSAccessKeyId=K&Signature=s&Expires=1767225600"})
    assert as_document(row, personal=True)[told] == datetime(2026, 1, 1, tzinfo=UTC)
    assert told not in as_document(row)
    assert as_document(kind(**values), personal=True)[told] is None
