"""Consoles over one database of a module."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from tests.support.console import Open, Visitor, console_settings
from tests.support.databases import empty
from tests.support.sellers import Shop


@pytest.fixture
def anna(shop: Shop) -> Iterator[Visitor]:
    """An operator in the console of the module's shop."""
    visitor = Visitor(shop.settings)
    visitor.log_in()
    yield visitor
    visitor.close()


@pytest.fixture
def bm(anna: Visitor) -> BackMarket:
    return anna.bm


@pytest.fixture
def opened(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Open]:
    """Opens consoles over an empty database; of each, the settings may differ."""
    empty(shared_url)
    visitors: list[Visitor] = []
    key = secrets.token_hex(16)

    def open_console(*, url: str = "http://127.0.0.1", address: str = "127.0.0.1", **changes: Any) -> Visitor:
        visitors.append(
            Visitor(
                console_settings(stack, shared_url, s3_url, **{"limiter_key": key} | changes),
                url=url,
                client=(address, 4000),
            )
        )
        return visitors[-1]

    yield open_console
    for visitor in visitors:
        visitor.close()
