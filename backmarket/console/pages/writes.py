"""Changes at Back Market that were asked for, and what a person decides about them."""

from __future__ import annotations

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.visit import Visit
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.writes.models import WriteState

ROWS = 50


def show_all(visit: Visit) -> Response:
    """The list, newest first."""
    connection = visit.bm.get_connection_status(visit.organization_id).connection
    state, cursor, fault = visit.asked("state"), visit.asked("cursor"), None
    try:
        found = visit.bm.get_writes(visit.organization_id, state=state, limit=ROWS, cursor=cursor)
    except InvalidArgument as error:
        state, fault = None, error.message
        found = visit.bm.get_writes(visit.organization_id, limit=ROWS)
    here = paths.organization(visit.organization_id, "writes")
    following = found.next_cursor
    return visit.render(
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


def decide(visit: Visit) -> Response:
    """Send a write again, or say what became of it."""
    write, what = visit.number("write"), visit.given("what")
    try:
        if what == "retry":
            visit.bm.retry_write(visit.organization_id, write)
            visit.say(f"Write {write} is sent again.")
        elif what in {"arrived", "not_arrived"}:
            visit.bm.settle_write(visit.organization_id, write, arrived=what == "arrived")
            visit.say(f"Write {write} is settled.")
        else:
            raise InvalidArgument("Choose what became of it.")
    except BackMarketError as error:
        visit.say(str(error), bad=True)
    return visit.go(paths.local(visit.given("back")))
