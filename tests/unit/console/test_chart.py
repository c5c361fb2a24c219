"""Charts: axes, bars and words, and that nothing of a name is taken for markup."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from backmarket.console.chart import HEIGHT, WIDTH, Chart, Series, _steps, number


def chart(*values: float | None, **changes: Any) -> Chart:
    names = [f"day {n}" for n in range(len(values))]
    made: dict[str, Any] = {
        "key": "orders", "title": "Orders", "summary": "some", "places": names, "names": names,
        "series": [Series("orders", values)], "columns": ("Orders",), "cells": [],
    }  # fmt: skip
    return Chart(**made | changes)


def bars(drawn: Chart, kind: int = 1) -> list[tuple[float, float]]:
    """Bottom and height of each bar."""
    found = re.findall(rf'class="s{kind}" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn.svg)
    return [(round(float(y) + float(tall), 1), float(tall)) for y, tall in found]


@pytest.mark.parametrize(
    ("most", "whole", "steps"),
    [
        (0, True, [0, 1]),
        (1, True, [0, 1]),
        (3, True, [0, 1, 2, 3]),
        (7, True, [0, 2, 4, 6, 8]),
        (100, True, [0, 50, 100]),
        (101, True, [0, 50, 100, 150]),
        (0.3, False, [0, 0.1, 0.2, 0.3]),
        (123456, True, [0, 50000, 100000, 150000]),
    ],
)
def test_the_axis_has_round_steps_up_to_the_most(most: float, whole: bool, steps: list[float]) -> None:
    assert _steps(most, whole=whole) == pytest.approx(steps)


def test_bars_are_in_proportion_and_stand_on_the_axis() -> None:
    (small, large) = bars(chart(5, 10, 0, None))
    assert small[0] == large[0]
    assert large[1] == pytest.approx(2 * small[1], abs=0.2)


def test_a_stack_stands_on_the_bars_below_it() -> None:
    drawn = chart(4, series=[Series("in time", [4], 1), Series("late", [2], 2)])
    (below,), (above,) = bars(drawn), bars(drawn, 2)
    assert above[0] == pytest.approx(below[0] - below[1], abs=0.2)


def test_what_is_not_known_is_marked_and_said() -> None:
    drawn = chart(None, 3, unknown=frozenset({0})).svg
    assert drawn.count('class="gap"') == 1
    assert "day 0: not known" in drawn
    assert "day 1: 3" in drawn


def test_it_is_described_and_well_formed_and_no_name_is_markup() -> None:
    drawn = chart(3, title="<script>", names=['"><img>'], places=["&"]).svg
    root = ElementTree.fromstring(drawn)
    named = {each.get("id"): each.text for each in root}
    assert [named[each] for each in str(root.get("aria-labelledby")).split()] == [
        "<script>",
        'some Most: 3, "><img>. The table below has all values.',
    ]
    assert "style=" not in drawn


@pytest.mark.parametrize("number_of_places", [1, 7, 12, 13, 24, 30])
def test_names_on_the_axis_do_not_overlap_or_leave_the_picture(number_of_places: int) -> None:
    drawn = chart(*range(number_of_places)).svg
    places = [(float(x), len(name)) for x, name in re.findall(r'class="place" x="([\d.]+)" y="\d+">([^<]+)', drawn)]
    edges = [(x - size * 3.2, x + size * 3.2) for x, size in places]
    assert places
    assert all(left >= 0 and right <= WIDTH for left, right in edges)
    assert all(right < left for (_, right), (left, _) in pairwise(edges))


def test_rows_have_their_names_and_values() -> None:
    drawn = chart(1200, 3, is_rows=True, places=["fr-fr", "de-de"]).svg
    assert re.findall(r">(fr-fr|de-de|1\u202f200|3)</text>", drawn) == ["fr-fr", "1\u202f200", "de-de", "3"]
    assert f"0 0 {WIDTH} {HEIGHT}" not in drawn


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1234.5, "1\u202f234.5"), (7.0, "7"), (0.25, "0.2")])
def test_values_in_words(value: float, text: str) -> None:
    assert number(value) == text
