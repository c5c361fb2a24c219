"""Requested changes at Back Market, and the forms that settle them."""

from __future__ import annotations

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.request_context import RequestContext
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.writes.models import WriteState

ROWS = 50


def show_all(context: RequestContext) -> Response:
    """The list, newest first."""
    connection = context.bm.get_connection_status(context.organization_id).connection
    state, cursor, fault = context.asked("state"), context.asked("cursor"), None
    try:
        found = context.bm.get_writes(context.organization_id, state=state, limit=ROWS, cursor=cursor)
    except InvalidArgument as error:
        state, fault = None, error.message
        found = context.bm.get_writes(context.organization_id, limit=ROWS)
    here = paths.organization(context.organization_id, "writes")
    following = found.next_cursor
    return context.render(
        "writes.html",
        connection=connection,
        writes=found.items,
        fault=fault,
        states=WriteState,
        state=state,
        here=here,
        next_page=paths.with_query(here, {"state": state, "cursor": following}) if following else None,
        first_page=paths.with_query(here, {"state": state}) if cursor else None,
        tab="writes",
    )


def settle(context: RequestContext) -> Response:
    """Send a write again, or settle it."""
    write, what = context.number("write"), context.given("what")
    try:
        if what == "retry":
            context.bm.retry_write(context.organization_id, write)
            context.say(f"Write {write} is queued again.")
        elif what in {"arrived", "not_arrived"}:
            context.bm.settle_write(context.organization_id, write, arrived=what == "arrived")
            context.say(f"Write {write} is settled.")
        else:
            raise InvalidArgument("Choose the outcome.")
    except BackMarketError as error:
        return context.go_back("/", error)
    return context.go_back("/")
