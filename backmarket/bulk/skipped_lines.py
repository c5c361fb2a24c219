"""The lines of a file that are in no part, and why: bad ones and unchanged ones, or all lines of a refused file."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import BinaryIO

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap
from backmarket.bulk.csv_file.source import Broken, Record
from backmarket.bulk.reports import CsvLines, ReportLine
from backmarket.bulk.rows import Outcome
from backmarket.errors import FileFault

UNCHANGED = "By the latest sync of the listings, it changes nothing."
REFUSED = "The file was refused, so nothing of it was sent."


class LeftOut:
    """Skipped lines: line numbers in memory, messages in a temporary file.

    Args:
        texts: an empty file, open for reading and writing.
    """

    def __init__(self, texts: BinaryIO) -> None:
        self._texts = texts
        self._bad = array("Q")
        self._ends = array("Q")
        self._unchanged = array("Q")

    def __bool__(self) -> bool:
        return bool(self._bad) or bool(self._unchanged)

    def add_fault(self, fault: FileFault) -> None:
        """Add a fault of a bad line; a line may have several."""
        text = str(fault)
        end = self._ends[-1] if self._ends else 0
        self._ends.append(end + self._texts.write(text.encode("utf-8", "replace")))
        self._bad.append(fault.line)

    def add_unchanged(self, line: int) -> None:
        """Add a good line that changes nothing. Lines must be added in their order."""
        self._unchanged.append(line)

    def unchanged_lines(self) -> int:
        """Number of lines that change nothing, without bad ones."""
        bad = set(self._bad)
        return sum(line not in bad for line in self._unchanged)

    def write(
        self, into: BinaryIO, records: Iterable[Record | Broken], *, refused: bool, columns: ColumnMap = BY_NAME
    ) -> None:
        """Write the skipped lines as CSV, in the order of the file.

        Args:
            into: an empty file.
            records: of the file from its header on; empty if it has no header.
            refused: the whole file was refused, so every line is skipped.
            columns: under which names its columns are sent.
        """
        lines = CsvLines(into, ("line", "sku", "outcome", "message"))
        for each in self._lines(records, refused=refused, columns=columns):
            lines.add((each.line, each.sku, each.outcome, each.message))

    def _lines(self, records: Iterable[Record | Broken], *, refused: bool, columns: ColumnMap) -> Iterator[ReportLine]:
        bad, unchanged = self.bad_lines(), iter(self._unchanged)
        next_bad, next_unchanged = next(bad, None), next(unchanged, None)
        rest = iter(records)
        sku_at = _sku_at(next(rest, None), columns)
        for record in rest:
            while next_bad and next_bad[0] < record.line:
                yield ReportLine(next_bad[0], "", Outcome.BAD, next_bad[1])
                next_bad = next(bad, None)
            is_unchanged = next_unchanged == record.line
            if is_unchanged:
                next_unchanged = next(unchanged, None)
            sku = _sku_of(record, sku_at)
            if next_bad and next_bad[0] == record.line:
                yield ReportLine(record.line, sku, Outcome.BAD, next_bad[1])
                next_bad = next(bad, None)
            elif refused:
                yield ReportLine(record.line, sku, Outcome.NOT_SENT, REFUSED)
            elif is_unchanged:
                yield ReportLine(record.line, sku, Outcome.UNCHANGED, UNCHANGED)
        while next_bad:
            yield ReportLine(next_bad[0], "", Outcome.BAD, next_bad[1])
            next_bad = next(bad, None)

    def bad_lines(self) -> Iterator[tuple[int, str]]:
        """Each bad line once, with all of its faults, in the order of the file."""
        order = sorted(range(len(self._bad)), key=self._bad.__getitem__)
        for line, found in groupby(order, key=self._bad.__getitem__):
            yield line, " | ".join(dict.fromkeys(map(self._text, found)))

    def _text(self, number: int) -> str:
        begin = self._ends[number - 1] if number else 0
        self._texts.seek(begin)
        return self._texts.read(self._ends[number] - begin).decode()


def _sku_at(header: Record | Broken | None, columns: ColumnMap) -> int | None:
    names = columns.keys(header.cells) if isinstance(header, Record) else []
    return names.index("sku") if "sku" in names else None


def _sku_of(record: Record | Broken, at: int | None) -> str:
    cells = record.cells if isinstance(record, Record) else []
    return cells[at] if at is not None and at < len(cells) else ""
