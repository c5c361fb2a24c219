"""The first lines of a file as they are understood, and under which names its columns would be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from backmarket.bulk.csv_file import excel
from backmarket.bulk.csv_file.amounts import Notation, flag
from backmarket.bulk.csv_file.column_map import MAX_COLUMNS, can_be_matched, is_ours
from backmarket.bulk.csv_file.columns import AMOUNTS, FLAGS, KNOWN, Column, columns_for
from backmarket.bulk.csv_file.faults import letter, shown
from backmarket.bulk.csv_file.header import meant
from backmarket.bulk.csv_file.names import Names
from backmarket.bulk.csv_file.no_header import is_unreadable
from backmarket.bulk.csv_file.source import Broken, Record, Source

_LOST = "\ufffd"
"""Shown for a byte that the encoding does not have."""

_USUAL = ("sku", "price", "currency", "min_price", "max_price", "quantity", "grade", "comment", "warranty_delay")

FIELDS = (*_USUAL, *sorted(KNOWN.difference(_USUAL)))
"""The names of the columns that are checked."""


@dataclass(frozen=True, slots=True)
class PreviewCell:
    """A cell.

    Attributes:
        text: as it would be sent; if it is not understood, as it stands in the file. It is cut to 40 characters.
        is_understood: whether it may stand there, as far as the cell alone tells.
    """

    text: str
    is_understood: bool = True


@dataclass(frozen=True, slots=True)
class PreviewColumn:
    """A column of the file.

    Attributes:
        letter: as Excel names it.
        name: as the file names it.
        sent_as: the name under which it would be sent; None: it is left out.
        is_known: whether its cells are checked.
        is_suggested: its name comes near that of a known column, and no person has matched it.
        cells: of the first lines.
    """

    letter: str
    name: str
    sent_as: str | None
    is_known: bool
    is_suggested: bool
    cells: tuple[PreviewCell, ...]

    @property
    def is_for_reading(self) -> bool:
        """Whether it only tells a person something, as the reasons in a copy with faults do; it is never sent."""
        return is_ours(self.name)

    @property
    def is_readable(self) -> bool:
        """Whether all letters of its name are those of the encoding."""
        return _LOST not in self.name

    @property
    def can_be_matched(self) -> bool:
        """Whether a person may match it: its name is one, readable, not too long, and not of our making."""
        return self.is_readable and can_be_matched(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePreview:
    """The beginning of a file.

    Attributes:
        dialect: how the file is written, in words.
        rows: the numbers of the first lines, as Excel numbers rows.
        columns: its columns, at most 500.
        fields: the names of the columns that are checked, the usual ones first.
    """

    dialect: str
    rows: tuple[int, ...]
    columns: tuple[PreviewColumn, ...]
    fields: tuple[str, ...] = FIELDS

    @property
    def has_sku(self) -> bool:
        """Whether a column is the SKU; without one, nothing can be sent."""
        return any(each.sent_as == "sku" for each in self.columns)

    @property
    def matching(self) -> dict[str, str]:
        """The columns as they are matched here, for the option `columns`: the name in the file, and the one sent."""
        return {each.name: each.sent_as or "" for each in self.columns if each.can_be_matched}

    @property
    def is_readable(self) -> bool:
        """Whether all letters are those of the encoding; otherwise another one has to be chosen."""
        cells = (cell.text for each in self.columns for cell in each.cells)
        return all(each.is_readable for each in self.columns) and not any(_LOST in text for text in cells)


def preview_of(
    source: Source, *, locale: str, notation: Notation, skus_as_they_are: bool = False, rows: int = 5
) -> FilePreview:
    """Read the first lines of a file.

    Args:
        source: at its beginning.
        locale: whose market the prices are meant for.
        notation: how amounts are written.
        skus_as_they_are: SKUs that look as if Excel had damaged them are meant.
        rows: maximum number of lines.

    Raises:
        BulkFileRefused: if the column names cannot be read.
        InvalidArgument: if the locale does not exist.
    """
    records = source.records()
    header = next(records, None)
    if header is None or isinstance(header, Broken):
        raise is_unreadable("has a row of column names that cannot be read", "save it as .xlsx or CSV UTF-8 in Excel")
    names = Names(header.cells[:MAX_COLUMNS], source.columns)
    matched = list(_suggested(names))
    first = list(islice((each for each in records if isinstance(each, Record)), rows))
    understood = _Understood(columns_for(locale), notation, skus_as_they_are=skus_as_they_are)
    columns = tuple(
        PreviewColumn(
            letter(at + source.first_column),
            " ".join(_readable(header.cells[at]).split()),
            field,
            field in KNOWN,
            field != names.sent[at],
            tuple(understood.cell(field, record, at) for record in first),
        )
        for at, field in enumerate(matched)
        if header.cells[at] or any(at < len(record.cells) and record.cells[at] for record in first)
    )
    return FilePreview(
        dialect=source.written, rows=tuple(source.row_of(record.line) for record in first), columns=columns
    )


def _suggested(names: Names) -> Iterator[str | None]:
    """The name under which each column is sent, or what it most likely means."""
    taken = set(names.sent)
    for at, name in enumerate(names.sent):
        known = meant(name, KNOWN) if name and not names.is_matched(at) else None
        if known and known not in taken:
            taken.add(known)
            yield known
        else:
            yield name


class _Understood:
    def __init__(self, known: Mapping[str, Column], notation: Notation, *, skus_as_they_are: bool) -> None:
        self._known = known
        self._notation = notation
        self._skus_as_they_are = skus_as_they_are

    def cell(self, field: str | None, record: Record, at: int) -> PreviewCell:
        text = record.cells[at] if at < len(record.cells) else ""
        column = self._known.get(field or "")
        if not text or column is None:
            return PreviewCell(_shown(text), not _is_lost(text))
        if field == "sku":
            is_damaged = not self._skus_as_they_are and at not in record.typed and excel.damage(text)
            return PreviewCell(_shown(text), not is_damaged and at not in record.odd and bool(column.accepts(text)))
        meant_by: str | None = text
        if field in AMOUNTS and at not in record.typed:
            meant_by = self._notation.plain(text)
        elif field in FLAGS:
            meant_by = flag(text)
        if meant_by is None or at in record.odd or not column.accepts(meant_by):
            return PreviewCell(_shown(text), is_understood=False)
        return PreviewCell(_shown(meant_by), not _is_lost(text))


def _is_lost(text: str) -> bool:
    """Whether a letter could not be decoded; see `dialect`."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def _readable(text: str) -> str:
    return "".join(_LOST if "\ud800" <= each <= "\udfff" else each for each in text)


def _shown(text: str) -> str:
    return shown(_readable(text))
