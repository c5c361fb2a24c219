"""Which lines of a bulk file may be sent, and every fault of the others."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from backmarket.bulk.csv_file import excel
from backmarket.bulk.csv_file.amounts import Notation, flag
from backmarket.bulk.csv_file.columns import (
    AMOUNTS,
    CROSSING,
    FLAGS,
    KNOWN,
    Column,
    columns_for,
    conflicts,
    needed_currency,
)
from backmarket.bulk.csv_file.dialect import other_encoding
from backmarket.bulk.csv_file.doubts import Doubt, Doubts
from backmarket.bulk.csv_file.faults import FAULTS_KEPT, FAULTS_OF_A_LINE, Fault, letter, shown
from backmarket.bulk.csv_file.names import Names
from backmarket.bulk.csv_file.skus import SkuTable
from backmarket.bulk.csv_file.source import Broken, Record, Source
from backmarket.errors import BulkFileRefused, InvalidArgument

Row = tuple[int, list[str]]
"""A line that may be sent: where it begins in the file, from 1, and its cells as they are sent."""

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
        refuses_skipping: where lines begin isn't sure behind a broken quote, so the others cannot be sent without it.

    Args:
        source: at its beginning.
        locale: whose market the prices are meant for.
        skip_bad_lines: continue without them. Not possible where a broken quote leaves open where lines begin.
        skus_as_they_are: accept SKUs that look as if Excel had damaged them.
        notation: how amounts are written; None: with a point, without a separator of thousands.
        each_fault: called with every fault as it is found, also with those beyond the first 10,000.

    Raises:
        BulkFileRefused: if the row of column names is wrong.
        InvalidArgument: if there is no such locale, or the source was gone through before.
    """

    def __init__(
        self,
        source: Source,
        *,
        locale: str,
        skip_bad_lines: bool = False,
        skus_as_they_are: bool = False,
        notation: Notation | None = None,
        each_fault: Callable[[Fault], object] | None = None,
    ) -> None:
        self.lines = 0
        self.bad_lines = 0
        self.faults: list[Fault] = []
        self.fault_count = 0
        self.refuses_skipping = False
        self._source = source
        self._skip = skip_bad_lines
        self._skus_as_they_are = skus_as_they_are
        self._notation = notation or Notation()
        self._doubts = Doubts()
        self._each_fault = each_fault
        self._skus = SkuTable()
        self._withdrawn = array("Q")
        self._records = source.records()
        known = columns_for(locale)
        first = next(self._records, None)
        if first is None:
            raise InvalidArgument("The source was read before. Open the file again.")
        names = self._header(first, locale)
        self._names, self._titles = names.sent, names.titles
        self._sent = [at for at, name in enumerate(self._names) if name is not None]
        self.header = tuple(name for name in self._names if name is not None)
        self._sku = self._names.index("sku")
        self._known = [(at, name, known[name]) for at, name in enumerate(self._names) if name and name in known]
        self._crossing = [(at, name) for at, name in enumerate(self._names) if name in CROSSING]
        self._amounts = (
            [] if self._notation.is_plain else [at for at, name in enumerate(self._names) if name in AMOUNTS]
        )
        self._flags = [at for at, name in enumerate(self._names) if name in FLAGS]
        self._needed = needed_currency(locale)

    def __iter__(self) -> Iterator[Row]:
        """The good lines.

        Yields:
            Each, as it is read.

        Raises:
            BulkFileRefused: if lines are bad and may not be skipped, or none is good; raised after the last one.
        """
        for record in self._records:
            self.lines += 1
            if isinstance(record, Record):
                _drop_trailing(record.cells, len(self._names))
            faults = self._broken(record) if isinstance(record, Broken) else self._faults(record)
            if isinstance(record, Record) and len(record.cells) == len(self._names):
                faults += self._repeated(record, bad=bool(faults))
                if not faults:
                    yield record.line, self._cells_sent(record.cells)
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
        """Lines that came out good, and have a SKU that came again later: which of the two is meant is unknown."""
        return self._withdrawn

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the file, as sentences; complete after the last line."""
        return (*self._source.notes, *self._doubts.sentences())

    def _header(self, first: Record | Broken, locale: str) -> Names:
        if isinstance(first, Broken):
            raise self._header_refused(self._broken(first))
        cells = list(first.cells)
        _drop_trailing(cells, 1)
        names = Names(cells, self._source.columns)
        faults = [
            *self._unfit(first, (), ()),
            *(
                Fault(first.line, shown(names.titles[at]), None, problem, expected, self._letter(at))
                for at, problem, expected in names.faults(lambda at: f"{self._letter(at)}{self._row(first.line)}")
            ),
        ]
        if sum(name is not None for name in names.sent) == 1 and not faults:
            faults.append(Fault(first.line, "sku", None, "is the only column", "beside it, what is to be set", "A"))
        needed = needed_currency(locale)
        if needed and "price" in names.sent and "currency" not in names.sent:
            problem = f"is missing, and a price in {locale} needs it"
            faults.append(Fault(first.line, "currency", None, problem, f"add a column currency with {needed}"))
        if faults:
            raise self._header_refused(faults)
        return names

    def _cells_sent(self, cells: list[str]) -> list[str]:
        return cells if len(self._sent) == len(cells) else [cells[at] for at in self._sent]

    def _faults(self, record: Record) -> list[Fault]:
        """What is wrong with a line by itself. Amounts and flags are made those of the API on the way."""
        cells, line = record.cells, record.line
        if len(cells) != len(self._names):
            return [*self._unfit(record, self._titles, self._names), self._width(record)]
        faults = [] if record.text.isprintable() else list(self._unfit(record, self._titles, self._names))
        wrong = {fault.letter for fault in faults}
        sku = self._letter(self._sku)
        if not cells[self._sku]:
            faults.append(self._fault(line, self._sku, None, "is empty", "write the SKU, or delete the row"))
        elif sku not in wrong and (found := self._damage(record)):
            faults.append(self._fault(line, self._sku, shown(cells[self._sku]), *found))
            wrong.add(sku)
        self._note_doubts(record, is_sku_sure=sku not in wrong)
        self._convert(record)
        for at, name, column in self._known:
            cell = cells[at]
            if not cell or (wrong and self._letter(at) in wrong):
                continue
            if at != self._sku and (odd := record.odd.get(at) or excel.not_a_value(cell)):
                faults.append(self._fault(line, at, shown(cell) if column.is_shown else None, *odd))
            elif not column.accepts(cell):
                value = shown(cell.removeprefix(_UNCONVERTED)) if column.is_shown else None
                faults.append(self._fault(line, at, value, *self._words(name, column, cell)))
        wrong = {fault.letter for fault in faults}
        cells_crossing = {name: cells[at] for at, name in self._crossing if self._letter(at) not in wrong}
        for name, problem, expected in conflicts(cells_crossing, self._needed):
            at = self._names.index(name)
            faults.append(self._fault(line, at, shown(cells_crossing[name]) or None, problem, expected))
        return faults

    def _convert(self, record: Record) -> None:
        cells = record.cells
        for at in self._amounts:
            if cells[at] and at not in record.typed:
                plain = self._notation.plain(cells[at])
                cells[at] = _UNCONVERTED + cells[at] if plain is None else plain
        for at in self._flags:
            cells[at] = flag(cells[at])

    def _damage(self, record: Record) -> tuple[str, str] | None:
        if self._skus_as_they_are:
            return None
        odd = record.odd.get(self._sku)
        return odd or (None if self._sku in record.typed else excel.damage(record.cells[self._sku]))

    def _words(self, name: str, column: Column, cell: str) -> tuple[str, str]:
        found: tuple[str, str] | None = excel.damaged_number(cell)
        if name in AMOUNTS:
            found = self._notation.why_not(cell.removeprefix(_UNCONVERTED))
        return found or (column.problem, column.expected)

    def _width(self, record: Record) -> Fault:
        has, width = len(record.cells), len(self._names)
        if has > width:
            at = next(at for at in range(width, has) if record.cells[at])
            problem = "has content, and its column has no name in the row of column names"
            expected = "empty the cell, or name the column; in CSV, a cell with the delimiter in it needs quotes"
            return Fault(record.line, "", shown(record.cells[at]), problem, expected, self._letter(at))
        until = f" (up to line {record.last})" if record.last > record.line else ""
        cells = "1 cell" if has == 1 else f"{has} cells"
        problem = f"has {cells}{until}, and the row of column names has {width}"
        return Fault(record.line, None, None, problem, "save the list as CSV again, with every cell in its column")

    def _note_doubts(self, record: Record, *, is_sku_sure: bool) -> None:
        sku = record.cells[self._sku]
        if excel.is_garbled(record.text):
            at = next((at for at, cell in enumerate(record.cells) if excel.is_garbled(cell)), 0)
            self._doubts.note(Doubt.LETTERS, partial(self._place, record.line, at))
        if not is_sku_sure or not sku:
            return
        if self._sku in record.typed:
            self._doubts.note(Doubt.NUMBERS, partial(self._place, record.line, self._sku))
        elif excel.is_like_a_date(sku):
            self._doubts.note(Doubt.MONTHS, partial(self._place, record.line, self._sku))
        if len(record.text) == len(sku):
            self._doubts.note(Doubt.ALONE, partial(self._place, record.line, self._sku))

    def _place(self, line: int, at: int) -> str:
        return replace(self._fault(line, at, None, "", ""), row=self._row(line)).place

    def _unfit(self, record: Record, titles: Sequence[str], names: Sequence[str | None]) -> Iterator[Fault]:
        for at, cell in enumerate(record.cells):
            found = _UNFIT.search(cell)
            if found and not (at < len(names) and names[at] is None):
                name = shown(titles[at]) if at < len(titles) else ""
                yield self._unfit_cell(record.line, name, self._letter(at), found[0])

    def _unfit_cell(self, line: int, name: str, place: str, character: str) -> Fault:
        if "\ud800" <= character <= "\udfff":
            byte = ord(character) & 0xFF
            problem = f"has an unreadable letter: its byte 0x{byte:02X} is not {self._source.encoding.upper()}"
            return Fault(line, name, None, problem, other_encoding(byte), place)
        problem = f"has the control character U+{ord(character):04X}"
        return Fault(line, name, None, problem, "remove it; if there are many, choose another encoding", place)

    def _fault(self, line: int, at: int, value: str | None, problem: str, expected: str) -> Fault:
        return Fault(line, shown(self._titles[at]), value, problem, expected, self._letter(at))

    def _letter(self, at: int) -> str:
        return letter(at + self._source.first_column)

    def _row(self, line: int) -> int:
        return self._source.row_of(line)

    def _repeated(self, record: Record, *, bad: bool) -> list[Fault]:
        """The fault of a SKU that another line has; that line is bad from then on, too."""
        sku = record.cells[self._sku]
        known = self._skus.note(sku, record.line, bad=bad) if sku else None
        if known is None:
            return []
        first, was_bad = known
        expected = "keep one row for each SKU; upper and lower case are the same"
        if not was_bad:
            self.bad_lines += 1
            self._withdrawn.append(first)
            problem = f"is again in row {self._row(record.line)}"
            self._note([self._fault(first, self._sku, shown(sku), problem, expected)])
        return [self._fault(record.line, self._sku, shown(sku), f"is already in row {self._row(first)}", expected)]

    def _broken(self, broken: Broken) -> list[Fault]:
        self.refuses_skipping |= broken.astray
        return [Fault(broken.line, None, None, broken.problem, broken.expected)]

    def _note(self, faults: list[Fault]) -> None:
        if len(faults) > FAULTS_OF_A_LINE:
            problem = f"has {len(faults) - FAULTS_OF_A_LINE} more faults"
            rest = Fault(faults[0].line, None, None, problem, "correct those above first")
            faults = [*faults[:FAULTS_OF_A_LINE], rest]
        faults = [replace(fault, row=self._row(fault.line)) for fault in faults]
        self.fault_count += len(faults)
        self.faults += faults[: max(0, FAULTS_KEPT - len(self.faults))]
        if self._each_fault:
            for fault in faults:
                self._each_fault(fault)

    def _refuse(self) -> None:
        if self.bad_lines and not (self._skip and not self.refuses_skipping):
            raise BulkFileRefused(self._reason(), self.faults, self.fault_count)
        if self.bad_lines == self.lines:
            message = (
                "No line of the file can be sent" if self.lines else "The file has no listing below its column names"
            )
            raise BulkFileRefused(f"{message}; nothing was sent.", self.faults, self.fault_count)

    def _reason(self) -> str:
        count = f"{self.bad_lines} of {self.lines} lines are bad; nothing was sent."
        if self.refuses_skipping:
            return f"{count} An unbalanced quote hides where its line ends. Fix it first."
        return f'{count} Correct them, or leave them out ("skip bad lines" in the console, --skip-bad-lines).'

    def _header_refused(self, faults: list[Fault]) -> BulkFileRefused:
        placed = [replace(fault, row=self._row(fault.line)) for fault in faults[:FAULTS_OF_A_LINE]]
        return BulkFileRefused(f"The column names are wrong: {placed[0]}. Nothing was sent.", placed, len(faults))


_UNCONVERTED = "\x1a"
"""Before an amount that is not in the notation of the file, so that no rule takes it."""


def _drop_trailing(cells: list[str], width: int) -> None:
    """Take away the empty cells behind the last column."""
    while len(cells) > width and not cells[-1]:
        cells.pop()
