"""Output: tables for people, one JSON document for programs.

A field that a dataclass leaves out of its `repr` is a secret or personal data, and is left out here as well, unless
requested. Text from outside is printed literally: no markup, no control characters.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from backmarket.errors import BackMarketError

_ENDLESS: Final = 100_000
"""Width, in columns, of output that is not a terminal: nothing is wrapped or cut for a pipe or a file."""

_FOLDED: Final = 16
"""Minimum width of a folded column; a time fits."""

_GAP: Final = 2
"""Spaces between two columns."""

_STYLES: Final = {
    "ok": "green",
    "running": "cyan",
    "never": "yellow",
    "disabled": "dim",
    "off": "dim",
    "failing": "red",
    "unauthorized": "red",
    "no_key": "yellow",
    "not_available": "yellow",
    "incomplete": "yellow",
    "stored": "green",
    "wanted": "yellow",
    "skipped": "dim",
    "unavailable": "red",
    "succeeded": "green",
    "delivered": "green",
    "failed": "yellow",
    "given_up": "red",
    "pending": "yellow",
    "sending": "cyan",
    "refused": "red",
    "unknown": "red",
}
"""Colours of the words for a state or a health."""


def printable(text: str) -> str:
    """The text, with invisible and control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe(error: BackMarketError) -> str:
    """An error as one line."""
    return printable(str(error))


def say(text: str = "") -> None:
    """Print a line of data on standard output, in its encoding."""
    _write(sys.stdout, text)


def note(text: str) -> None:
    """Print a line for a person on standard error."""
    _write(sys.stderr, text)


def cell(value: object) -> str:
    """A value in a table."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        case IntEnum():
            return value.name.lower()
        case dict() | list():
            return _structure(value)
        case _:
            return printable(str(value))


def _structure(value: dict[Any, Any] | list[Any]) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return printable(", ".join(value)) or "-"
    return printable(json.dumps(value, ensure_ascii=False, default=plain))


class Word(str):
    """A state or a health, coloured by its first word."""

    __slots__ = ()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; times are in UTC. If it is too wide for the terminal, each row is a block of lines.

    Args:
        columns: the heads of the columns.
        rows: the values, in the same order.
    """
    from rich.table import Table

    cells = [[_text(value) for value in row] for row in rows]
    widths = [max([len(name), *(each[n].cell_len for each in cells)]) for n, name in enumerate(columns)]
    if sum(min(width, _FOLDED) + _GAP for width in widths) - _GAP > _width():
        for each in cells:
            print_facts({name.lower(): value for name, value in zip(columns, each, strict=True)})
            say()
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, width in zip(columns, widths, strict=True):
        table.add_column(name, min_width=min(width, _FOLDED), no_wrap=width <= _FOLDED, overflow="fold")
    for each in cells:
        table.add_row(*each)
    _show(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """One thing for people: a name and a value on each line."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _text(value))
    _show(table)


def print_json(document: object) -> None:
    """One JSON document, in ASCII, so that it is the same in any encoding."""
    say(json.dumps(document, indent=2, default=plain))


_EXPIRY = "_expires_at"
"""How a property is called that says when a link expires."""


def as_document(row: Any, *, personal: bool = False) -> dict[str, Any]:
    """A dataclass for a program.

    Args:
        row: one of the types that `BackMarket` returns.
        personal: include the fields that its `repr` leaves out, and when the links among them expire.
    """
    shown = {each.name: getattr(row, each.name) for each in fields(row) if each.repr or personal}
    if personal:
        shown |= {name: getattr(row, name) for name in vars(type(row)) if name.endswith(_EXPIRY)}
    return {name: as_document(value) if is_dataclass(value) else value for name, value in shown.items()}


def plain(value: object) -> object:
    """A value as JSON has it.

    Raises:
        TypeError: if JSON has no form of it.
    """
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Decimal() | UUID():
            return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _text(value: object) -> Text:
    from rich.text import Text

    if isinstance(value, Text):
        return value
    style = _STYLES.get(value.partition(" ")[0], "") if isinstance(value, Word) else ""
    return Text(cell(value), style)


def _write(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _ENDLESS


def _show(table: Table) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        Console(markup=False, highlight=False, emoji=False).print(table)
        return
    lines = StringIO()
    Console(file=lines, width=_ENDLESS, markup=False, highlight=False, emoji=False, color_system=None).print(table)
    say("\n".join(line.rstrip() for line in lines.getvalue().splitlines()))
