"""Plots as SVG, by hand: bars, and nothing else, which needs no library and can be read in a diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT, ROW = 720, 190, 70, 22
COLOURS = ("#4c78a8", "#f58518", "#54a24b")


def bars(title: str, rows: Mapping[str, Sequence[float]], legend: Sequence[str], *, unit: str = "") -> str:
    """Horizontal bars, the parts of each one after the other.

    Args:
        title: above.
        rows: by what each bar is called, the sizes of its parts.
        legend: what the parts are.
        unit: of the sizes.
    """
    most = max((sum(parts) for parts in rows.values()), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    height = 60 + ROW * len(rows) + 10
    drawn = [_text(10, 22, title, size=15, weight="bold"), *_legend(legend)]
    for number, (name, parts) in enumerate(rows.items()):
        top = 56 + ROW * number
        drawn.append(_text(LEFT - 8, top + 14, name, anchor="end"))
        x = float(LEFT)
        for colour, size in zip(COLOURS, parts, strict=False):
            drawn.append(f'<rect x="{x:.1f}" y="{top}" width="{size * scale:.1f}" height="{ROW - 5}" fill="{colour}"/>')
            x += size * scale
        drawn.append(_text(x + 5, top + 14, f"{sum(parts):,.6g}{unit}"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="sans-serif" font-size="12" fill="#222">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def histogram(title: str, values: Sequence[float], step: float, *, unit: str = "") -> str:
    """How many values lie in each step.

    Args:
        title: above.
        values: what is counted.
        step: the width of a class.
        unit: of the values.
    """
    counts: dict[int, int] = {}
    for value in values:
        counts[int(value // step)] = counts.get(int(value // step), 0) + 1
    if not counts:
        return bars(title, {}, ())
    classes = range(min(counts), max(counts) + 1)
    rows = {f"{one * step:g} to {(one + 1) * step:g}{unit}": (float(counts.get(one, 0)),) for one in classes}
    return bars(title, rows, ())


def _legend(names: Sequence[str]) -> list[str]:
    drawn, x = [], LEFT
    for colour, name in zip(COLOURS, names, strict=False):
        drawn.append(f'<rect x="{x}" y="34" width="11" height="11" fill="{colour}"/>')
        drawn.append(_text(x + 16, 44, name))
        x += 36 + 7 * len(name)
    return drawn


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
