"""Check whether a connection works: one request to the API that changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from backmarket import audit, connections
from backmarket.client import Credentials, check
from backmarket.client.rate_limited import send
from backmarket.errors import BackMarketError, Unauthorized
from backmarket.limits import wait_for_slot
from backmarket.resources import ORDERS, parse_page
from backmarket.services import Services


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """Result of the check.

    Attributes:
        ok: the key works.
        orders: number of orders, as the API counts them; None if it does not say, or the check failed.
        seconds: that the answer took.
        error: why the key does not work.
    """

    ok: bool
    orders: int | None
    seconds: float
    error: BackMarketError | None


def check_connection(services: Services, organization_id: str, *, timeout: float = 20.0) -> ConnectionCheck:
    """Request one page of orders with the connection's key.

    A key that the API accepts again is used again; one that it refuses pauses, see `mark_unauthorized`.

    Args:
        timeout: seconds to wait for the rate limit; with a Redis that was emptied, 15 s pass.

    Raises:
        ConnectionNotFound, ConnectionDisabled, ApiKeyMissing: if there is nothing to check.
    """
    database = services.database
    credentials, generation = connections.credentials(
        database, services.key_cipher, services.settings, organization_id, even_if_refused=True
    )
    began = monotonic()
    try:
        orders = count_orders(services, credentials, timeout=timeout)
    except BackMarketError as error:
        if isinstance(error, Unauthorized):
            with database.transaction() as transaction:
                connections.mark_unauthorized(transaction, organization_id, generation, error)
                audit.record(transaction, _act(organization_id), audit.Outcome.FAILED, error.code)
        return ConnectionCheck(ok=False, orders=None, seconds=monotonic() - began, error=error)
    with database.transaction() as transaction:
        connections.mark_authorized(transaction, organization_id, generation)
        audit.record(transaction, _act(organization_id))
    return ConnectionCheck(ok=True, orders=orders, seconds=monotonic() - began, error=None)


def count_orders(services: Services, credentials: Credentials, *, timeout: float = 20.0) -> int | None:
    """Number of orders as the API counts them, by one request for a page; None: it does not say.

    Args:
        credentials: to send.
        timeout: seconds to wait for the rate limit.

    Raises:
        BackMarketError: if the API does not accept the key, or could not be asked.
    """
    slot = wait_for_slot(services.limiter, credentials.account, timeout=timeout)
    pages = [("page", "1"), ("page-size", "1")]
    answer = send(services.transport, services.limiter, credentials, slot, ORDERS.path, pages)
    return parse_page(ORDERS, check(answer).body).count


def _act(organization_id: str) -> audit.Act:
    return audit.Act("connection.check", organization_id, "connection", organization_id)
