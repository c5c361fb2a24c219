"""The target of a write: the API object, where to read it back, and its stored row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backmarket.database import Transaction
from backmarket.resources import LISTINGS, ORDERS, Resource, Row
from backmarket.writes.models import Write


@dataclass(frozen=True, slots=True)
class Subject:
    """An API object that can be fetched.

    Attributes:
        resource: the list that it belongs to.
        key: its id.
    """

    resource: Resource
    key: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An object as the API shows it now, as it is stored.

    Attributes:
        resource: of a listing, as the market has it that the row is of.
    """

    resource: Resource
    row: Row


def order_lane(order_id: int) -> str:
    """The lane of an order and its lines."""
    return f"order/{order_id}"


def listing_lane(listing_id: object) -> str:
    """The lane of a listing."""
    return f"listing/{listing_id}"


def invoice_lane(order_id: int) -> str:
    """The lane of an order's invoices, which wait for nothing else."""
    return f"invoice/{order_id}"


def subject_of(write: Write) -> Subject | None:
    """The API object that shows a write's change: the listing, or the whole order; None: none does (an invoice)."""
    if write.kind == "upload_order_invoice":
        return None
    resource = LISTINGS if write.kind == "update_listing" else ORDERS
    return Subject(resource, write.lane.partition("/")[2])


def stored_object(transaction: Transaction, write: Write, market: str = "") -> dict[str, Any] | None:
    """The stored API object that a write changes; None: it is not stored, or its personal data was erased.

    Args:
        write: the write.
        market: of a listing: as this further market of the connection shows it.
    """
    subject = subject_of(write)
    if subject is None:
        return None
    if market:
        row = transaction.execute(_IN_A_MARKET, (write.organization_id, market, subject.key)).fetchone()
        return row[0] if row else None
    table, key = subject.resource.table, subject.resource.key.name
    whole = "erased_at IS NULL" if subject.resource.personal else "true"
    row = transaction.execute(
        f"SELECT raw FROM backmarket.{table} WHERE organization_id = %s AND {key} = %s AND {whole}".encode(),
        (write.organization_id, subject.key),
    ).fetchone()
    return row[0] if row else None


_IN_A_MARKET = """
SELECT l.raw || m.raw FROM backmarket.listing_markets m JOIN backmarket.listings l USING (organization_id, listing_id)
WHERE m.organization_id = %s AND m.market = %s AND m.listing_id = %s
"""
