"""Whatever a fault has left of a row, one full walk makes it equal to the truth."""

from __future__ import annotations

from typing import Any

import pytest

from backmarket.resources import RESOURCES
from backmarket.resources.signed_links import unsigned
from tests.support.sellers import Shop

ORG = "auth0|1"
ROWS = 60
EACH = 2
"""Rows damaged in each way."""

DAMAGES = {
    "older": "UPDATE {table} SET content = content - 1, {old} WHERE {key} = ANY(%s)",
    "newer": "UPDATE {table} SET content = content + 1, {new} WHERE {key} = ANY(%s)",
    "of another hash": "UPDATE {table} SET content = 0 WHERE {key} = ANY(%s)",
    "emptied": "UPDATE {table} SET content = content + 7, raw = '{{}}', {nulls} WHERE {key} = ANY(%s)",
    "missing": "DELETE FROM {table} WHERE {key} = ANY(%s)",
    "removed": "UPDATE {table} SET removed_at = now() WHERE {key} = ANY(%s)",
    "removed and older": "UPDATE {table} SET removed_at = now(), content = content - 1, {old} WHERE {key} = ANY(%s)",
    "unknown to the API": "UPDATE {table} SET {key} = {other} WHERE {key} = ANY(%s)",
}
LINE_DAMAGES = {
    "older": "UPDATE {lines} SET date_creation = date_creation - interval '10 years', price = price - 1 {of}",
    "newer": "UPDATE {lines} SET date_creation = date_creation + interval '10 years', quantity = quantity + 1 {of}",
    "in another state": "UPDATE {lines} SET state = COALESCE(state, 0) + 1 {of}",
    "emptied": "UPDATE {lines} SET raw = '{{}}', state = NULL, price = NULL, listing = NULL {of}",
    "missing": "DELETE FROM {lines} {of}",
    "removed": "UPDATE {lines} SET removed_at = now() {of}",
    "of another order": "UPDATE {lines} SET order_id = order_id + 1 {of}",
    "unknown to the API": "UPDATE {lines} SET orderline_id = orderline_id + 900000000 {of}",
}
"""Lines are written in the transaction of their order, which a fault thus leaves damaged, too."""


def stored(shop: Shop, table: str, key: str) -> dict[str, Any]:
    """All columns of the rows that are there, without signatures, their hash and the moments of their storing."""
    own = "{first_seen_at,last_synced_at,removed_at,content}"
    rows = shop.execute(
        f"SELECT {key}::text, to_jsonb(t) - %s::text[] FROM backmarket.{table} t WHERE removed_at IS NULL", own
    )
    return {key: unsigned(row) for key, row in rows}


def differing(found: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """The columns of each row that are not as they should be."""
    return {
        key: {name for name in row if name not in found.get(key, {}) or found[key][name] != row[name]}
        for key, row in truth.items()
        if found.get(key) != row
    } | dict.fromkeys(found.keys() - truth.keys(), "is there")


def damage_lines(shop: Shop, orders: list[int]) -> None:
    """Damage the lines of an order in each way; its hash is that of another version, too."""
    for order, damage in zip(orders, LINE_DAMAGES.values(), strict=False):
        shop.execute("UPDATE backmarket.orders SET content = content + 3 WHERE order_id = %s", order)
        shop.execute(damage.format(lines="backmarket.orderlines", of="WHERE order_id = %s"), order)


@pytest.mark.parametrize("name", ["orders", "listings", "deliveries", "returns"])
def test_one_full_walk_heals_every_row_that_is_damaged(shop: Shop, name: str) -> None:
    shop.resources = (name,)
    counts: dict[str, Any] = dict.fromkeys(("listings", "deliveries", "returns"), 0)
    counts |= {"orders": ROWS, name: ROWS}
    shop.sell(ORG, **counts)
    shop.sync(ORG, name, full=True)
    key = RESOURCES[name].key.name
    tables = {name: key} | ({"orderlines": "orderline_id"} if name == "orders" else {})
    truth = {each: stored(shop, *each) for each in tables.items()}
    assert len(truth[name, key]) >= len(DAMAGES) * EACH
    columns = dict(
        shop.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'backmarket'"
            " AND table_name = %s AND is_nullable = 'YES' AND is_generated = 'NEVER' AND column_name <> 'removed_at'",
            name,
        )
    )
    moments = [column for column, kind in columns.items() if kind.startswith("timestamp")]
    numbers = [column for column, kind in columns.items() if kind == "integer"]
    changed = {sign: [f"{one} = {one} {sign} interval '10 years'" for one in moments] for sign in "-+"}
    states = [f"{one} = COALESCE({one}, 0) + 1" for one in numbers]
    other = "gen_random_uuid()" if name == "listings" else f"{key} + 900000000"
    ids = [one for (one,) in shop.execute(f"SELECT {key} FROM backmarket.{name} WHERE removed_at IS NULL ORDER BY 1")]
    for damage in DAMAGES.values():
        mine, ids = ids[:EACH], ids[EACH:]
        shop.execute(
            damage.format(
                table=f"backmarket.{name}", key=key, other=other, old=", ".join(changed["-"] + states),
                new=", ".join(changed["+"] + states), nulls=", ".join(f"{one} = NULL" for one in columns),
            ),
            mine,
        )  # fmt: skip
    assert len(differing(stored(shop, name, key), truth[name, key])) == len(DAMAGES) * EACH
    if name == "orders":
        damage_lines(shop, ids)
        lines = "orderlines", "orderline_id"
        assert len(differing(stored(shop, *lines), truth[lines])) >= len(LINE_DAMAGES)
    assert shop.sync(ORG, name, full=True).end == "done"
    for each, rows in truth.items():
        assert differing(stored(shop, *each), rows) == {}
