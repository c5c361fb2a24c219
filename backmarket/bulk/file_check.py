"""Check a file line by line, and cut it into parts: what `submit` does before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import BinaryIO

from backmarket.bulk import queries
from backmarket.bulk.csv_file.faults_copy import write_copy
from backmarket.bulk.csv_file.parts import FILE_LINES_LIMIT, Parts, cut
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.source import Source
from backmarket.bulk.csv_file.unchanged import unchanged
from backmarket.bulk.csv_file.validation import Check, Row
from backmarket.bulk.csv_file.workbook import WorkbookSource
from backmarket.bulk.options import Options
from backmarket.bulk.skipped_lines import LeftOut
from backmarket.client.skus import sku_key
from backmarket.errors import BulkFileRefused, FileFault
from backmarket.services import Services
from backmarket.work.contested import may_be_stale

COMPARED = 500
"""Lines that one query compares with their listings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """The result of checking a file, before anything is stored or sent.

    Attributes:
        lines: number of listing lines; 0 if the header is wrong.
        bad_lines: number of lines that cannot be sent.
        unchanged_lines: number of lines that change nothing, if those are skipped.
        lines_to_send: number of lines to send on submission; 0: the file would be refused, or changes nothing.
        parts: number of parts to send.
        faults: the faults, by line; at most 10,000.
        fault_count: number of all faults.
        reason: why the file is refused; None: it is not.
        dialect: how the file is written, in words; None: unknown.
        columns: their names, as they are sent.
        unknown_columns: those columns that are not known; they are sent unchanged.
        notes: what was ignored or corrected in the file, one sentence each.
        expected_duration: minimum time until the last line is sent, by the account's quota.
        is_workbook: it is an Excel workbook.
    """

    lines: int = 0
    bad_lines: int = 0
    unchanged_lines: int = 0
    lines_to_send: int = 0
    parts: int = 0
    faults: tuple[FileFault, ...] = field(default=(), repr=False)
    fault_count: int = 0
    reason: str | None = None
    dialect: str | None = None
    columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    expected_duration: timedelta = timedelta()
    is_workbook: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether the file cannot be submitted."""
        return self.reason is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFiles:
    """The result of the checks, with the temporary files. They are closed at the end of `prepared`.

    Attributes:
        check: the result of the check.
        refused: why nothing is sent; None: the file is accepted.
        parts: the parts of `lines`; None: the file was refused.
        original: the file itself.
        lines: the canonical text.
        left_out: the lines that are in no part; None: all lines are in parts.
        fingerprint: see `Options.fingerprint`.
        write_faults: writes the copy with the faults into an empty file; None: no line was checked.
    """

    check: FileCheck
    refused: BulkFileRefused | None
    parts: Parts | None
    original: BinaryIO
    lines: BinaryIO
    left_out: BinaryIO | None
    fingerprint: str
    write_faults: Callable[[BinaryIO], None] | None


@dataclass
class FileChecking:
    """One file on its way through the checks.

    Attributes:
        services: the process's services.
        organization_id: the organization that the lines belong to.
        options: how to read and send the file.
        locale: the market of the lines.
        text: the file itself, if the caller gave a text; None: it is in `original`.
        original: the file itself, in a temporary file.
        left_out: collects the lines that are in no part.
        market: whose stored listings lines are compared with: a further one; empty: that of the connection's locale.
    """

    services: Services
    organization_id: str
    options: Options
    locale: str
    text: str | None
    original: BinaryIO
    left_out: LeftOut
    market: str = ""

    def run(self, lines: BinaryIO, left_out: BinaryIO, *, fingerprint: str) -> CheckedFiles:
        """Check the file and cut it; write the parts and the left-out lines to these empty files."""
        source: Source | None = None
        checked: Check | None = None
        parts: Parts | None = None
        refused: BulkFileRefused | None = None
        try:
            source = self._open()
            checked = self._check(source)
            parts = cut(checked, lines, part_lines=self._part_lines(), choose=self._chooser(checked.header))
        except BulkFileRefused as error:
            refused = error
            for fault in error.faults if checked is None else ():
                self.left_out.add_fault(fault)
        is_whole = refused is None and not self.left_out
        if not is_whole:
            again = self._open().records() if checked is not None else iter(())
            self.left_out.write(left_out, again, refused=refused is not None, columns=self.options.column_map)
        return CheckedFiles(
            check=self._summary(source, checked, parts, refused),
            refused=refused,
            parts=parts,
            original=self.original,
            lines=lines,
            left_out=None if is_whole else left_out,
            fingerprint=fingerprint,
            write_faults=None if checked is None else self._write_faults,
        )

    def _write_faults(self, into: BinaryIO) -> None:
        with self._open() as source:
            write_copy(source, self.left_out.bad_lines(), into)

    def _open(self) -> Source:
        """Open the file from its beginning."""
        self.original.seek(0)
        return open_source(
            self.original if self.text is None else self.text,
            delimiter=self.options.delimiter,
            quotechar=self.options.quotechar,
            encoding=self.options.encoding,
            columns=self.options.column_map,
        )

    def _check(self, source: Source) -> Check:
        options = self.options
        return Check(
            source,
            locale=self.locale,
            skip_bad_lines=options.skip_bad_lines,
            skus_as_they_are=options.skus_as_they_are,
            notation=options.notation,
            each_fault=self.left_out.add_fault,
        )

    def _part_lines(self) -> int:
        settings = self.services.settings
        return min(settings.bulk_part_lines, settings.sku_lines_limit, FILE_LINES_LIMIT - 1)

    def _chooser(self, header: Sequence[str]) -> Callable[[Iterable[Row]], Iterator[Row]] | None:
        return partial(self._changing, header) if self.options.skip_unchanged else None

    def _changing(self, header: Sequence[str], good: Iterable[Row]) -> Iterator[Row]:
        """The lines that change something."""
        waiting = iter(good)
        while some := list(islice(waiting, COMPARED)):
            named = [(line, cells, dict(zip(header, cells, strict=True))) for line, cells in some]
            skus = [row["sku"] for _, _, row in named]
            stored = queries.stored_listings(self.services.database, self.organization_id, skus, self.market)
            of, locale, market = self.organization_id, self.locale, self.market
            with self.services.database.transaction() as transaction:
                stale = may_be_stale(transaction, of, skus, unsent=True, locale=locale, market=market)
            for line, cells, row in named:
                listing = stored.get(sku_key(row["sku"])) if row["sku"] not in stale else None
                if listing is not None and unchanged(row, listing, locale=self.locale):
                    self.left_out.add_unchanged(line)
                else:
                    yield line, cells

    def _summary(
        self, source: Source | None, checked: Check | None, parts: Parts | None, refused: BulkFileRefused | None
    ) -> FileCheck:
        to_send = parts.lines if parts is not None else 0
        found = FileCheck(
            lines_to_send=to_send,
            parts=len(parts) if parts is not None else 0,
            dialect=source.written if source is not None else None,
            is_workbook=isinstance(source, WorkbookSource),
            expected_duration=queries.expected_duration(self.services, self.organization_id, to_send),
        )
        if checked is not None:
            found = replace(
                found,
                lines=checked.lines,
                bad_lines=checked.bad_lines,
                unchanged_lines=self.left_out.unchanged_lines() if refused is None else 0,
                faults=tuple(checked.faults),
                fault_count=checked.fault_count,
                columns=checked.header,
                unknown_columns=checked.unknown_columns,
                notes=checked.notes,
            )
        if refused is not None:
            found = replace(found, faults=refused.faults, fault_count=refused.count, reason=refused.message)
        return found
