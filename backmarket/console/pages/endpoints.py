"""Endpoints for events, for operators: who is called, how that goes, and the forms that enable, disable and resend.

A URL may have a secret in it.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.numbers import whole_number
from backmarket.console.request_context import RequestContext
from backmarket.errors import BackMarketError, InvalidArgument

ENDPOINTS, ROWS = 100, 50
"""Number of endpoints, and of attempts, on a page."""
HERE = "/endpoints"


def show_all(context: RequestContext) -> Response:
    """The list, by number."""
    _operators_only(context)
    after = whole_number(context.asked("after") or "0")
    if after is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    found = context.bm.get_event_endpoints(after=after, limit=ENDPOINTS)
    more = len(found) == ENDPOINTS
    return context.render(
        "endpoints.html",
        endpoints=found,
        next_page=paths.with_query(HERE, {"after": found[-1].id}) if more else None,
        first_page=HERE if after else None,
    )


def show(context: RequestContext) -> Response:
    """One endpoint, and its newest attempts."""
    _operators_only(context)
    number, cursor = context.number("endpoint"), context.asked("cursor")
    endpoint = context.bm.get_event_endpoint(number)
    attempts = context.bm.get_event_attempts(number, limit=ROWS, cursor=cursor)
    here, following = f"{HERE}/{number}", attempts.next_cursor
    return context.render(
        "endpoint.html",
        endpoint=endpoint,
        attempts=attempts.items,
        here=here,
        next_page=paths.with_query(here, {"cursor": following}) if following else None,
        first_page=here if cursor else None,
    )


def do(context: RequestContext) -> Response:
    """Enable or disable an endpoint, or send it an event again."""
    number, what = context.number("endpoint"), context.given("what")
    try:
        if what == "enable":
            context.bm.enable_event_endpoint(number)
            context.say(f"Endpoint {number} gets events again, from where it stopped.")
        elif what == "disable":
            context.bm.disable_event_endpoint(number)
            context.say(f"Endpoint {number} gets no events.")
        elif what == "redeliver":
            context.bm.redeliver_events(number, context.given("event"))
            context.say("The event is sent again.")
        else:
            raise InvalidArgument("Choose what to do.")
    except BackMarketError as error:
        return context.go_back(f"{HERE}/{number}", error)
    return context.go_back(f"{HERE}/{number}")


def _operators_only(context: RequestContext) -> None:
    if not context.person.is_operator:
        raise HTTPException(HTTPStatus.FORBIDDEN, "Your role is viewer. This needs the role operator.")
