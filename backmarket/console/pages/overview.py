"""All organizations: their state, what fails and why, what waits for a limit."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.recent_overview import RecentOverview
from backmarket.console.request_context import RequestContext
from backmarket.console.sparkline import HOURS
from backmarket.errors import InvalidArgument
from backmarket.facade import BackMarket

ROWS = 25
"""Number of organizations on a page."""
SHOWN = 12
"""Maximum number of failing syncs, and of waiting entries, shown beside them."""


def recent(bm: BackMarket) -> RecentOverview:
    """What pages of a process share."""
    return RecentOverview(bm.get_overview, lambda: bm.get_throttled(limit=SHOWN + 1))


def show(context: RequestContext) -> Response:
    """The page; for an htmx request, only the part that changes."""
    return context.render("_overview.html" if context.is_partial else "overview.html", **_found(context))


def _found(context: RequestContext) -> dict[str, Any]:
    health, search, after = context.asked("health"), context.asked("search"), context.asked("after") or ""
    try:
        found = context.bm.get_connection_statuses(health=health, search=search, after=after, limit=ROWS + 1)
    except InvalidArgument:  # the user typed an unknown health into the address
        health, found = None, context.bm.get_connection_statuses(search=search, after=after, limit=ROWS + 1)
    statuses = found[:ROWS]
    failing = context.bm.get_status(failing=True, limit=SHOWN + 1)
    last = statuses[-1].connection.organization_id if len(found) > ROWS else None
    shared: RecentOverview = context.request.app.state.overview
    reading = shared.get()
    return {
        "overview": reading.overview,
        "counted_at": reading.at,
        "shipping": context.bm.count_orders_to_ship(),
        "statuses": statuses,
        "lags": context.bm.get_lag_history([each.connection.organization_id for each in statuses], hours=HOURS),
        "waits_of": context.bm.get_inbox_counts([each.connection.organization_id for each in statuses]),
        "failing": failing[:SHOWN],
        "more_failing": len(failing) > SHOWN,
        "throttled": reading.throttled[:SHOWN],
        "more_throttled": len(reading.throttled) > SHOWN,
        "health": health,
        "search": search,
        "here": paths.with_query("/", {"health": health, "search": search, "after": after}),
        "next_page": paths.with_query("/", {"health": health, "search": search, "after": last}) if last else None,
        "first_page": paths.with_query("/", {"health": health, "search": search}) if after else None,
    }
