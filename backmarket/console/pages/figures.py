"""Figures: orders, revenue, returns, dispatch and stock over time, as charts with tables, and as a CSV file."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from http import HTTPStatus
from io import BytesIO

from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.figure_charts import FigureCharts
from backmarket.console.request_context import RequestContext
from backmarket.errors import InvalidArgument
from backmarket.facade.figures_csv import write_csv
from backmarket.queries.figures import Figures
from backmarket.queries.periods import Span

FILTERS = ("seller", "span", "until", "zone", "market", "currency", "sku")
HERE = "/figures"
ZONES = ("UTC", "Europe/Paris", "Europe/London", "Europe/Athens", "America/New_York", "Asia/Tokyo", "Australia/Sydney")
"""Time zones that are suggested: those of Back Market's markets."""


def show(context: RequestContext) -> Response:
    """The page."""
    chosen, found, fault = _chosen(context), None, None
    seller = chosen["seller"] or None
    connection = context.bm.get_connection_status(seller).connection if seller else None
    try:
        found = _figures(context, chosen)
    except InvalidArgument as error:
        fault = error.message
    return context.render(
        "figures.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        connection=connection,
        chosen=chosen,
        figures=found,
        charts=FigureCharts(found, chosen["market"] or None, chosen["currency"] or None) if found else None,
        fault=fault,
        spans=[*Span],
        zones=ZONES,
        here=HERE,
        csv=paths.with_query(f"{HERE}/csv", chosen),
        earlier=_moved(chosen, found, -1) if found else None,
        later=_moved(chosen, found, 1) if found else None,
        tab="figures",
    )


def export(context: RequestContext) -> Response:
    """The file: each market and currency, whatever the page shows of them."""
    chosen, file = _chosen(context), BytesIO()
    if chosen["seller"]:
        context.bm.get_connection_status(chosen["seller"])  # a mistyped id is no empty file
    found = _figures(context, chosen)
    write_csv(file, found)
    name = f"figures-{found.span}-{found.periods[-1].last_day}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(file.getvalue(), media_type="text/csv", headers=headers)


def _chosen(context: RequestContext) -> dict[str, str]:
    chosen = {name: context.asked(name) or "" for name in FILTERS}
    return chosen | {"span": chosen["span"] or Span.MONTH.value}


def _figures(context: RequestContext, chosen: dict[str, str]) -> Figures:
    try:
        until = date.fromisoformat(chosen["until"]) if chosen["until"] else None
    except ValueError:
        raise InvalidArgument(f"{chosen['until'][:40]!r} is not a date such as 2026-01-31.") from None
    return context.bm.get_figures(
        chosen["seller"] or None,
        span=chosen["span"],
        until=until,
        time_zone=chosen["zone"] or None,
        sku=chosen["sku"] or None,
    )


def _moved(chosen: dict[str, str], found: Figures, direction: int) -> str | None:
    """The address of the span before or after this one; None: it is still to come."""
    first, last = found.periods[0].first_day, found.periods[-1].last_day
    if direction < 0:
        return paths.with_query(HERE, chosen | {"until": (first - timedelta(days=1)).isoformat()})
    until, today = last + (last - first) + timedelta(days=1), datetime.now(found.periods[0].starts_at.tzinfo).date()
    if last >= today:
        return None
    return paths.with_query(HERE, chosen | {"until": until.isoformat() if until < today else ""})
