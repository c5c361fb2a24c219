"""Erase personal data of one order, or of all old orders, and keep it erased.

Each resource declares its personal columns (`Lines.personal`). An erased row keeps what accounting needs: states,
dates, prices, the country, the goods with IMEI and serial number. The hash of the API's object stays as well: an
unchanged row is recognized, and a changed one is stored without its personal data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from psycopg import sql

from backmarket import audit
from backmarket.bucket import deletion_queue
from backmarket.bucket.keys import label_key
from backmarket.connections import get
from backmarket.database import Database, Transaction
from backmarket.errors import DatabaseUnavailable, UsageError
from backmarket.observability.logs import Logger, error_location
from backmarket.resources import ORDERLINES, ORDERS, Lines, Resource, blank_object
from backmarket.sync.erased_rows import SHIPMENTS
from backmarket.writes import retention

BATCH = 500
"""Orders erased in one transaction, while the syncs of their organizations wait."""


log = Logger(__name__)


class OrderNotStored(UsageError):
    """No order of this id is stored, and nothing that belongs to it."""

    code = "order_not_stored"


@dataclass(frozen=True, slots=True)
class Erased:
    """Number of rows that are without personal data now.

    Attributes:
        orders: 1, or 0 if the order itself is not stored.
        orderlines: its lines.
        deliveries: its parcels to the customer.
        returns: parcels that came back.
    """

    orders: int
    orderlines: int
    deliveries: int
    returns: int


@dataclass(frozen=True, slots=True)
class ErasedOld:
    """Progress of the erasure of old orders.

    Attributes:
        orders: number erased.
        more: there may be more; the time limit ended it.
    """

    orders: int = 0
    more: bool = False


def erase_order(database: Database, organization_id: str, order_id: int) -> Erased:
    """Erase the personal data of an order, its lines, deliveries and returns; safe to repeat.

    Raises:
        ConnectionNotFound: if there is no such organization.
        OrderNotStored: if nothing of this order is stored.
    """
    get(database, organization_id)
    with database.transaction() as transaction:
        erased = _erase(transaction, [(organization_id, order_id)])
        if erased != Erased(0, 0, 0, 0):
            audit.record(transaction, audit.Act("order.erase", organization_id, "order", order_id, asdict(erased)))
    if erased == Erased(0, 0, 0, 0):
        raise OrderNotStored(
            f"Nothing of order {order_id} is stored, so nothing was erased: if a first sync is still running, repeat"
            " this when it has ended."
        )
    return erased


def erase_old(database: Database, days: int, *, seconds: float | None = None) -> ErasedOld:
    """Erase the personal data of closed orders that have not changed for a number of days, by age.

    It begins at an age drawn at random, and ends with those before: orders that fail for ever hold up no others, though
    they may use up the time.

    A closed order is in state 8 (not paid) or 9 (processed), or gone from the API; all its lines are shipped,
    cancelled, refunded or not paid; and it has no younger delivery or return.

    Args:
        days: since the last change; 0: none is erased.
        seconds: after which no new batch begins; None: no limit.
    """
    until = None if seconds is None else monotonic() + seconds
    total, failed = 0, list[tuple[str, int]]()
    for since, before in _spans(database, days) if days else ():
        while True:
            if until is not None and monotonic() >= until:
                return ErasedOld(total, more=True)
            organizations, keys = _columns(failed, 2)
            values = {"days": days, "since": since, "before": before, "limit": BATCH}
            values |= {"failed_organizations": organizations, "failed_orders": keys}
            with database.transaction() as transaction:
                found = transaction.execute(_FIND_OLD, values).fetchall()
            erased, broken = _erase_batch(database, found, days)
            total += erased
            failed += broken
            if not (erased or broken) or len(found) < BATCH:
                break
    return ErasedOld(total)


def _spans(database: Database, days: int) -> tuple[tuple[str, str], ...]:
    """Two spans of creation times that together are all: from a moment drawn at random on, and before it."""
    with database.transaction() as transaction:
        (middle,) = transaction.execute(_MIDDLE, {"days": days}).fetchone() or ("-infinity",)
    return ((middle, "infinity"), ("-infinity", middle))


def _erase_batch(database: Database, orders: list[tuple[str, int]], days: int) -> tuple[int, list[tuple[str, int]]]:
    """Erase old orders together; if that fails, one by one, so that one that cannot be erased holds up no other.

    Returns:
        Number of orders erased, and those that failed.
    """
    try:
        with database.transaction() as transaction:
            return _erase(transaction, orders, days=days).orders, []
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - of an odd row; the upkeep would stop at it for ever
        if len(orders) == 1:
            log.error("erasure.failed", order=orders[0][1], **error_location(error))
            return 0, orders
    each = [_erase_batch(database, [order], days) for order in orders]
    return sum(erased for erased, _ in each), [order for _, failed in each for order in failed]


def _erase(transaction: Transaction, orders: list[tuple[str, int]], *, days: int = 0) -> Erased:
    """Erase the stored rows of some orders. This and the syncs of their organizations wait for each other.

    Args:
        transaction: one that has locked nothing yet.
        orders: organization and id of each.
        days: skip orders that are not old any more; 0: skip none.
    """
    organizations = sorted({organization_id for organization_id, _ in orders})
    transaction.execute(_LOCK, (organizations,))
    if days:
        values = {"days": days, "organizations": organizations, "orders": [order_id for _, order_id in orders]}
        orders = sorted(set(orders) & set(transaction.execute(_STILL_OLD, values).fetchall()))
    shipments = [_erase_rows(transaction, resource, orders) for resource in SHIPMENTS]
    for resource, keys in zip(SHIPMENTS, shipments, strict=True):
        gone = transaction.execute(_DELETE_LABELS, (resource.name, *_columns(keys, 2))).fetchall()
        deletion_queue.request(transaction, (label_key(organization, resource.name, key) for organization, key in gone))
    retention.erase(transaction, orders)
    lines = _erase_rows(transaction, ORDERLINES, orders)
    found = _erase_rows(transaction, ORDERS, orders)
    return Erased(len(found), len(lines), *map(len, shipments))


def _erase_rows(transaction: Transaction, table: Lines, orders: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Erase the rows of one table that belong to some orders; with events, if they are a resource's.

    Returns:
        Organization and key of each.
    """
    parts = {
        "table": sql.Identifier("backmarket", table.table),
        "key": sql.Identifier(table.key.name),
        "empty": sql.SQL("").join(sql.SQL("{} = NULL, ").format(sql.Identifier(each)) for each in table.personal),
    }
    found = transaction.execute(sql.SQL(_SELECT).format(**parts), _columns(orders, 2)).fetchall()
    blanked = [(organization_id, key, *blank_object(table, raw)) for organization_id, key, raw in found]
    rows = [(organization_id, key, raw) for organization_id, key, raw, _ in blanked]
    transaction.execute(sql.SQL(_ERASE).format(**parts), _columns(rows, 3))
    if isinstance(table, Resource):
        news = [(organization_id, str(key), json.dumps(lost)) for organization_id, key, _, lost in blanked if lost]
        transaction.execute(_UPDATED, (table.name, *_columns(news, 3)))
    return [(organization_id, key) for organization_id, key, _ in rows]


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> tuple[list[Any], ...]:
    """The rows as arrays, one for each column."""
    return tuple([row[at] for row in rows] for at in range(width))


