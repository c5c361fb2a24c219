"""One sync task for each resource."""

from __future__ import annotations

import structlog
from celery import shared_task

from backmarket import messages, services
from backmarket.errors import BackMarketError, UsageError
from backmarket.messages import Nudge
from backmarket.observability import telemetry
from tasks.base import BackMarketTask

log = structlog.get_logger(__name__)


@shared_task(name=messages.SYNC_ORDERS, base=BackMarketTask)
def sync_orders(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Sync the orders of one organization, as far as one slice goes.

    Args:
        organization_id: the organization to sync.
        nudge: sync only if the row is due; without it, a sync is requested first.

    Returns:
        How the slice ended; or why it failed.
    """
    return _sync(organization_id, "orders", nudge)


@shared_task(name=messages.SYNC_LISTINGS, base=BackMarketTask)
def sync_listings(organization_id: str, nudge: bool = False, market: str = "") -> str | BackMarketError:
    """Sync the listings of one organization; see `sync_orders`.

    Args:
        organization_id: the organization to sync.
        nudge: sync only if the row is due; without it, a sync is requested first.
        market: the further market to sync; empty: that of the connection's locale, and without `nudge` all markets.

    Returns:
        How the slice ended, or why it failed; of all markets, that of the connection's locale.
    """
    return _sync(organization_id, "listings", nudge, market)


@shared_task(name=messages.SYNC_DELIVERIES, base=BackMarketTask)
def sync_deliveries(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Sync the deliveries of one organization; see `sync_orders`."""
    return _sync(organization_id, "deliveries", nudge)


@shared_task(name=messages.SYNC_RETURNS, base=BackMarketTask)
def sync_returns(organization_id: str, nudge: bool = False) -> str | BackMarketError:
    """Sync the returns of one organization; see `sync_orders`."""
    return _sync(organization_id, "returns", nudge)


def _sync(organization_id: str, resource: str, nudge: bool, market: str = "") -> str | BackMarketError:
    from backmarket.sync.engine import run_slice
    from backmarket.sync.requests import request_sync

    of = {"market": market} if market else {}
    with structlog.contextvars.bound_contextvars(organization=organization_id, resource=resource, **of):
        current = services.current()
        if not nudge:
            try:
                request = request_sync(current.database, organization_id, resource, market=market or None)
            except UsageError as error:
                log.warning("sync.request_refused", code=error.code, error=error.message)
                return error
            market = request.market
            if request.further:
                current.producer.nudge(Nudge(resource, organization_id, each.market) for each in request.further)
        result = run_slice(current, organization_id, resource, market)
        telemetry.emit("slice", work=resource, end=result.end)
        log.info("sync.slice", run=result.run, end=result.end, requests=result.requests)
        return result.error or result.end
