"""Queue a write: check it against the stored rows, then store it as a row before any worker sends it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from backmarket import audit, connections, work
from backmarket.bucket import deletion_queue
from backmarket.client.endpoints import check_locale
from backmarket.connections import Connection
from backmarket.connections.connection import select
from backmarket.database import Transaction
from backmarket.errors import IdempotencyConflict, InvalidArgument
from backmarket.messages import Nudge
from backmarket.queries.orders import OrderLineState
from backmarket.services import Services
from backmarket.writes import rows
from backmarket.writes.audited import act_of
from backmarket.writes.handle import WriteHandle
from backmarket.writes.models import NewWrite, Write
from backmarket.writes.request import validation
from backmarket.writes.request.models import WriteRequest, as_json
from backmarket.writes.request.stored_rows import line_of, lines_of, listing_id_of
from backmarket.writes.targets import listing_lane, order_lane

MAX_IDEMPOTENCY_KEY_CHARS = 200


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments that all writes share.

    Args:
        environment: must be the connection's, if given.
        locale: a market other than the connection's.
        idempotency_key: the caller's own name for this write.
        market: one of the connection's markets, in place of `locale`.
    """

    organization_id: str
    environment: str | None = None
    locale: str | None = None
    idempotency_key: str | None = None
    market: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A write as the caller requested it.

    Args:
        request: checked against the API document only, so that it does not depend on what is stored meanwhile.
        object_id: of the object to change.
        lane: of the row.
        check: checks against the stored rows and returns the request as it is sent.
        object_key: key of an invoice's file in the bucket.
        content: distinguishes the invoice's file from others.
    """

    request: WriteRequest
    object_id: str
    lane: str
    check: Callable[[Transaction], WriteRequest]
    object_key: str | None = None
    content: str = field(default="", repr=False)


def update_order(
    services: Services, call: Call, order_id: int, new_state: OrderLineState | int, given: Mapping[str, Any]
) -> WriteHandle:
    """Queue a change of an order; see `BackMarket.update_order`."""

    def build(_: Transaction, __: str) -> Asked:
        asked = validation.update_order(order_id, new_state, **given)
        return Asked(asked, str(asked.order_id), order_lane(asked.order_id), check)

    def check(transaction: Transaction) -> WriteRequest:
        lines = lines_of(transaction, call.organization_id, order_id)
        return validation.update_order(order_id, new_state, **given, lines=lines)

    return record(services, call, build)


def update_orderline(services: Services, call: Call, orderline_id: int, given: Mapping[str, Any]) -> WriteHandle:
    """Queue the registration of a device's identifiers; see `BackMarket.update_orderline`."""

    def build(transaction: Transaction, _: str) -> Asked:
        asked = validation.update_orderline(orderline_id, **given)
        line = line_of(transaction, call.organization_id, asked.orderline_id)
        return Asked(
            asked,
            str(asked.orderline_id),
            order_lane(line.order_id),
            lambda _: validation.update_orderline(orderline_id, **given, line=line),
        )

    return record(services, call, build)


def update_listing(
    services: Services, call: Call, listing_id: UUID | str | int | None, sku: str | None, changes: Mapping[str, Any]
) -> WriteHandle:
    """Queue a change of a listing; see `BackMarket.update_listing`."""
    if (listing_id is None) == (sku is None):
        raise InvalidArgument("Give either the listing's id or its SKU.")

    def build(transaction: Transaction, locale: str) -> Asked:
        known = listing_id_of(transaction, call.organization_id, listing_id, sku)
        asked = validation.update_listing(known, changes, locale=locale)
        return Asked(asked, str(known), listing_lane(known), lambda _: asked)

    return record(services, call, build)


