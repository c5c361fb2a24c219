"""What is sent although Excel may have changed it: counted by kind, and told once for each."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Doubt(StrEnum):
    """A kind of doubt, and what a person reads of it."""

    LETTERS = (
        "Letters look broken in {rows}, first in {place}: the file was saved in the wrong encoding. Save it as CSV"
        " UTF-8 in Excel, or name its encoding."
    )
    NUMBERS = (
        "SKUs are numbers to Excel in {rows}, first in {place}: zeros that Excel shows before them are not sent. If"
        " they have some, set the column's format to Text in Excel, then type them again."
    )
    MONTHS = (
        "SKUs look like dates that Excel made of them in {rows}, first in {place}. If they are, set the column's format"
        " to Text in Excel, then type them again."
    )
    ALONE = "The SKU stands alone in {rows}, first in {place}: that changes nothing. Fill the row in, or delete it."


class Doubts:
    """Those of one file."""

    def __init__(self) -> None:
        self._rows: dict[Doubt, int] = {}
        self._first: dict[Doubt, str] = {}

    def note(self, doubt: Doubt, place: Callable[[], str]) -> None:
        """Count a row.

        Args:
            doubt: its kind.
            place: gives the row and the column as Excel shows them; called for the first one only.
        """
        if doubt not in self._first:
            self._first[doubt] = place()
        self._rows[doubt] = self._rows.get(doubt, 0) + 1

    def sentences(self) -> list[str]:
        """One for each kind."""
        return [
            doubt.format(rows="1 row" if count == 1 else f"{count} rows", place=self._first[doubt])
            for doubt, count in self._rows.items()
        ]
