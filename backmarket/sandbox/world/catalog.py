"""The products of invented sellers, which listings offer and order lines name."""

from __future__ import annotations

import re
from random import Random
from typing import Final, NamedTuple
from uuid import UUID


class Item(NamedTuple):
    """One offer of a seller's catalogue."""

    sku: str
    listing_id: int
    uuid: str
    product_id: int
    product_uuid: str
    title: str
    brand: str
    cents: int
    condition: int
    """`ProductCondition` of the order line schema: 9 premium, 10 excellent, 11 good, 12 fair."""


_MODELS: Final = (
    ("apple", "iPhone 13", 31900),
    ("apple", "iPhone 12 mini", 22900),
    ("apple", "MacBook Air 13\" M1", 64900),
    ("samsung", "Galaxy S21", 21400),
    ("samsung", "Galaxy Tab S7", 27500),
    ("google", "Pixel 7", 24900),
    ("xiaomi", "Redmi Note 11", 10990),
    ("sony", "WH-1000XM4", 15995),
    ("nintendo", "Switch OLED", 23900),
    ("dyson", "V11 Absolute", 28900),
)  # fmt: skip
_SPECIAL: Final = re.compile(r"[^A-Z0-9]+")
_SCATTER: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number, so that neighbouring products get unlike UUIDs."""
_STORAGE: Final = ("64 Go", "128 Go", "256 Go")
_COLOURS: Final = ("Noir", "Bleu", "Débloqué - Rosé", "Silver")


def item(index: int, base: int, rng: Random) -> Item:
    """The seller's offer with the number `index`.

    Args:
        index: the number, from 0; it is part of the SKU.
        base: offset that makes ids unique across sellers.
        rng: the source of ids and prices.
    """
    brand, model, cents = _MODELS[index % len(_MODELS)]
    storage = _STORAGE[index // len(_MODELS) % len(_STORAGE)]
    colour = _COLOURS[index // 7 % len(_COLOURS)]
    return Item(
        sku=f"{_SPECIAL.sub('_', model.upper())}-{storage.replace(' ', '')}-{index:05d}",
        listing_id=base + index,
        uuid=str(UUID(int=rng.getrandbits(128), version=4)),
        product_id=140 + index % 1000,
        product_uuid=str(UUID(int=(140 + index % 1000) * _SCATTER % 2**128, version=4)),
        title=f"{model} {storage} - {colour}",
        brand=brand,
        cents=cents + int(rng.random() * 4000),
        condition=9 + index % 4,
    )


def money(cents: int) -> str:
    """An amount as the API writes most of them: a string with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"


def short_money(cents: int) -> str:
    """An amount as the API writes some: without a trailing zero, such as `22.9` and `229.0`."""
    text = money(cents)
    return text.removesuffix("0")
