"""Deliveries, returns and their labels: what is under way, and where its label is."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.numbers import whole_number
from backmarket.console.rendering import counted
from backmarket.console.request_context import RequestContext
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.labels.queries import SHIPMENTS, LabelState
from backmarket.queries.shipments import ShipmentStage

ROWS = 50
"""Number of parcels on a page."""


def deliveries(context: RequestContext) -> Response:
    """The parcels to customers."""
    return _parcels(context, "deliveries", context.bm.get_deliveries)


def returns(context: RequestContext) -> Response:
    """The parcels from customers."""
    return _parcels(context, "returns", context.bm.get_returns)


def labels(context: RequestContext) -> Response:
    """The labels by state."""
    chosen = {name: context.asked(name) or "" for name in ("state", "resource")}
    found, fault = None, None
    connection = context.bm.get_connection_status(context.organization_id).connection
    try:
        asked: dict[str, Any] = {name: value for name, value in chosen.items() if value}
        found = context.bm.get_labels(context.organization_id, limit=ROWS, cursor=context.asked("cursor"), **asked)
    except InvalidArgument as error:
        fault = error.message
    return context.render(
        "labels.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        labels=found.items if found else [],
        fault=fault,
        states=LabelState,
        resources=SHIPMENTS,
        tab="labels",
        **_pages(context, "labels", chosen, found.next_cursor if found else None),
    )


def fetch_labels(context: RequestContext) -> Response:
    """Have workers fetch the labels again that were given up, or wait for a retry."""
    here = paths.organization(context.organization_id, "labels")
    try:
        context.say(f"Workers fetch {counted(context.bm.fetch_labels(context.organization_id), 'label')} now.")
    except BackMarketError as error:
        return context.go_back(here, error)
    return context.go_back(here)


def _parcels(context: RequestContext, resource: str, get: Callable[..., Any]) -> Response:
    chosen = {name: context.asked(name) or "" for name in ("stage", "tracking", "order")}
    found, fault = None, None
    connection = context.bm.get_connection_status(context.organization_id).connection
    try:
        found = get(context.organization_id, limit=ROWS, cursor=context.asked("cursor"), **_filters(chosen))
    except InvalidArgument as error:
        fault = error.message
    return context.render(
        "parcels.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        resource=resource,
        parcels=found.items if found else [],
        fault=fault,
        stages=ShipmentStage,
        tab=resource,
        **_pages(context, resource, chosen, found.next_cursor if found else None),
    )


def _pages(context: RequestContext, tab: str, chosen: dict[str, str], following: str | None) -> dict[str, Any]:
    here = paths.organization(context.organization_id, tab)
    return {
        "chosen": chosen,
        "filtered": any(chosen.values()),
        "next_page": paths.with_query(here, chosen | {"cursor": following}) if following else None,
        "first_page": paths.with_query(here, chosen) if context.asked("cursor") else None,
    }


def _filters(chosen: dict[str, str]) -> dict[str, Any]:
    order = whole_number(chosen["order"])
    if chosen["order"] and order is None:
        raise InvalidArgument(f"An order's number has digits only, not {chosen['order'][:40]!r}.")
    return {
        "stage": chosen["stage"] or None,
        "tracking_number": chosen["tracking"] or None,
        "order_id": order,
    }
