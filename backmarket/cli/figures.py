"""`backmarket figures`: orders, revenue, returns, dispatch and stock over time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backmarket.cli.output import as_document, note, print_json, print_table, say
from backmarket.cli.parameters import AsJson, Sku, examples
from backmarket.cli.session import opened

if TYPE_CHECKING:
    from backmarket.queries.figures import Figures
    from backmarket.queries.periods import Period


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples("figures", "figures shop-1 --span year --time-zone Europe/Paris", "figures --csv > month.csv")
    )(figures)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-01-31.") from None


def figures(
    organization: Annotated[str | None, typer.Argument(metavar="ORG", help="Only of this organization.")] = None,
    span: Annotated[str, typer.Option(metavar="SPAN", help="day, week, month, quarter or year.")] = "month",
    until: Annotated[
        date | None,
        typer.Option(
            metavar="DATE",
            parser=_day,
            help="Last day; a quarter ends with its week, a year with its month. Default: today.",
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose days, such as Europe/Paris. Default: the setting's.")
    ] = None,
    sku: Sku = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a row for each period, market and currency.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count orders, revenue, cancellations, returns and dispatch by period, and the stock by SKU."""
    if as_csv and as_json:
        raise typer.BadParameter("Choose --csv or --json.")
    with opened() as bm:
        if organization is not None:
            bm.get_connection_status(organization)  # a mistyped id is no empty table
        found = bm.get_figures(organization, span=span, until=until, time_zone=time_zone, sku=sku)
    if as_csv:
        from backmarket.facade.figures_csv import write_csv

        write_csv(sys.stdout.buffer, found)
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(_document(found))
    else:
        _print(found)
    for each in _warnings(found):
        note(each)


def _document(found: Figures) -> dict[str, Any]:
    document = as_document(found)
    for name in ("periods", "rows", "skus"):
        document[name] = [as_document(each) for each in document[name]]
    return document


def _print(found: Figures) -> None:
    print_table(
        ("PERIOD", "ORDERS", "UNITS", "CANCELLED", "REFUNDED", "RETURNS", "IN TIME", "LATE", "OVERDUE", "HOURS"),
        [(_name(period), *_counts(found, period)) for period in found.periods if period.starts_at <= found.counted_at],
    )
    if money := list(_money(found)):
        say()
        print_table(("MARKET", "CURRENCY", "ORDERS", "REVENUE", "CANCELLED", "REFUNDED"), money)
    if found.skus:
        say()
        print_table(
            ("SKU", "SOLD", "STOCK NOW", "TITLE"),
            [(each.sku, each.units, each.quantity, each.title) for each in found.skus],
        )


def _counts(found: Figures, period: Period) -> tuple[object, ...]:
    if not found.is_known(period):
        return (None,) * 9
    each, hours = found.total(period), None
    if each.dispatch_hours is not None:
        hours = f"{each.dispatch_hours:.1f}"
    return (
        each.orders, each.units, each.cancelled_lines, each.refunded_lines, each.returns, each.in_time, each.late,
        each.overdue, hours,
    )  # fmt: skip


def _money(found: Figures) -> Iterator[tuple[object, ...]]:
    for currency in found.currencies:
        for market in [*found.markets, None]:
            each = found.total(country_code=market, currency=currency)
            if market is None or not each.is_empty:
                yield market or "all", currency, each.orders, each.revenue, each.cancelled, each.refunded


def _name(period: Period) -> str:
    if period.ends_at - period.starts_at < timedelta(hours=2):
        return period.starts_at.strftime("%Y-%m-%d %H:%M")
    first, last = period.first_day.isoformat(), period.last_day.isoformat()
    return first if first == last else f"{first} to {last}"


def _warnings(found: Figures) -> Iterator[str]:
    """What has to be known about the figures."""
    if found.known_since is not None and found.periods[0].starts_at < found.known_since:
        yield f"Nothing is known before {found.known_since:%Y-%m-%d %H:%M} UTC, the oldest stored order."
    for resource, organizations in sorted(found.incomplete.items()):
        whose = "1 organization" if organizations == 1 else f"{organizations} organizations"
        yield f"The {resource} of {whose} were never copied completely: these figures are too low."
