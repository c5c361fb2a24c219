"""Search by SKU."""

from __future__ import annotations


def has_sku(table: str, column: str, value: str = "%(sku)s") -> str:
    """The SQL condition that a row has a SKU, ignoring the case of all letters.

    An index of the column `sku_key` finds the few rows whose SKU begins alike; the SKU itself decides. Where SKUs must
    be one and the same, `backmarket.sku_key` compares them.

    Args:
        table: its name or alias.
        column: that has the SKU.
        value: the parameter.
    """
    return f"{table}.sku_key = lower(left({value}, 200)) AND lower({table}.{column}) = lower({value})"
