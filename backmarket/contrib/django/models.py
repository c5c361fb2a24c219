"""Models over the tables, unmanaged: `schema.sql` makes them and describes their columns, Django reads them.

A transaction sees the rows of the organization that it names (`organization`), and none if it names none; within one
organization, the API's own id identifies a row. Writing is refused by PostgreSQL.
"""

from __future__ import annotations

from typing import Any

from django.db import models

from backmarket.contrib.django.columns import columns


def _table(name: str, table: str, *, key: str | None, **fields: Any) -> Any:
    """A model over a table of the schema `backmarket`, with further fields beside its columns."""
    options = {
        "managed": False,
        "db_table": f'"backmarket"."{table}"',  # Django leaves a quoted name as it is
        "default_permissions": ("view",),
        "verbose_name_plural": table,
    }
    body = {"__module__": __name__, "Meta": type("Meta", (), options), **columns(table, key=key), **fields}
    return type(name, (models.Model,), body)


Order = _table("Order", "orders", key="order_id")
OrderLine = _table("OrderLine", "orderlines", key="orderline_id")
Listing = _table("Listing", "listings", key="listing_id")
ListingMarket = _table(
    "ListingMarket", "listing_markets", key=None, pk=models.CompositePrimaryKey("market", "listing_id")
)
Delivery = _table("Delivery", "deliveries", key="shipment_id")
Return = _table("Return", "returns", key="shipment_id")
Label = _table("Label", "labels", key=None, pk=models.CompositePrimaryKey("resource", "shipment_id"))
Change = _table("Change", "changes", key="id")

TABLES = (Order, OrderLine, Listing, ListingMarket, Delivery, Return, Label, Change)
RESOURCES = {"orders": Order, "listings": Listing, "deliveries": Delivery, "returns": Return}
"""The model of each resource of the change feed that has one."""


class FeedCursor(models.Model):
    """How far a follower of the change feed has come; one row for each follower, in a table of the host's own."""

    name = models.CharField(max_length=100, primary_key=True)
    cursor = models.TextField()
