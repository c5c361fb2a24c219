"""Saved filters of the page "To ship"."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.pages.shipping import FILTERS, HERE
from backmarket.console.request_context import RequestContext
from backmarket.errors import BackMarketError


def save(context: RequestContext) -> Response:
    """Save filters under a name."""
    name = context.given("name") or ""
    query = paths.query({key: value for key, value in parse_qsl(context.given("query") or "") if key in FILTERS})
    try:
        context.bm.save_console_view(context.person.name, name, query)
        context.say(f"Saved as {name}.")
    except BackMarketError as error:
        return context.go_back(HERE, error)
    return context.go_back(HERE)


def remove(context: RequestContext) -> Response:
    """Remove saved filters."""
    context.bm.remove_console_view(context.person.name, context.given("name") or "")
    context.say("The saved view is removed.")
    return context.go_back(HERE)