def record(services: Services, call: Call, build: Callable[[Transaction, str], Asked]) -> WriteHandle:
    """Store the requested write as a row, and nudge a worker.

    Args:
        call: the common arguments.
        build: returns the requested write for a locale.

    Raises:
        InvalidWrite: if the write is invalid.
        NotStoredYet: if the object to change is not stored.
        IdempotencyConflict: if the key belongs to another write.
        UsageError: if the connection cannot be used, and no write with the same key exists yet.
    """
    _check_key(call.idempotency_key)
    services.need_broker()
    with services.database.transaction() as transaction:
        connection, locale = _meant(transaction, call)
        asked = build(transaction, locale)
        fingerprint = _fingerprint(asked, locale)
        write = existing_write(transaction, call, asked, fingerprint)
        if write is None:
            connections.check_usable(connection, call.environment)
            write = _insert(transaction, call, connection, locale, asked, fingerprint)
            work.make_due(transaction, call.organization_id, "writes")
    return handle_of(services, write)


def find(services: Services, call: Call, asked: Asked) -> WriteHandle | None:
    """The write that the same idempotency key queued before, found before any work is done for it; None: no such write.

    Raises:
        IdempotencyConflict: if the key belongs to another write.
        UsageError: if the connection cannot be used, or the object to change is not stored.
    """
    _check_key(call.idempotency_key)
    with services.database.transaction() as transaction:
        connection, locale = _meant(transaction, call)
        write = existing_write(transaction, call, asked, _fingerprint(asked, locale))
        if write is None:
            connections.check_usable(connection, call.environment)
            asked.check(transaction)
    return None if write is None else handle_of(services, write)


def handle_of(services: Services, write: Write) -> WriteHandle:
    """The handle of a write. If the write is open, nudges the workers that send writes."""
    nudged = not write.open or services.producer.nudge([Nudge("writes", write.organization_id)]) == 1
    return WriteHandle(write.organization_id, write.id, nudged, services.database)


def _meant(transaction: Transaction, call: Call) -> tuple[Connection, str]:
    """The connection, locked against changes until the transaction ends, and the locale of the write.

    Raises:
        ConnectionNotFound: if there is no connection.
        InvalidArgument: if the connection's region has no such locale, or the connection no such market.
    """
    transaction.execute(
        "SELECT FROM backmarket.connections WHERE organization_id = %s FOR SHARE", (call.organization_id,)
    )
    connection = select(transaction, call.organization_id)
    if call.market:
        return connection, connection.market_of(call.market) or connection.locale
    return connection, check_locale(connection.region, call.locale) if call.locale else connection.locale


def existing_write(transaction: Transaction, call: Call, asked: Asked, fingerprint: str) -> Write | None:
    """The write that the same idempotency key queued before; None: no such write.

    Raises:
        IdempotencyConflict: if the key belongs to another write.
    """
    if call.idempotency_key is None:
        return None
    write = rows.by_key(transaction, call.organization_id, call.idempotency_key)
    if write is None:
        return None
    same = write.kind == asked.request.kind and write.object_id == asked.object_id
    if not same or write.fingerprint not in {fingerprint, None}:
        raise IdempotencyConflict(
            f"Write {write.id}, which differs, has this idempotency key. Give each write a key of its own, and"
            " repeat a call with all of its arguments."
        )
    return write


def _insert(
    transaction: Transaction, call: Call, connection: Connection, locale: str, asked: Asked, fingerprint: str
) -> Write:
    """Insert a row; or return the row that a concurrent call with the same key inserted."""
    new = NewWrite(
        call.organization_id,
        asked.request.kind,
        asked.object_id,
        asked.lane,
        as_json(asked.check(transaction)),
        locale,
        connection.environment,
        connection.region,
        connection.base_url,
        call.idempotency_key,
        fingerprint,
        asked.object_key,
        audit.current_actor().label,
    )
    write = rows.insert(transaction, new)
    if write is not None:
        audit.record(transaction, act_of(write), audit.Outcome.ASKED)
        return write
    if asked.object_key is not None:
        deletion_queue.request(transaction, [asked.object_key])
    other = existing_write(transaction, call, asked, fingerprint)
    if other is None:
        raise IdempotencyConflict("A write with this idempotency key was dropped just now. Submit it again.")
    return other


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS and key.isprintable()):
        raise InvalidArgument(f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable characters.")


def _fingerprint(asked: Asked, locale: str) -> str:
    told = [asked.request.kind, asked.object_id, locale, as_json(asked.request), asked.content]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
