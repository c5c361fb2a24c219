"""Registers the labels that syncs find: which of them are wanted in the bucket."""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from backmarket import work
from backmarket.database import Transaction
from backmarket.resources import Resource

InitialLabelState = Literal["wanted", "skipped"]
"""The state in which a sync registers a label; see the table `labels`."""


def note_labels(
    transaction: Transaction,
    resource: Resource,
    organization_id: str,
    incoming: sql.Identifier,
    state: InitialLabelState,
) -> None:
    """Register the labels of shipments that are being stored. One already known by the same URL stays as it is.

    Args:
        transaction: the one that stores the shipments.
        resource: deliveries or returns.
        incoming: the table that holds the shipments.
        state: of labels that are new, or have another URL now.
    """
    names = {"key": sql.Identifier(resource.key.name), "label": sql.Identifier(resource.label), "incoming": incoming}
    values = {"organization": organization_id, "resource": resource.name, "state": state}
    transaction.execute(sql.SQL(_SIGN_AGAIN).format(**names), values)
    if transaction.execute(sql.SQL(_NOTE).format(**names), values).rowcount and state == "wanted":
        work.make_due(transaction, organization_id, "labels")


def requeue_skipped(
    transaction: Transaction, resource: Resource, organization_id: str, shipment_id: int | None = None
) -> None:
    """Queue the labels that an earlier sync skipped, of one shipment or of all."""
    values = {"organization": organization_id, "resource": resource.name, "shipment": shipment_id}
    if transaction.execute(_REQUEUE_SKIPPED, values).rowcount:
        work.make_due(transaction, organization_id, "labels")


# The same link with another signature is the same label; the last link is kept, which expires last.
_SIGN_AGAIN = """
UPDATE backmarket.labels AS l SET url = i.{label} FROM {incoming} i
WHERE l.organization_id = %(organization)s AND l.resource = %(resource)s AND l.shipment_id = i.{key}
  AND l.url <> i.{label} AND backmarket.without_signatures(l.url) = backmarket.without_signatures(i.{label})
"""

# A label with another URL is another label; the object of the old one stays until the new one is stored.
_NOTE = """
INSERT INTO backmarket.labels AS l (organization_id, resource, shipment_id, url, state)
SELECT %(organization)s, %(resource)s, i.{key}, i.{label}, %(state)s
FROM {incoming} i WHERE i.{label} <> '' ORDER BY i.{key}
ON CONFLICT (organization_id, resource, shipment_id) DO UPDATE
SET url = excluded.url, state = excluded.state, noted_at = now(), due_at = now(), tries = 0, error_code = NULL,
    error = NULL
WHERE l.url <> excluded.url
"""

_REQUEUE_SKIPPED = """
UPDATE backmarket.labels SET state = 'wanted', due_at = now()
WHERE organization_id = %(organization)s AND resource = %(resource)s AND state = 'skipped'
  AND shipment_id = COALESCE(%(shipment)s, shipment_id)
"""
