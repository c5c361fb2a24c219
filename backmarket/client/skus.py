"""The key by which SKUs are compared."""

from __future__ import annotations


def sku_key(sku: str) -> str:
    """The key by which SKUs are compared everywhere, `backmarket.sku_key` in SQL: without spaces around it, A-Z as a-z.

    Other letters count as they are: what `lower()` makes of them in SQL depends on the database's collation.
    """
    return sku.strip(" ").encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
