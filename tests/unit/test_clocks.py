"""No decision compares the clocks of two machines: PostgreSQL's `now()` decides what is due, late or over."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ROOMS = ("backmarket/bulk", "backmarket/writes", "backmarket/work")

MEASURES = {"backmarket/work/send_deadline.py": "a stopwatch within one process"}
"""Modules that read this machine's clock, and why that compares nothing."""


def reads_the_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(each.name == "time" for each in node.names)
    return isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_workers_own_clock_decides_nothing(room: str) -> None:
    paths = list((CHECKOUT / room).rglob("*.py"))
    reading = [path for path in paths if any(map(reads_the_clock, ast.walk(ast.parse(path.read_text()))))]
    assert {str(path.relative_to(CHECKOUT)) for path in reading} <= MEASURES.keys()
