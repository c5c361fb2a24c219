"""Fetch one row from the API now, in the caller's process, without waiting for a sync."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from backmarket import connections
from backmarket.database import Transaction
from backmarket.errors import (
    BrokenAnswer,
    LeaseLost,
    NotAvailable,
    NotFound,
    TerminalError,
    Unauthorized,
)
from backmarket.queries.listings import STORED_LISTINGS, Listing, listing_key
from backmarket.queries.orders import STORED_ORDERS, Order
from backmarket.queries.pagination import Stored
from backmarket.queries.shipments import STORED_DELIVERIES, STORED_RETURNS, Delivery, Return
from backmarket.resources import DELIVERIES, LISTINGS, ORDERS, RETURNS, Resource, Row, as_in, listings_in
from backmarket.services import Services
from backmarket.sync.label_register import InitialLabelState, requeue_skipped
from backmarket.sync.page_fetcher import Fetcher
from backmarket.sync.upsert import store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FetchScope:
    """Which connection a fetch uses, and in which market.

    Args:
        environment: must be the connection's, if given.
        locale: another than the connection's.
        market: of listings: one of the connection's markets, in place of `locale`.
    """

    organization_id: str
    environment: str | None = None
    locale: str | None = None
    market: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A fetched row.

    Attributes:
        row: as fetched.
        locale: of its prices and texts.
        generation: of the connection that it was fetched with.
    """

    row: Row
    locale: str
    generation: int


def fetch_order(services: Services, scope: FetchScope, order_id: int) -> Order:
    """Fetch one order, and store it with its lines; see `BackMarket.fetch_order`."""
    return _keep(services, STORED_ORDERS, ORDERS, scope, ask(services, ORDERS, scope, order_id))


def fetch_listing(services: Services, scope: FetchScope, listing_id: UUID | str | int) -> Listing:
    """Fetch one listing, and store it; see `BackMarket.fetch_listing`."""
    answered = ask(services, LISTINGS, scope, listing_key(listing_id))
    return _keep(services, STORED_LISTINGS, LISTINGS, scope, answered)


def fetch_delivery(services: Services, scope: FetchScope, shipment_id: int, labels: InitialLabelState) -> Delivery:
    """Fetch one delivery, and store it; see `BackMarket.fetch_delivery`."""
    answered = ask(services, DELIVERIES, scope, shipment_id)
    return _keep(services, STORED_DELIVERIES, DELIVERIES, scope, answered, labels)


def fetch_return(services: Services, scope: FetchScope, shipment_id: int, labels: InitialLabelState) -> Return:
    """Fetch one return, and store it; see `BackMarket.fetch_return`."""
    answered = ask(services, RETURNS, scope, shipment_id)
    return _keep(services, STORED_RETURNS, RETURNS, scope, answered, labels)


def ask(services: Services, resource: Resource, scope: FetchScope, key: object) -> Answered:
    """Fetch one row by its id, within the limits, with retries where they may help.

    Args:
        resource: of the row.
        scope: for whom, and how.

    Raises:
        Unauthorized: if the API refuses the key; its account pauses.
        BackMarketError: if it could not be fetched; the text says what to do.
    """
    credentials, generation = connections.credentials(
        services.database,
        services.key_cipher,
        services.settings,
        scope.organization_id,
        environment=scope.environment,
        locale=scope.locale,
        market=scope.market,
    )
    fetcher = Fetcher(services.transport, services.limiter, credentials, resource, services.request_threads)
    try:
        row = fetcher.one(str(key))
    except TerminalError as error:
        if isinstance(error, Unauthorized):
            with services.database.transaction() as transaction:
                connections.mark_unauthorized(transaction, scope.organization_id, generation, error)
        raise _explained(error, resource, key) from None
    if row is None:
        raise BrokenAnswer(f"The API's answer for {key} of {resource.name} has no usable id: try again later.")
    return Answered(row, credentials.locale, generation)


