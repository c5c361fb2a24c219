"""Which lines of a bulk file may be sent, and every fault of the others."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from backmarket.bulk.csv_file.columns import (
    CROSSING,
    KNOWN,
    Column,
    column_name,
    columns_for,
    conflicts,
    needed_currency,
)
from backmarket.bulk.csv_file.faults import FAULTS_KEPT, Fault, shown
from backmarket.bulk.csv_file.reader import Broken, Record, Source
from backmarket.bulk.csv_file.skus import SkuTable
from backmarket.errors import BulkFileRefused, InvalidArgument

Row = tuple[int, list[str]]
"""A line that may be sent: where it begins in the file, from 1, and its cells exactly as they are there."""

_UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and line ends, and bytes that could not be decoded (see `dialect`)."""


class Check:
    """The good lines of a file, in its order. To go through them checks them; what was found is known afterwards.

    Attributes:
        header: the names of the columns, as they are sent.
        lines: how many lines there were, empty ones aside.
        bad_lines: how many of them may not be sent.
        faults: what is wrong with those, by line; the first 10,000 of them.
        fault_count: how many faults there are in all.
        refuses_skipping: where lines begin isn't sure behind a broken quote, so the others can't be sent without it.
    """

    def __init__(
        self,
        source: Source,
        *,
        locale: str,
        skip_bad_lines: bool = False,
        each_fault: Callable[[Fault], object] | None = None,
    ) -> None:
        self.lines = 0
        self.bad_lines = 0
        self.faults: list[Fault] = []
        self.fault_count = 0
        self.refuses_skipping = False
        self._source = source
        self._skip = skip_bad_lines
        self._each_fault = each_fault
        self._skus = SkuTable()
        self._withdrawn = array("Q")
        self._records = source.records()
        known = columns_for(locale)
        first = next(self._records, None)
        if first is None:
            raise InvalidArgument("The source was gone through before; open the file again.")
        self.header = self._header(first, locale)
        self._sku = self.header.index("sku")
        self._known = [(at, name, known[name]) for at, name in enumerate(self.header) if name in known]
        self._crossing = [(at, name) for at, name in enumerate(self.header) if name in CROSSING]
        self._needed = needed_currency(locale)

    def __iter__(self) -> Iterator[Row]:
        """The good lines.

        Yields:
            each, as it is read.

        Raises:
            BulkFileRefused: after the last one: lines are bad and may not be skipped, or none is good.
        """
        for record in self._records:
            self.lines += 1
            faults = self._broken(record) if isinstance(record, Broken) else self._faults(record)
            if isinstance(record, Record) and len(record.cells) == len(self.header):
                faults += self._repeated(record, bad=bool(faults))
                if not faults:
                    yield record.line, record.cells
                    continue
            self.bad_lines += 1
            self._note(faults)
        self.faults.sort(key=lambda fault: fault.line)
        self._refuse()

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns that are passed on as they are, as nothing is known of what they may hold."""
        return tuple(name for name in self.header if name not in KNOWN)

    @property
    def withdrawn(self) -> Sequence[int]:
        """Lines that came out good, and have a SKU that came again later: nobody can say which of the two is meant."""
        return self._withdrawn

    def _header(self, first: Record | Broken, locale: str) -> tuple[str, ...]:
        if isinstance(first, Broken):
            raise _header_refused(self._broken(first))
        names = tuple(column_name(name) for name in first.cells)
        faults = list(self._unfit(first, ()))
        faults += [
            Fault(first.line, f"column {at}", None, "has no name", "name it, or take the column out")
            for at, name in enumerate(names, 1)
            if not name
        ]
        faults += [
            Fault(first.line, shown(name), None, f"is the name of {times} columns", "each column once")
            for name, times in Counter(name.lower() for name in names if name).items()
            if times > 1
        ]
        if len(names) == 1 and not faults:
            faults.append(Fault(first.line, "sku", None, "is the only column", "beside it, what is to be set"))
        needed = needed_currency(locale)
        if needed and "price" in names and "currency" not in names:
            problem = f"is missing, and a price in {locale} needs it"
            faults.append(Fault(first.line, "currency", None, problem, f"a column currency with {needed}"))
        if faults:
            raise _header_refused(faults)
        return names

    def _faults(self, record: Record) -> list[Fault]:
        """What is wrong with a line by itself."""
        cells, line = record.cells, record.line
        if len(cells) != len(self.header):
            until = f" (up to line {record.last})" if record.last > line else ""
            problem = f"has {len(cells)} fields{until}, and the header {len(self.header)}"
            expected = "one field for each column; a field with the delimiter in it is quoted"
            return [*self._unfit(record, self.header), Fault(line, None, None, problem, expected)]
        faults = [] if record.text.isprintable() else list(self._unfit(record, self.header))
        unfit = {fault.column for fault in faults}
        if not cells[self._sku]:
            faults.append(Fault(line, "sku", None, "is empty", "each line names its SKU"))
        for at, name, column in self._known:
            cell = cells[at]
            if cell and not column.accepts(cell) and name not in unfit:
                faults.append(_fault(line, name, column, cell))
        wrong = {fault.column for fault in faults}
        cells_crossing = {name: cells[at] for at, name in self._crossing if name not in wrong}
        for name, problem, expected in conflicts(cells_crossing, self._needed):
            faults.append(Fault(line, name, shown(cells_crossing[name]) or None, problem, expected))
        return faults

    def _unfit(self, record: Record, names: Sequence[str]) -> Iterator[Fault]:
        for at, cell in enumerate(record.cells):
            found = _UNFIT.search(cell)
            if found:
                yield self._unfit_cell(record.line, names[at] if at < len(names) else f"column {at + 1}", found[0])

    def _unfit_cell(self, line: int, name: str, character: str) -> Fault:
        if "\ud800" <= character <= "\udfff":
            byte = ord(character) & 0xFF
            problem = f"has the byte 0x{byte:02X}, which is not {self._source.dialect.encoding}"
            return Fault(line, name, None, problem, _other_encoding(byte))
        problem = f"has the control character U+{ord(character):04X}"
        return Fault(line, name, None, problem, "take it out; if there are many, another encoding is meant")

    def _repeated(self, record: Record, *, bad: bool) -> list[Fault]:
        """The fault of a SKU that another line has; that line is bad from then on, too."""
        sku = record.cells[self._sku]
        known = self._skus.note(sku, record.line, bad=bad) if sku else None
        if known is None:
            return []
        first, was_bad = known
        if not was_bad:
            self.bad_lines += 1
            self._withdrawn.append(first)
            problem = f"is again in line {record.line}"
            self._note([Fault(first, "sku", shown(sku), problem, "each SKU in one line, without regard to case")])
        problem = f"is already in line {first}"
        return [Fault(record.line, "sku", shown(sku), problem, "each SKU in one line, without regard to case")]

    def _broken(self, broken: Broken) -> list[Fault]:
        self.refuses_skipping |= broken.astray
        return [Fault(broken.line, None, None, broken.problem, broken.expected)]

    def _note(self, faults: list[Fault]) -> None:
        self.fault_count += len(faults)
        self.faults += faults[: max(0, FAULTS_KEPT - len(self.faults))]
        if self._each_fault:
            for fault in faults:
                self._each_fault(fault)

    def _refuse(self) -> None:
        if self.bad_lines and not (self._skip and not self.refuses_skipping):
            raise BulkFileRefused(self._reason(), self.faults, self.fault_count)
        if self.bad_lines == self.lines:
            message = "No line of the file can be sent" if self.lines else "The file has no line below its header"
            raise BulkFileRefused(f"{message}; nothing was sent.", self.faults, self.fault_count)

    def _reason(self) -> str:
        count = f"{self.bad_lines} of {self.lines} lines are bad; nothing was sent."
        if self.refuses_skipping:
            return f"{count} A quote is broken so that nobody can say where its line ends: put that right first."
        return f"{count} Put them right, or skip them (--skip-bad-lines)."


def check(
    source: Source,
    *,
    locale: str,
    skip_bad_lines: bool = False,
    each_fault: Callable[[Fault], object] | None = None,
) -> Check:
    """Check a file line by line, while its good lines are gone through.

    Args:
        source: at its beginning.
        locale: whose market the prices are meant for.
        skip_bad_lines: go on without them. Not possible where a broken quote leaves open where lines begin.
        each_fault: called with every fault as it is found, also with those beyond the first 10,000.

    Raises:
        BulkFileRefused: the header is wrong.
        InvalidArgument: there is no such locale, or the source was gone through before.
    """
    return Check(source, locale=locale, skip_bad_lines=skip_bad_lines, each_fault=each_fault)


def _fault(line: int, name: str, column: Column, cell: str) -> Fault:
    return Fault(line, name, shown(cell) if column.is_shown else None, column.problem, column.expected)


def _other_encoding(byte: int) -> str:
    letter = bytes([byte]).decode("cp1252", "replace")
    if byte < 0x80 or not letter.isalpha():
        return "save the file as UTF-8, or say which encoding it has"
    return f"save the file as UTF-8, or say which encoding it has (in cp1252 that byte is {letter})"


def _header_refused(faults: list[Fault]) -> BulkFileRefused:
    return BulkFileRefused(f"The header is wrong: {faults[0]}. Nothing was sent.", faults)
