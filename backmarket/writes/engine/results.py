"""Stores the results of a slice: the outcome of a write, and the rows that it changed.

Every worker locks in the order of a fetch or a sync, so that no deadlock arises: the state of the resource's
"""

from __future__ import annotations

from dataclasses import dataclass

from backmarket import work
from backmarket.connections import mark_error, mark_unauthorized
from backmarket.database import Transaction
from backmarket.errors import BackMarketError, FirewallBlocked, Unauthorized
from backmarket.limits import sku_quota
from backmarket.limits.sku_quota import Reserved
from backmarket.resources import ORDERS, Resource, Row
from backmarket.sync.upsert import store
from backmarket.work import WorkLease
from backmarket.writes import rows
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.targets import subject_of


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a request.

    Attributes:
        write: the write, as it was before.
        transition: its next state.
        row: the object as the API shows it, in `locale`; None: the API did not show it.
        locale: the connection's, at the time of the request.
        cause: the request's error.
        line: the SKU line reserved for the request, if the request certainly used none.
        lines_closed: seconds for which to send no SKU lines, after the API said that the account sent too many.
    """

    write: Write
    transition: Transition
    row: Row | None = None
    locale: str = ""
    cause: BackMarketError | None = None
    line: Reserved | None = None
    lines_closed: float = 0.0


def write_down(transaction: Transaction, lease: WorkLease, result: Result, *, account: str, seconds: float) -> None:
    """Store the result of a request, with the rows that it changed and their events.

    Args:
        transaction: an open one, which has locked nothing yet.
        result: the result.
        account: the limiter's name of the account.
        seconds: how long to extend the lease from now.

    Raises:
        LeaseLost: if another worker took over, or the connection changed; the new holder finds out by itself.
    """
    write, error = result.write, result.cause
    resource = _resource(result)
    ours = resource is not None and _lock(transaction, lease, resource, result)
    if isinstance(error, Unauthorized):
        mark_unauthorized(transaction, write.organization_id, lease.generation, error)
    if isinstance(error, FirewallBlocked):
        mark_error(transaction, write.organization_id, error)
    work.hold(transaction, lease, seconds=seconds)
    rows.decide(transaction, write, result.transition)
    if ours and resource is not None and result.row is not None:
        store(transaction, resource, write.organization_id, [result.row])
    elif write.kind == "upload_order_invoice" and result.transition.state is WriteState.SUCCEEDED:
        note_invoice(transaction, write.organization_id, int(write.object_id))
    if result.line is not None:
        sku_quota.release(transaction, result.line)
    if result.lines_closed:
        sku_quota.block(transaction, account, result.lines_closed)


def note_invoice(transaction: Transaction, organization_id: str, order_id: int) -> None:
    """Note that an order has an invoice, with an event; does nothing if the order is not stored."""
    noted = transaction.execute(
        "UPDATE backmarket.orders SET invoice_uploaded_at = now(), last_synced_at = now()"
        " WHERE organization_id = %s AND order_id = %s",
        (organization_id, order_id),
    )
    if noted.rowcount:
        transaction.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)"
            " VALUES (%s, %s, %s, 'updated', '{invoice_uploaded_at}')",
            (organization_id, ORDERS.name, str(order_id)),
        )


def _resource(result: Result) -> Resource | None:
    """The resource whose row is stored; None: no row is."""
    subject = subject_of(result.write)
    if subject is None:
        return ORDERS if result.transition.state is WriteState.SUCCEEDED else None
    return subject.resource if result.row is not None else None


def _lock(transaction: Transaction, lease: WorkLease, resource: Resource, result: Result) -> bool:
    """Wait for a sync that writes this table; returns whether the row belongs to the table's market."""
    transaction.execute(
        "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = %s FOR UPDATE",
        (lease.organization_id, resource.name),
    )
    found = transaction.execute(
        "SELECT locale FROM backmarket.connections WHERE organization_id = %s FOR SHARE", (lease.organization_id,)
    ).fetchone()
    return found is not None and found[0] == result.locale