# In the order in which a sync locks its row, so that the two cannot deadlock.
_LOCK = """
SELECT FROM backmarket.sync_state WHERE organization_id = ANY(%s::text[])
ORDER BY organization_id, resource, market FOR UPDATE
"""

_SELECT = """
SELECT t.organization_id, t.{key}, t.raw::text
FROM unnest(%s::text[], %s::bigint[]) AS wanted (organization_id, order_id)
JOIN {table} t USING (organization_id, order_id) ORDER BY 1, 2
"""

_ERASE = """
UPDATE {table} AS t SET {empty}raw = i.raw::jsonb, erased_at = COALESCE(t.erased_at, now()), last_synced_at = now()
FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS i (organization_id, key, raw)
WHERE t.organization_id = i.organization_id AND t.{key} = i.key
"""

_DELETE_LABELS = """
DELETE FROM backmarket.labels WHERE resource = %s
  AND (organization_id, shipment_id) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))
RETURNING organization_id, shipment_id
"""

_UPDATED = """
INSERT INTO backmarket.changes (resource, organization_id, external_id, kind, fields)
SELECT %s, organization_id, external_id, 'updated', ARRAY(SELECT jsonb_array_elements_text(fields::jsonb))
FROM unnest(%s::text[], %s::text[], %s::text[]) AS news (organization_id, external_id, fields)
"""

_CREATED = "CASE WHEN o.date_creation IS NULL THEN '-infinity' ELSE o.date_creation END"  # as the index has it

_OLD = f"""
SELECT o.organization_id, o.order_id FROM backmarket.orders o
WHERE o.erased_at IS NULL AND {_CREATED} < now() - make_interval(days => %(days)s)
  AND COALESCE(o.date_modification, o.date_creation, o.first_seen_at) < now() - make_interval(days => %(days)s)
  AND (o.state IN (8, 9) OR o.removed_at IS NOT NULL)
  AND NOT EXISTS (
    SELECT FROM backmarket.orderlines l
    WHERE l.organization_id = o.organization_id AND l.order_id = o.order_id AND l.removed_at IS NULL
      AND (l.state IN (3, 4, 5, 6, 7)) IS NOT TRUE
  )
  AND NOT EXISTS (
    SELECT FROM backmarket.deliveries d
    WHERE d.organization_id = o.organization_id AND d.order_id = o.order_id
      AND d.date_creation >= now() - make_interval(days => %(days)s)
  )
  AND NOT EXISTS (
    SELECT FROM backmarket.returns r
    WHERE r.organization_id = o.organization_id AND r.order_id = o.order_id
      AND r.date_creation >= now() - make_interval(days => %(days)s)
  )
"""

_FAILED = "SELECT * FROM unnest(%(failed_organizations)s::text[], %(failed_orders)s::bigint[])"

_FIND_OLD = f"""{_OLD} AND {_CREATED} >= %(since)s AND {_CREATED} < %(before)s
  AND (o.organization_id, o.order_id) NOT IN ({_FAILED}) ORDER BY {_CREATED} LIMIT %(limit)s
"""

_MIDDLE = f"""
SELECT COALESCE(oldest + random() * (now() - make_interval(days => %(days)s) - oldest), '-infinity')::text
FROM (SELECT min({_CREATED}) AS oldest FROM backmarket.orders o
    WHERE o.erased_at IS NULL AND {_CREATED} > '-infinity') AS o
"""

_STILL_OLD = f"{_OLD} AND o.organization_id = ANY(%(organizations)s) AND o.order_id = ANY(%(orders)s)"
