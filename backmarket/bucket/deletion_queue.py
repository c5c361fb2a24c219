"""Objects that are to be deleted: written down in the transaction that makes them garbage, for `upkeep` to work off."""

from __future__ import annotations

from collections.abc import Iterable

from backmarket.database import Transaction


def request(transaction: Transaction, keys: Iterable[str]) -> None:
    """Write down that objects are to be deleted, unless a row refers to them.

    Args:
        transaction: the one that makes them garbage.
        keys: of objects, or what keys begin with, which ends in a slash.
    """
    transaction.execute(
        "INSERT INTO backmarket.bucket_deletions (object_key) SELECT unnest(%s::text[])", (sorted(set(keys)),)
    )
