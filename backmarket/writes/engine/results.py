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
from backmarket.resources import ORDERS
from backmarket.sync.upsert import store
from backmarket.work import WorkLease
from backmarket.writes import rows
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.targets import Shown


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a request.

    Attributes:
        write: the write, as it was before.
        transition: its next state.
        shown: the object as the API shows it, in one or two markets; none: the API did not show it.
        locale: the connection's, at the time of the request.
        cause: the request's error.
        line: the SKU line reserved for the request, if the request certainly used none.
        lines_closed: seconds for which to send no SKU lines, after the API said that the account sent too many.
    """

    write: Write
    transition: Transition
    shown: tuple[Shown, ...] = ()
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
    kept = _lock(transaction, lease, result)
    if isinstance(error, Unauthorized):
        mark_unauthorized(transaction, write.organization_id, lease.generation, error)
    if isinstance(error, FirewallBlocked):
        mark_error(transaction, write.organization_id, error)
    work.hold(transaction, lease, seconds=seconds)
    rows.decide(transaction, write, result.transition)
    for each in kept:
        store(transaction, each.resource, write.organization_id, [each.row])
    if write.kind == "upload_order_invoice" and result.transition.state is WriteState.SUCCEEDED:
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


def _lock(transaction: Transaction, lease: WorkLease, result: Result) -> tuple[Shown, ...]:
    """Wait for the syncs that write these rows; returns the rows that are of markets which the tables have."""
    invoice = result.write.kind == "upload_order_invoice" and result.transition.state is WriteState.SUCCEEDED
    if not result.shown and not invoice:
        return ()
    resource = ORDERS if invoice else result.shown[0].resource
    transaction.execute(
        "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = %s AND market = ANY(%s)"
        " ORDER BY market FOR UPDATE",
        (lease.organization_id, resource.name, [each.resource.market for each in result.shown] or [""]),
    )
    locale, markets = transaction.execute(
        "SELECT locale, markets FROM backmarket.connections WHERE organization_id = %s FOR SHARE",
        (lease.organization_id,),
    ).fetchone() or (None, [])
    return tuple(
        each
        for each in result.shown
        if (each.resource.market in markets if each.resource.market else locale == result.locale)
    )
