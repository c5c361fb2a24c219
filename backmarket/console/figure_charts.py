"""The charts of the page "Figures", and the tables behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from backmarket.console.chart import Chart, Series
from backmarket.console.rendering import DASH, count, money
from backmarket.queries.figures import Counts, Figures
from backmarket.queries.periods import Period, Span
from backmarket.queries.stock import SkuFigures

_AXIS = {Span.DAY: "%H", Span.WEEK: "%a %-d", Span.MONTH: "%-d %b", Span.QUARTER: "%-d %b", Span.YEAR: "%b"}
_NAMES = {
    Span.DAY: "%H:%M",
    Span.WEEK: "%a %-d %b",
    Span.MONTH: "%a %-d %b",
    Span.QUARTER: "%-d %b",
    Span.YEAR: "%B %Y",
}

NO_BREAK = "\N{NO-BREAK SPACE}"
MONEY = ("revenue", "cancelled", "refunded")

Value = Callable[[Counts], float | Decimal | None]
Column = tuple[str, Callable[[Counts], str]]


@dataclass(frozen=True, slots=True)
class FigureCharts:
    """Makes the charts.

    Args:
        figures: what was counted.
        market: only of this market; None: of all.
        currency: only money of this currency; None: of each.
    """

    figures: Figures
    market: str | None
    currency: str | None

    def by_period(self) -> Iterator[Chart]:
        """The charts with a column for each period."""
        yield self._counts(
            "orders", "Orders", lambda each: f"{count(each.orders)} orders, {count(each.units)} pieces sold",
            [("orders", lambda each: each.orders)],
            [("Orders", _number("orders")), ("Pieces sold", _number("units")), ("Not paid", _number("not_paid"))],
        )  # fmt: skip
        for currency in self.currencies:
            yield self._money(currency)
        yield self._counts(
            "losses", "Cancelled and refunded", _losses,
            [("cancelled", lambda each: each.cancelled_lines), ("refunded", lambda each: each.refunded_lines)],
            [("Cancelled lines", _number("cancelled_lines")), ("Refunded lines", _number("refunded_lines"))],
            first_kind=2,
        )  # fmt: skip
        yield self._counts(
            "returns", "Returns", lambda each: f"{count(each.returns)} parcels from customers, by their creation",
            [("returns", lambda each: each.returns)], [("Returns", _number("returns"))],
        )  # fmt: skip
        yield self._counts(
            "deadline", "Dispatched by the deadline", _deadlines,
            [
                ("in time", lambda each: each.in_time), ("late", lambda each: each.late),
                ("overdue", lambda each: each.overdue), ("still has time", lambda each: each.waiting),
            ],
            [
                ("In time", _number("in_time")), ("Late", _number("late")), ("Overdue", _number("overdue")),
                ("Has time", _number("waiting")), ("Deadline not known", _number("no_deadline")),
            ],
        )  # fmt: skip
        yield self._counts(
            "hours", "Hours from order to dispatch", _hours, [("hours", lambda each: each.dispatch_hours)],
            [("Hours, mean", _mean_hours), ("Dispatched", lambda each: count(each.dispatched))],
        )  # fmt: skip

    @property
    def currencies(self) -> list[str]:
        """The currencies that are shown."""
        chosen = [each for each in self.figures.currencies if self.currency in {None, each}]
        return [each for each in chosen if not self._total(None, currency=each).is_empty]

    def markets(self) -> Chart | None:
        """Orders by market, with the money of each in the table."""
        markets = [(each, self._total(None, each)) for each in self.figures.markets if self.market in {None, each}]
        markets.sort(key=lambda each: -each[1].orders)
        if not markets:
            return None
        names = [name for name, _ in markets]
        cells = [
            [name, currency, count(each.orders), *(money(getattr(each, what), None) for what in MONEY)]
            for name in names
            for currency in self.currencies
            if not (each := self.figures.total(country_code=name, currency=currency)).is_empty
        ]  # fmt: skip
        orders = Series("orders", [each.orders for _, each in markets])
        return Chart(
            key="markets", title="Orders by market", summary=f"{len(names)} {_plural('market', len(names))}",
            places=names, names=names, series=[orders], is_rows=True,
            columns=("Currency", "Orders", "Revenue", "Cancelled", "Refunded"), cells=cells,
        )  # fmt: skip

    def stock(self, sku: SkuFigures) -> Chart:
        """The stock of a SKU at the end of each period."""
        known = [each for each in sku.stock if each is not None]
        summary = f"{count(sku.quantity)} now" if known else "Not known: no listing has this SKU"
        gaps = [
            place
            for place, (quantity, period) in enumerate(zip(sku.stock, self.figures.periods, strict=True))
            if quantity is None and period.starts_at <= self.figures.counted_at
        ]
        return Chart(
            key="stock", title=f"Stock of {sku.sku}", summary=summary, places=self._places, names=self.names,
            series=[Series("pieces", sku.stock)], unknown=frozenset(gaps), columns=("Stock at its end",),
            cells=[[name, count(each)] for name, each in zip(self.names, sku.stock, strict=True)],
        )  # fmt: skip

    @property
    def bounds(self) -> str:
        """The first and the last day."""
        first, last = self.figures.periods[0].first_day, self.figures.periods[-1].last_day
        return f"{first:%-d %B %Y}" if first == last else f"{first:%-d %B %Y} to {last:%-d %B %Y}"

    @property
    def names(self) -> list[str]:
        """The periods' names in full."""
        return [self._name(each) for each in self.figures.periods]

    @property
    def _places(self) -> list[str]:
        return [each.starts_at.strftime(_AXIS[self.figures.span]) for each in self.figures.periods]

    def _name(self, period: Period) -> str:
        """Its name; a date stays on one line."""
        name = period.starts_at.strftime(_NAMES[self.figures.span]).replace(" ", NO_BREAK)
        if self.figures.span is Span.QUARTER:
            name = f"{name} {DASH} {f'{period.last_day:%-d %b}'.replace(' ', NO_BREAK)}"
        goes_on = period.starts_at <= self.figures.counted_at < period.ends_at
        return f"{name} (so far)" if goes_on else name

    def _total(self, period: Period | None, market: str | None = None, currency: str = "") -> Counts:
        return self.figures.total(period, country_code=market or self.market, currency=currency)

    def _money(self, currency: str) -> Chart:
        def amount(name: str) -> Callable[[Counts], str]:
            return lambda each: money(getattr(each, name), None)

        return self._counts(
            f"money-{currency}", f"Revenue, {currency}", _amounts,
            [
                ("revenue", lambda each: each.revenue), ("cancelled", lambda each: each.cancelled),
                ("refunded", lambda each: each.refunded),
            ],
            [("Revenue", amount("revenue")), ("Cancelled", amount("cancelled")), ("Refunded", amount("refunded"))],
            currency=currency,
        )  # fmt: skip

    def _counts(
        self,
        key: str,
        title: str,
        summary: Callable[[Counts], str],
        series: Sequence[tuple[str, Value]],
        columns: Sequence[Column],
        *,
        currency: str = "",
        first_kind: int = 1,
    ) -> Chart:
        periods = self.figures.periods
        found = [self._total(each, currency=currency) if self.figures.is_known(each) else None for each in periods]
        begun = [each.starts_at <= self.figures.counted_at for each in periods]
        return Chart(
            key=key,
            title=title,
            summary=summary(self._total(None, currency=currency)),
            places=self._places,
            names=self.names,
            series=[
                Series(name, [_plain(value(each)) if each else None for each in found], kind)
                for kind, (name, value) in enumerate(series, first_kind)
            ],
            unknown=frozenset(n for n, each in enumerate(found) if each is None and begun[n]),
            columns=[name for name, _ in columns],
            cells=[
                [name, *(cell(each) if each else DASH for _, cell in columns)]
                for name, each, has_begun in zip(self.names, found, begun, strict=True)
                if has_begun
            ],
        )


