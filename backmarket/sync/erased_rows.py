"""Rows that were erased, or belong to an erased order: stored again without their personal data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from backmarket.database import Transaction
from backmarket.resources import DELIVERIES, RETURNS, Resource, Row, blank

SHIPMENTS = (DELIVERIES, RETURNS)
"""Resources whose rows belong to an order."""


def keep_erased(
    transaction: Transaction, resource: Resource, organization_id: str, rows: list[Row], erased: set[Any]
) -> tuple[list[Row], list[Any]]:
    """Remove the personal data of rows that were erased, or belong to an erased order, before they are stored.

    Args:
        transaction: the one that stores them; it holds the lease, for which erasure waits.
        rows: as fetched.
        erased: keys of the stored rows that were erased.

    Returns:
        The rows to be stored, and the keys of those without their personal data.
    """
    if resource in SHIPMENTS:
        erased = erased | _of_erased_orders(transaction, resource, organization_id, rows)
    return [blank(resource, row) if row.key in erased else row for row in rows], list(erased)


def mark_erased(transaction: Transaction, resource: Resource, organization_id: str, keys: list[Any]) -> None:
    """Mark new rows that were stored without their personal data, and their lines."""
    for table in (resource, *([resource.lines] if resource.lines else [])) if keys else ():
        transaction.execute(
            sql.SQL(
                "UPDATE {} SET erased_at = now() WHERE organization_id = %s AND {} = ANY(%s) AND erased_at IS NULL"
            ).format(sql.Identifier("backmarket", table.table), sql.Identifier(resource.key.name)),
            (organization_id, keys),
        )


def _of_erased_orders(
    transaction: Transaction, resource: Resource, organization_id: str, rows: Sequence[Row]
) -> set[Any]:
    """Keys of shipments whose order was erased; they may be new."""
    at = resource.positions["order_id"]
    orders = {row.key: row.values[at] for row in rows}
    found = transaction.execute(_ERASED_ORDERS, (organization_id, list({*orders.values()}))).fetchall()
    erased = {order_id for (order_id,) in found}
    return {key for key, order_id in orders.items() if order_id in erased}


_ERASED_ORDERS = """
SELECT order_id FROM backmarket.orders
WHERE organization_id = %s AND order_id = ANY(%s::bigint[]) AND erased_at IS NOT NULL
"""
