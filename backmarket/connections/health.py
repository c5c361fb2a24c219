"""Note what syncs and checks find out about a connection: its key is refused, its runs fail, all is well again."""

from __future__ import annotations

from backmarket.database import Transaction
from backmarket.errors import BackMarketError

NO_ERROR = (
    "last_error_at = NULL, last_error_code = NULL, last_error = NULL, last_error_request_id = NULL,"
    " last_error_cf_ray = NULL"
)

DUE_IN_TURN = "now() + CASE WHEN resource = 'orders' THEN interval '0' ELSE interval '2 s' END"
"""When the syncs of a new key begin, orders first: a refused key costs one request."""


def mark_unauthorized(transaction: Transaction, organization_id: str, generation: int) -> bool:
    """Note that the API refused the key; not if the key changed in the meantime.

    Returns:
        Whether it was noted.
    """
    cursor = transaction.execute(
        "UPDATE backmarket.connections SET unauthorized_at = now() WHERE organization_id = %s AND generation = %s",
        (organization_id, generation),
    )
    return cursor.rowcount == 1


def mark_authorized(transaction: Transaction, organization_id: str, generation: int) -> bool:
    """Note that the API accepts the key again, and resume syncs at once; not if the key changed in the meantime.

    Returns:
        Whether it had been refused.
    """
    lock(transaction, organization_id)
    accepted = transaction.execute(
        f"UPDATE backmarket.connections SET unauthorized_at = NULL, {NO_ERROR}"
        " WHERE organization_id = %s AND generation = %s AND unauthorized_at IS NOT NULL",
        (organization_id, generation),
    ).rowcount
    if accepted:
        reset_backoff(transaction, organization_id)
    return bool(accepted)


def mark_error(transaction: Transaction, organization_id: str, error: BackMarketError) -> None:
    """Note on the connection why a run failed, where the account's owner looks first."""
    transaction.execute(
        "UPDATE backmarket.connections SET last_error_at = now(), last_error_code = %s, last_error = %s,"
        " last_error_request_id = %s, last_error_cf_ray = %s WHERE organization_id = %s",
        (error.code, error.message, error.request_id, error.cf_ray, organization_id),
    )


def clear_error(transaction: Transaction, organization_id: str) -> None:
    """Clear the error, if no other resource is failing; a row without an error is not written."""
    transaction.execute(
        f"UPDATE backmarket.connections SET {NO_ERROR}"
        " WHERE organization_id = %(organization)s AND last_error_at IS NOT NULL AND NOT EXISTS ("
        " SELECT FROM backmarket.sync_state WHERE organization_id = %(organization)s AND failing_since IS NOT NULL)",
        {"organization": organization_id},
    )


def lock(transaction: Transaction, organization_id: str) -> None:
    """Lock out other changes of this connection, and wait for running batches to commit.

    All code locks in this order: the organization, though it may have no row yet; its states; its connection. A sync
    begins with its state.
    """
    transaction.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('backmarket.connections/' || %s, 0))", (organization_id,)
    )
    transaction.execute(
        "SELECT FROM backmarket.sync_state WHERE organization_id = %s ORDER BY resource FOR UPDATE",
        (organization_id,),
    )


def reset_backoff(transaction: Transaction, organization_id: str) -> None:
    """Clear the failures of all syncs, and make them due at once, orders first."""
    transaction.execute(
        f"UPDATE backmarket.sync_state SET next_due_at = {DUE_IN_TURN}, nudged_until = NULL, failing_since = NULL,"
        " failures = 0, error_code = NULL, error = NULL, error_request_id = NULL, error_cf_ray = NULL,"
        " availability = 'available'"
        " WHERE organization_id = %s",
        (organization_id,),
    )
