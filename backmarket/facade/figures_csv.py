"""Figures as a CSV file: a row for each period, market and currency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from backmarket.bulk.reports import CsvLines, neutral
from backmarket.queries.figures import COUNTED, Counts, Figures

HEADER = ("from", "until", "market", "currency", *COUNTED)


def write_csv(file: BinaryIO, figures: Figures) -> None:
    """Write them. Times have the offset of the zone, and `until` is the first moment after the period.

    A known period without anything has one row of zeros; one that is not known has none.
    """
    lines = CsvLines(file, HEADER)
    for cells in _rows(figures):
        lines.add(cells)


def _rows(figures: Figures) -> Iterator[tuple[object, ...]]:
    for period in figures.periods:
        if not figures.is_known(period):
            continue
        bounds = period.starts_at.isoformat(), period.ends_at.isoformat()
        rows = [each for each in figures.rows if each.starts_at == period.starts_at]
        if not rows:
            yield (*bounds, "", "", *_counted(Counts()))
        for row in rows:
            yield (*bounds, neutral(row.country_code or ""), neutral(row.currency or ""), *_counted(row))


def _counted(counts: Counts) -> Iterator[object]:
    return (getattr(counts, name) for name in COUNTED)
