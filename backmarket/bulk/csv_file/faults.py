"""What is wrong with a line of a bulk file, in words that say what to write instead."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS_KEPT = 10_000
"""How many are shown; the others are counted. A file with more has one mistake, many times."""

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one line.

    Attributes:
        line: where the record begins in the file, from 1.
        column: its name, as the file has it; None: it is the line's as a whole.
        value: what stands there, cut to 40 characters; None where it may be personal, such as a comment.
        problem: what is wrong with it.
        expected: what to write instead.
    """

    line: int
    column: str | None
    value: str | None
    problem: str
    expected: str

    def __str__(self) -> str:
        where = f"line {self.line}, {self.column}" if self.column is not None else f"line {self.line}"
        value = "" if self.value is None else f'"{self.value}" '
        return f"{where}: {value}{self.problem}; {self.expected}"


def shown(value: str) -> str:
    """A value as a fault shows it: on one line, not longer than a glance, what can't be printed escaped."""
    cut = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)
