"""The retention of writes, and erasing the personal data in them."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.bucket import deletion_queue
from backmarket.bucket.retention import Dropped, drop_old
from backmarket.database import Database, Transaction
from backmarket.writes.targets import invoice_lane, order_lane

BATCH = 1000
"""Maximum number of writes dropped in one transaction."""


def erase(transaction: Transaction, orders: Sequence[tuple[str, int]]) -> None:
    """Erase the requests in the writes of some orders, and queue their invoices for deletion.

    Unsent writes are refused; a person must check those that may have happened.

    Args:
        transaction: holds the locks on these organizations' syncs.
        orders: organization and order id of each.
    """
    lanes = [(each, lane(order)) for each, order in orders for lane in (order_lane, invoice_lane)]
    values = {"organizations": [each for each, _ in lanes], "lanes": [lane for _, lane in lanes]}
    rows = transaction.execute(_OF_ORDERS, values).fetchall()
    transaction.execute(_ERASE, ([write_id for write_id, _ in rows],))
    deletion_queue.request(transaction, (key for _, key in rows if key))


def drop_settled(database: Database, days: int, *, seconds: float | None = None) -> Dropped:
    """Drop the writes that ended more than `days` ago, with their invoices. Open ones stay.

    Args:
        days: minimum days since their end; 0: drop none.
        seconds: time after which no new batch begins; None: no limit.
    """
    return drop_old(database, _DROP, days, batch=BATCH, seconds=seconds)


# In the order in which a slice locks them: the sending worker also locks its writes by id.
_OF_ORDERS = """
SELECT id, object_key FROM backmarket.api_writes
WHERE (organization_id, lane) IN (SELECT * FROM unnest(%(organizations)s::text[], %(lanes)s::text[]))
ORDER BY id FOR UPDATE
"""

_ERASE = """
UPDATE backmarket.api_writes SET request = '{}', prior = NULL, fingerprint = NULL, object_key = NULL,
    state = CASE state WHEN 'pending' THEN 'refused' WHEN 'sending' THEN 'unknown' ELSE state END,
    due_at = 'infinity',
    settled_at = CASE WHEN state = 'pending' THEN now() ELSE settled_at END,
    error_code = CASE WHEN state IN ('pending', 'sending', 'unknown') THEN 'erased' ELSE error_code END,
    error = CASE state
        WHEN 'pending' THEN 'The personal data of its order was erased before it was sent.'
        WHEN 'sending' THEN 'The personal data of its order was erased while it was sent. Look at the order.'
        WHEN 'unknown' THEN 'The change may have happened, and its order was erased. Look at the order.'
        ELSE error
    END
WHERE id = ANY(%s)
"""

_DROP = """
DELETE FROM backmarket.api_writes WHERE id IN (
    SELECT id FROM backmarket.api_writes WHERE settled_at < now() - make_interval(days => %(days)s)
    ORDER BY settled_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING object_key
"""
