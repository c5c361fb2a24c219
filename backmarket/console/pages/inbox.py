"""Inbox: whatever goes on only once a person has decided or done something, each with its reason and its buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.rendering import counted
from backmarket.console.request_context import RequestContext
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.resources import ResourceName

ROWS = 100
"""Maximum number of entries that are shown."""
HERE = "/inbox"


def show(context: RequestContext) -> Response:
    """The page."""
    seller = context.asked("seller")
    connection = context.bm.get_connection_status(seller).connection if seller else None
    items = context.bm.get_inbox(seller, limit=ROWS)
    writes = {
        item.write_id: context.bm.get_write(item.organization_id, item.write_id)
        for item in items
        if item.organization_id and item.write_id
    }
    here = paths.with_query(HERE, {"seller": seller})
    return context.render("inbox.html", connection=connection, items=items, writes=writes, here=here, tab="inbox")


def count(context: RequestContext) -> Response:
    """The number beside the page's name."""
    return context.render("_inbox_count.html", inbox=context.bm.count_inbox())


def act(context: RequestContext) -> Response:
    """Do what a button says; the page then shows the result."""
    does = _ACTS.get(context.given("what") or "")
    try:
        if does is None:
            raise InvalidArgument("Choose one of the buttons.")
        context.say(does(context))
    except BackMarketError as error:
        return context.go_back(HERE, error)
    return context.go_back(HERE)


def _fetch_labels(context: RequestContext) -> str:
    due = context.bm.fetch_labels(context.organization_id)
    return f"Workers fetch {counted(due, 'label')} of {context.organization_id} now."


def _try_key(context: RequestContext) -> str:
    context.bm.enable_connection(context.organization_id)
    return f"Workers try the key of {context.organization_id} now."


def _look_again(context: RequestContext) -> str:
    context.bm.sync(context.organization_id, _resource(context), full=True, market=context.given("market") or "")
    return f"Requested the whole list of {_resource(context)} of {context.organization_id}."


def _take_for_gone(context: RequestContext) -> str:
    market = context.given("market") or ""
    context.bm.sync(context.organization_id, _resource(context), accept_missing=True, market=market)
    return f"Workers ask for each missing row of {_resource(context)}, and mark those that are gone."


def _resource(context: RequestContext) -> ResourceName:
    return cast(ResourceName, context.given("resource") or "")


_ACTS: dict[str, Callable[[RequestContext], str]] = {
    "fetch_labels": _fetch_labels,
    "try_key": _try_key,
    "look_again": _look_again,
    "take_for_gone": _take_for_gone,
}
