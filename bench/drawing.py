"""Plots as small SVG files: bars on a scale of powers of ten, and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

COLOURS = ("#2f6db5", "#d9822b", "#8a8f98")
WIDTH = 720
LEFT, RIGHT, TOP = 190, 70, 44
BAR, GAP = 13, 12
HEIGHT = 260

Bars = Mapping[str, Mapping[str, float]]
"""By what is measured, then by who did it."""


def bars(title: str, unit: str, figures: Bars) -> str:
    """Bars in groups, one group for each thing that was measured.

    Args:
        title: above.
        unit: behind each figure.
        figures: above zero.
    """
    who = list(dict.fromkeys(name for group in figures.values() for name in group))
    values = [value for group in figures.values() for value in group.values()]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    span = max(1, high - low)
    inner = WIDTH - LEFT - RIGHT
    parts = [text(0, 16, title, weight="bold"), *legend(who)]
    y = TOP
    for name, group in figures.items():
        middle = y + len(group) * BAR / 2 + 4
        parts.append(text(LEFT - 8, middle, name, anchor="end"))
        for label, value in group.items():
            length = max(2.0, inner * (log10(value) - low) / span)
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[who.index(label)]}"/>'
            )
            parts.append(text(LEFT + length + 5, y + BAR - 3, f"{value:.3g} {unit}"))
            y += BAR
        y += GAP
    ticks = [(LEFT + inner * step / span, 10.0 ** (low + step)) for step in range(span + 1)]
    for x, value in ticks:
        parts.insert(0, f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{y}" stroke="#d8dbe0"/>')
        parts.append(text(x, y + 14, f"{value:g}", anchor="middle"))
    return svg(y + 24, parts)


def lines(title: str, unit: str, figures: Mapping[str, Mapping[int, float]]) -> str:
    """Lines over sizes, on a scale of powers of ten below and an even one beside, from zero.

    Args:
        title: above.
        unit: of the figures.
        figures: by line, then by size.
    """
    names = list(figures)
    sizes = sorted({size for line in figures.values() for size in line})
    top = 1.15 * max(value for line in figures.values() for value in line.values())
    first, last = log10(sizes[0]), log10(sizes[-1])
    inner, floor_y = WIDTH - 70 - RIGHT, HEIGHT - 30

    def at(size: int, value: float) -> tuple[float, float]:
        return 70 + inner * (log10(size) - first) / (last - first), floor_y - (floor_y - TOP) * value / top

    parts = [text(0, 16, title, weight="bold"), *legend(names)]
    for share in (0.0, 0.5, 1.0):
        _, y = at(sizes[0], share * top)
        parts.append(f'<line x1="70" y1="{y:.1f}" x2="{70 + inner}" y2="{y:.1f}" stroke="#d8dbe0"/>')
        parts.append(text(62, y + 4, f"{share * top:.3g}", anchor="end"))
    parts.append(text(62, TOP - 10, unit, anchor="end"))
    parts += [text(at(size, 0)[0], floor_y + 18, f"{size:,}", anchor="middle") for size in sizes]
    for number, name in enumerate(names):
        points = [at(size, value) for size, value in sorted(figures[name].items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[number]}"/>' for x, y in points]
    return svg(HEIGHT, parts)


def legend(names: Sequence[str]) -> list[str]:
    """Who has which colour."""
    parts = []
    for number, name in enumerate(names):
        x = WIDTH - 110 * (len(names) - number)
        parts.append(f'<rect x="{x}" y="7" width="10" height="10" fill="{COLOURS[number]}"/>')
        parts.append(text(x + 15, 16, name))
    return parts


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def svg(height: float, parts: Sequence[str]) -> str:
    """The file."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif"'
    ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    return "\n".join([f'{head} font-size="11" fill="#22262b">', ground, *parts, "</svg>"]) + "\n"