def _explained(error: TerminalError, resource: Resource, key: object) -> TerminalError:
    """The same error, with advice added."""
    what_to_do = {
        Unauthorized: "The key is tried once more in half a minute. If that is refused, too, connect this organization"
        " with a new key (`upsert_connection`, `connections add`).",
        NotAvailable: f"Ask Back Market to open {resource.name} to this account;"
        " deliveries and returns need a BackShip subscription.",
        NotFound: f"Is {key} an id of {resource.name} of this very account? What is stored stays as it is; a sync finds"
        " out whether it is gone.",
    }.get(type(error))
    message = f"{error.message} {what_to_do}" if what_to_do else error.message
    return type(error)(message, status=error.status, request_id=error.request_id, cf_ray=error.cf_ray)


def _keep(
    services: Services,
    stored: Stored[T],
    resource: Resource,
    scope: FetchScope,
    answered: Answered,
    labels: InitialLabelState = "wanted",
) -> T:
    """Store a row, unless it is of a market that is not copied; return it as it then is, or as that market shows it.

    Takes the locks of a sync, in its order, so the two take turns.

    Raises:
        LeaseLost: if the connection was changed meanwhile.
        BrokenAnswer: if PostgreSQL cannot store it.
    """
    organization_id = scope.organization_id
    with services.database.transaction() as transaction:
        transaction.execute(
            "SELECT FROM backmarket.sync_state WHERE organization_id = %s AND resource = %s ORDER BY market FOR UPDATE",
            (organization_id, resource.name),
        )
        found = transaction.execute(
            "SELECT locale, markets FROM backmarket.connections"
            " WHERE organization_id = %s AND generation = %s AND enabled FOR SHARE",
            (organization_id, answered.generation),
        ).fetchone()
        if found is None:
            raise LeaseLost("The connection was changed during the request, so nothing was stored. Repeat it.")
        if found[0] != answered.locale:
            if resource is LISTINGS and answered.locale in found[1]:
                market = listings_in(answered.locale)
                store(transaction, market, organization_id, filter(None, [as_in(market, answered.row)]))
            return _typed(transaction, stored, resource, organization_id, answered)
        store(transaction, resource, organization_id, [answered.row], labels=labels, links=True)
        if resource.label and labels == "wanted":  # even if the row has not changed
            requeue_skipped(transaction, resource, organization_id, answered.row.key)
        kept = stored.select(transaction, organization_id, answered.row.key)
    if kept is None:
        raise BrokenAnswer(f"The API's answer has a value that cannot be stored among {resource.name}.")
    return kept


def _typed(
    transaction: Transaction, stored: Stored[T], resource: Resource, organization_id: str, answered: Answered
) -> T:
    """A row as it would be if it were stored: PostgreSQL converts its values in the same way."""
    row = answered.row
    columns = {column.name: column for column in (resource.key, *resource.columns)}
    values = dict(zip((column.name for column in resource.sent), row.values, strict=True))
    made = {"organization_id": "%(organization)s", "raw": "%(raw)s::jsonb", "first_seen_at": "now()"}
    made |= {"last_synced_at": "now()", "market": "%(market)s"}
    for name, column in columns.items():
        cut = f"NULLIF(%(raw)s::jsonb -> %({name})s, 'null')"
        made[name] = cut if column.kind == "jsonb" else f"%({name})s::{column.kind}"
        if column.kind == "jsonb":
            values[name] = column.source
    own = {"organization": organization_id, "market": answered.locale, "raw": row.raw}
    names = [each.name for each in fields(stored.row)]  # type: ignore[arg-type]
    statement = sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(sql.SQL(f"{made.get(name, 'NULL')} AS {{}}").format(sql.Identifier(name)) for name in names)
    )
    with transaction.cursor(row_factory=class_row(stored.row)) as cursor:
        found = cursor.execute(statement, {**values, **own}).fetchone()
    assert found is not None  # noqa: S101 - a SELECT without FROM has a row
    return found
