"""Queue of objects to delete: filled in the transaction that makes them garbage, worked off by `upkeep`."""

from __future__ import annotations

from collections.abc import Iterable

from backmarket.database import Transaction


def request(transaction: Transaction, keys: Iterable[str]) -> None:
    """Queue objects for deletion; objects that a row refers to are kept.

    Args:
        transaction: the transaction that makes them garbage.
        keys: of objects, or prefixes of keys, which end in a slash.
    """
    transaction.execute(
        "INSERT INTO backmarket.bucket_deletions (object_key) SELECT unnest(%s::text[])", (sorted(set(keys)),)
    )