def _number(name: str) -> Callable[[Counts], str]:
    return lambda each: count(getattr(each, name))


def _plain(value: float | Decimal | None) -> float | None:
    return None if value is None else float(value)


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _mean_hours(counts: Counts) -> str:
    return DASH if counts.dispatch_hours is None else f"{counts.dispatch_hours:.1f}"


def _amounts(counts: Counts) -> str:
    sold, cancelled, refunded = (money(getattr(counts, name), None) for name in MONEY)
    return f"{sold} sold, {cancelled} cancelled, {refunded} refunded"


def _losses(counts: Counts) -> str:
    before, after = count(counts.cancelled_lines), count(counts.refunded_lines)
    return f"{before} lines cancelled before shipping, {after} refunded after it"


def _deadlines(counts: Counts) -> str:
    told = counts.in_time + counts.late
    share = f"{100 * counts.in_time / told:.0f}% of {count(told)} in time" if told else "None was dispatched"
    late = f", {count(counts.overdue)} overdue" if counts.overdue else ""
    unknown = f"; of {count(counts.no_deadline)} the deadline is not known" if counts.no_deadline else ""
    return f"{share}{late}{unknown}"


def _hours(counts: Counts) -> str:
    if counts.dispatch_hours is None:
        return "None was dispatched"
    return f"{counts.dispatch_hours:.1f} hours on average, of {count(counts.dispatched)} orders"
