"""A person's decisions about a write: send it again, or settle how it ended."""

from __future__ import annotations

from collections.abc import Set

from backmarket import audit, work
from backmarket.connections.connection import select
from backmarket.database import Transaction
from backmarket.errors import NotUndecided, WriteNotFound
from backmarket.services import Services
from backmarket.writes import rows
from backmarket.writes.audited import decision_of
from backmarket.writes.engine.results import note_invoice
from backmarket.writes.handle import WriteHandle
from backmarket.writes.models import Write, WriteState
from backmarket.writes.submit import handle_of

MAY_HAVE_HAPPENED = frozenset({WriteState.SENDING, WriteState.UNKNOWN})


def retry_write(services: Services, organization_id: str, write_id: int) -> WriteHandle:
    """Queue a write again, as a person decided; see `BackMarket.retry_write`."""
    services.need_broker()
    with services.database.transaction() as transaction:
        write = _decidable(transaction, organization_id, write_id, {WriteState.REFUSED, *MAY_HAVE_HAPPENED})
        if not write.request:
            raise NotUndecided(f"The order of write {write_id} was erased, and the request with it.")
        changed = rows.retry(transaction, write)
        if changed is not None:
            audit.record(transaction, decision_of("write.retry", write), audit.Outcome.ASKED)
    return handle_of(services, changed or write)


def settle_write(services: Services, organization_id: str, write_id: int, *, arrived: bool) -> Write:
    """End a write with the outcome that a person has seen; see `BackMarket.settle_write`."""
    with services.database.transaction() as transaction:
        write = _decidable(transaction, organization_id, write_id, MAY_HAVE_HAPPENED)
        if arrived and write.kind == "upload_order_invoice":
            note_invoice(transaction, organization_id, int(write.object_id))
        settled = rows.settle(transaction, write, arrived=arrived)
        if settled is not None:
            audit.record(transaction, decision_of("write.settle", write, arrived=arrived))
        return settled or write


def _decidable(transaction: Transaction, organization_id: str, write_id: int, states: Set[WriteState]) -> Write:
    """A write that a person may decide, with the organization's work locked and due.

    Raises:
        ConnectionNotFound, WriteNotFound, NotUndecided: if the write is not such a one.
    """
    select(transaction, organization_id)
    work.make_due(transaction, organization_id, "writes")
    write = rows.select(transaction, organization_id, write_id)
    if write is None:
        raise WriteNotFound(
            f"This organization has no write {write_id}. See the list (`get_writes`, `backmarket writes list`)."
        )
    if write.state not in states or (write.open and not rows.may_decide(transaction, write)):
        at = f", and you may decide after {write.settle_at:%Y-%m-%d %H:%M:%S %Z}" if write.settle_at else ""
        goes_on = f"it continues by itself{at}" if write.open else "it has ended"
        raise NotUndecided(f"Write {write_id} is {write.state}, and needs no decision by a person: {goes_on}.")
    return write
