"""The stored orders, order lines and listings that a write changes, to check the write against."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from psycopg.rows import class_row

from backmarket.database import Transaction
from backmarket.errors import NotStoredYet
from backmarket.queries.listings import listing_key
from backmarket.writes import rows
from backmarket.writes.targets import order_lane


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A stored order line."""

    order_id: int
    listing: str | None
    state: int | None
    quantity: int | None
    imei: str | None = field(repr=False)
    serial_number: str | None = field(repr=False)


def check_order_stored(transaction: Transaction, organization_id: str, order_id: int) -> None:
    """Refuse a change of an order that is not stored.

    Raises:
        NotStoredYet: if the order is not stored; the text says what to do.
    """
    found = transaction.execute(
        "SELECT FROM backmarket.orders WHERE organization_id = %s AND order_id = %s AND removed_at IS NULL",
        (organization_id, order_id),
    ).fetchone()
    if found is None:
        raise NotStoredYet(
            f"No order {order_id} is stored, so the change cannot be checked: fetch it (`fetch_order`,"
            " `backmarket orders fetch`) or sync the orders, then retry."
        )


def lines_of(transaction: Transaction, organization_id: str, order_id: int) -> list[StoredLine]:
    """The stored lines of an order. While an earlier write is open, their states are left out, as it may change them.

    Raises:
        NotStoredYet: if the order is not stored.
    """
    check_order_stored(transaction, organization_id, order_id)
    state = "NULL::integer" if rows.is_open(transaction, organization_id, order_lane(order_id)) else "state"
    return _select_lines(transaction, organization_id, "order_id = %s", order_id, state)


def line_of(transaction: Transaction, organization_id: str, orderline_id: int) -> StoredLine:
    """A stored order line.

    Raises:
        NotStoredYet: if the line is not stored.
    """
    found = _select_lines(transaction, organization_id, "orderline_id = %s", orderline_id, "state")
    if not found:
        raise NotStoredYet(
            f"No order line {orderline_id} is stored, so the change cannot be checked: fetch its order (`fetch_order`,"
            " `backmarket orders fetch`) or sync the orders, then retry."
        )
    return found[0]


def _select_lines(
    transaction: Transaction, organization_id: str, condition: str, key: int, state: str
) -> list[StoredLine]:
    with transaction.cursor(row_factory=class_row(StoredLine)) as cursor:
        return cursor.execute(
            f"SELECT order_id, listing, {state} AS state, quantity, imei, serial_number FROM backmarket.orderlines"
            f" WHERE organization_id = %s AND {condition} AND removed_at IS NULL ORDER BY orderline_id".encode(),
            (organization_id, key),
        ).fetchall()


def listing_id_of(
    transaction: Transaction, organization_id: str, listing_id: UUID | str | int | None, sku: str | None
) -> UUID:
    """The UUID of a stored listing.

    Raises:
        NotStoredYet: if the listing is not stored.
    """
    asked: UUID | int | str | None
    if listing_id is None:
        condition = "sku_key = lower(left(%(key)s, 200)) AND backmarket.sku_key(sku) = backmarket.sku_key(%(key)s)"
        asked = sku
    else:
        key = listing_key(listing_id)
        condition, asked = ("listing_id = %(key)s" if isinstance(key, UUID) else "legacy_listing_id = %(key)s"), key
    row = transaction.execute(
        "SELECT listing_id FROM backmarket.listings WHERE organization_id = %(organization)s"
        f" AND {condition} AND removed_at IS NULL ORDER BY listing_id LIMIT 1".encode(),
        {"organization": organization_id, "key": asked},
    ).fetchone()
    if row is None:
        raise NotStoredYet(
            "No such listing is stored, so the change cannot be checked: fetch it (`fetch_listing`,"
            " `backmarket listings fetch`) or sync the listings, then retry."
        )
    found: UUID = row[0]
    return found
