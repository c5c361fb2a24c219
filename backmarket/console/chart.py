"""Charts with axes as SVG, drawn on the server: columns by period, and rows by name.

Kinds of values differ by pattern, not by colour alone. Colours are classes of the style sheet: the content policy lets
no style into a page. A chart has a title and a description for screen readers, and the page has a table behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10

from markupsafe import Markup

WIDTH, HEIGHT = 400, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 4, 10, 22
_TICKS = 4
"""Maximum number of steps on the axis of values."""
_CHAR = 6.4
"""Width of a character on the axes; the style sheet sets the size of their text."""
_ROW, _NAMES = 20, 92
"""Height of a row, and width of the names beside rows."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind.

    Attributes:
        name: for the legend.
        values: one for each place; None: not known, or still to come.
        kind: class of the style sheet and number of the pattern, from 1 to 4.
    """

    name: str
    values: Sequence[float | None]
    kind: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, and the table behind it.

    Attributes:
        key: a name of its own within the page.
        title: its heading.
        summary: the sum in words.
        places: short names of the places on the axis.
        names: their names in full.
        series: the values, stacked from below.
        unknown: numbers of the places of which nothing is known.
        columns: heads of the table, without that of the places.
        cells: of the table: a row for each place that is shown, the name first.
        is_rows: it has a row for each place instead of a column.
    """

    key: str
    title: str
    summary: str
    places: Sequence[str]
    names: Sequence[str]
    series: Sequence[Series]
    unknown: frozenset[int] = field(default=frozenset())
    columns: Sequence[str]
    cells: Sequence[Sequence[str]]
    is_rows: bool = False

    @property
    def svg(self) -> Markup:
        """The drawing."""
        body, height = _rows(self) if self.is_rows else _columns(self)
        return Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{key}-t {key}-d">'
            '<title id="{key}-t">{title}</title><desc id="{key}-d">{summary}{more}</desc>{body}</svg>'
        ).format(w=WIDTH, h=height, key=self.key, title=self.title, summary=self.summary, more=self._more, body=body)

    @property
    def _more(self) -> str:
        known = [(total, name) for total, name in zip(_totals(self), self.names, strict=True) if total is not None]
        if not known or not max(known)[0]:
            return ""
        most = max(known, key=lambda each: each[0])
        return f" Most: {number(most[0])}, {most[1]}. The table below has all values."


def number(value: float) -> str:
    """A value in words, of at most one decimal."""
    text = f"{value:,.1f}".replace(",", "\u202f")
    return text.removesuffix(".0")


def _totals(chart: Chart) -> list[float | None]:
    places = zip(*(each.values for each in chart.series), strict=True)
    return [None if all(each is None for each in values) else sum(each or 0 for each in values) for values in places]


def _steps(most: float, *, whole: bool) -> list[float]:
    """The values on the axis, from 0: multiples of 1, 2 or 5 times a power of ten."""
    rough = max(most, 1e-9) / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    return [step * n for n in range(ceil(max(most, step) / step - 1e-9) + 1)]


def _short(value: float) -> str:
    """A value on the axis."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def _told(chart: Chart, place: int) -> str:
    """What a pointer over a place is told."""
    said = [(each.name, each.values[place]) for each in chart.series]
    parts = [
        number(value) if len(said) == 1 else f"{name} {number(value)}" for name, value in said if value is not None
    ]
    return f"{chart.names[place]}: {', '.join(parts) or 'not known'}"


def _columns(chart: Chart) -> tuple[Markup, int]:
    totals = _totals(chart)
    steps = _steps(max((each for each in totals if each), default=0), whole=_is_whole(chart))
    slot, bottom = (WIDTH - _LEFT - _RIGHT) / max(1, len(totals)), HEIGHT - _BOTTOM
    scale = (bottom - _TOP) / steps[-1]
    parts = []
    for value in steps:
        y = bottom - value * scale
        parts.append(_STEP.format(x=_LEFT, y=y, w=WIDTH - _RIGHT, t=_LEFT - 5, b=y + 4, v=_short(value)))
    longest = max((len(each) for each in chart.places), default=0) * _CHAR
    moved = max(0.0, longest / 2 - slot / 2 - _RIGHT)  # the last name, so that it stays within the picture
    every = max(1, ceil((longest + moved + 6) / slot))
    for place, label in enumerate(chart.places):
        left, base = _LEFT + place * slot, float(bottom)
        bars = Markup("")
        for each in chart.series:
            tall = max(0.0, each.values[place] or 0) * scale
            base -= tall
            bars += _bar(each.kind, left + slot * 0.14, base, slot * 0.72, tall) if tall else ""
        kind = "gap" if place in chart.unknown else "hit"
        told = _told(chart, place)
        parts.append(_PLACE.format(told=told, kind=kind, x=left, y=_TOP, w=slot, h=bottom - _TOP, bars=bars))
        if (len(chart.places) - 1 - place) % every == 0:
            half = len(label) * _CHAR / 2
            parts.append(_LABEL.format(x=min(max(left + slot / 2, half), WIDTH - half), y=HEIGHT - 6, label=label))
    parts.append(_BASE.format(x=_LEFT, y=bottom, w=WIDTH - _RIGHT))
    return Markup("").join(parts), HEIGHT


def _rows(chart: Chart) -> tuple[Markup, int]:
    totals = [each or 0 for each in _totals(chart)]
    scale = (WIDTH - _NAMES - 48) / (max(totals, default=0) or 1)
    parts = []
    for place, total in enumerate(totals):
        top = place * _ROW + 2
        bar = _bar(1, _NAMES, top + 2, max(total * scale, 0.5), _ROW - 6)
        end, told, name = _NAMES + total * scale + 5, _told(chart, place), chart.places[place]
        parts.append(_BAR.format(told=told, n=_NAMES - 6, y=top + 13, name=name, bar=bar, x=end, total=number(total)))
    return Markup("").join(parts), max(1, len(totals)) * _ROW + 4


def _bar(kind: int, left: float, top: float, width: float, height: float) -> Markup:
    return _RECT.format(k=kind, x=left, y=top, w=width, h=height)


def _is_whole(chart: Chart) -> bool:
    return all(float(value).is_integer() for each in chart.series for value in each.values if value is not None)


_STEP = Markup(
    '<path class="grid" d="M{x} {y:.1f}H{w}"/><text class="value" x="{t}" y="{b:.1f}">{v}</text>'
)  # fmt: skip
_PLACE = Markup(
    '<g><title>{told}</title><rect class="{kind}" x="{x:.1f}" y="{y}" width="{w:.1f}" height="{h}"/>{bars}</g>'
)
_LABEL = Markup('<text class="place" x="{x:.1f}" y="{y}">{label}</text>')
_BASE = Markup('<path class="base" d="M{x} {y}.5H{w}"/>')
_RECT = Markup('<rect class="s{k}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="url(#p{k})"/>')
_BAR = Markup(
    '<g><title>{told}</title><text class="value" x="{n}" y="{y}">{name}</text>{bar}'
    '<text class="total" x="{x:.1f}" y="{y}">{total}</text></g>'
)
