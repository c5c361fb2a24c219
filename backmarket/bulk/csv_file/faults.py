"""What is wrong with a line of a bulk file, in words that say what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import category

FAULTS_KEPT = 10_000
"""How many are shown; the others are counted. A file with more has one mistake, many times."""

FAULTS_OF_A_LINE = 20
"""Faults told of one line; a line with more is damaged as a whole."""

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one line.

    Attributes:
        line: where the record begins in the file, from 1.
        column: its name, as the file has it; None: the fault is the whole line's.
        value: what stands there, cut to 40 characters; None where it may be personal, such as a comment.
        problem: what is wrong with it.
        expected: what to write instead.
        letter: the column as Excel names it, such as C; None: not known.
        row: the row as Excel numbers it; None: that of `line`. Cells of several lines make the two differ.
    """

    line: int
    column: str | None
    value: str | None
    problem: str
    expected: str
    letter: str | None = None
    row: int | None = None

    @property
    def place(self) -> str:
        """Where in the file, as Excel shows it: `row 7, column C (price)`."""
        return ", ".join(filter(None, (f"row {self.row or self.line}", self.place_in_row)))

    @property
    def place_in_row(self) -> str:
        """The column, as Excel shows it: `column C (price)`; empty: the whole row."""
        if self.letter is None:
            return "" if self.column is None else f"column {self.column}"
        return f"column {self.letter} ({self.column})" if self.column else f"column {self.letter}"

    def __str__(self) -> str:
        value = "" if self.value is None else f': "{self.value}"'
        end = "" if self.problem.endswith("?") else "."
        return f"{self.place}{value} {self.problem}{end} {self.expected[:1].upper()}{self.expected[1:]}"


def letter(at: int) -> str:
    """The name that Excel gives to a column, counted from 0."""
    name, at = "", at + 1
    while at:
        at, rest = divmod(at - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def shown(value: str) -> str:
    """A value as a fault shows it: on one line, not longer than a glance, what cannot be printed escaped."""
    cut = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
    return "".join(each if each.isprintable() else " " if category(each) == "Zs" else ascii(each)[1:-1] for each in cut)
