"""`AsyncBackMarket` has the methods of `BackMarket`, as they are there."""

from __future__ import annotations

import inspect

import pytest

from backmarket import AsyncBackMarket, BackMarket

LEFT_OUT = {
    "create_or_update_listings_and_sync": "`await handle.wait()`, and `await bm.sync_listings()` after it",
    "prepare_listings_file": "a context manager of blocking calls: the whole block is one call of `run`",
}
OWN = {"run"}


def methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_method_is_there() -> None:
    assert methods(AsyncBackMarket) == methods(BackMarket) - set(LEFT_OUT) | OWN


@pytest.mark.parametrize("name", sorted(methods(AsyncBackMarket) - OWN - {"close"}))
def test_a_method_is_the_one_of_its_name(name: str) -> None:
    derived, original = getattr(AsyncBackMarket, name), getattr(BackMarket, name)
    assert derived.__wrapped__ is original
    assert (derived.__doc__, inspect.signature(derived)) == (original.__doc__, inspect.signature(original))
    rows = name.startswith("iter_") or name == "watch"
    assert inspect.isasyncgenfunction(derived) == rows
    assert inspect.iscoroutinefunction(derived) == (not rows and name != "acting_as")
