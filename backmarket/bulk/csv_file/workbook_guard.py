"""Bounds of an Excel workbook, held before a library reads it.

The library holds a whole sheet as a rectangle: two cells far apart, or one long text that many cells share, would take
all memory. So each XML file in the zip file is unpacked here piece by piece, measured, and copied; the library reads
the copy, which holds no byte that was not measured. Cells with an error of Excel become texts in the copy.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from backmarket.bulk.csv_file.no_header import is_unreadable
from backmarket.errors import BulkFileRefused

MEMBERS_LIMIT = 5_000
UNPACKED_LIMIT = 256 * 1024**2
"""Bytes of the unpacked XML files, together."""
RATIO_LIMIT = 500
"""Unpacked bytes for each packed one; sheets have up to some tens. Deflate ends at 1,032."""
RATIO_FROM = 1024**2
"""Unpacked bytes below which the ratio does not matter."""
ROWS_LIMIT = 300_000
CELLS_LIMIT = 5_000_000
"""Rows times columns: 32 bytes of memory each."""
TEXT_LIMIT = 128 * 1024**2
"""Bytes of shared text in all cells."""
TAG_LIMIT = 1024**2
"""Bytes without a tag: a cell of Excel has at most 32,767 characters."""

DAMAGED = "begins like an Excel workbook (.xlsx), and is damaged or incomplete"
SAVE_AGAIN = "open it in Excel, and save it as .xlsx again"

_CHUNK = 1024**2
_AS_CSV = "delete what is not needed, or save the sheet as CSV UTF-8"

_LEFT_OUT = ("xl/media/", "xl/drawings/", "xl/theme/", "xl/charts/", "xl/pivot", "docprops/", "customxml/")
_ODD = re.compile(rb"<!|[^\xbf]<\?", re.DOTALL)
_ATTRIBUTE = rb"[\w:.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*')"
_CELL = re.compile(
    rb"<(?:[^\s<>/:]+:)?(?:(?P<tag>row|c)(?:\s+(?!r\s*=)" + _ATTRIBUTE + rb")*+"
    rb"(?:\s+r\s*=\s*[\"'](?P<letters>[A-Za-z]*)(?P<row>\d*)[\"'])?(?:\s+" + _ATTRIBUTE + rb")*+\s*(?P<empty>/)?>"
    rb"|v(?:\s[^<>]*)?>\s*(?P<index>\d+)"
    rb"|(?P<odd>(?:row|c)[\s/>]))"
)
"""A row or a cell with its first attribute `r`, the number in a cell, or a tag that is not well formed."""
_ERROR_CELL = re.compile(rb"(<(?:[^\s<>/:]+:)?c\s(?:[^<>]*\s)?t\s*=\s*[\"'])e([\"'])")
_STRING_END = re.compile(rb"</(?:[\w.-]+:)?si\s*>|<(?:[\w.-]+:)?si(?:\s[^<>]*)?/>")


def copy_checked(file: BinaryIO, into: BinaryIO) -> None:
    """Copy what a workbook's sheets need, measured.

    Args:
        file: the workbook, seekable.
        into: an empty file.

    Raises:
        BulkFileRefused: if it is not a workbook, is damaged, or is too large.
    """
    try:
        with ZipFile(file) as workbook, ZipFile(into, "w", ZIP_STORED) as copy:
            members = _members(workbook)
            strings = array("I")
            for member in members:
                pieces = _pieces(workbook, member)
                name = member.filename.lower()
                if name.endswith("sharedstrings.xml"):
                    pieces = _with_lengths(pieces, strings)
                elif name.startswith("xl/") and name.endswith(".xml"):
                    pieces = _Sheet(strings).measured(pieces)
                with copy.open(ZipInfo(member.filename), "w", force_zip64=True) as target:
                    for piece in pieces:
                        target.write(piece)
    except (BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise is_unreadable(DAMAGED, SAVE_AGAIN) from error


def _members(workbook: ZipFile) -> list[ZipInfo]:
    """The files that matter, the texts that cells share first.

    Raises:
        BulkFileRefused: if it is no workbook, or what it declares is too large.
    """
    infos = workbook.infolist()
    names = {info.filename.lower() for info in infos}
    if "xl/workbook.xml" not in names:
        is_other = names & {"content.xml", "xl/workbook.bin", "mimetype"}
        problem = "is another kind of spreadsheet" if is_other else "is a zip file without a spreadsheet in it"
        raise is_unreadable(problem, "save the list as .xlsx or as CSV UTF-8 in Excel, and send that file")
    found = {
        info.filename: info
        for info in infos
        if info.filename.lower().endswith((".xml", ".rels")) and not info.filename.lower().startswith(_LEFT_OUT)
    }
    if any(info.flag_bits & 1 for info in found.values()):
        raise is_unreadable("has a password", "save it without one")
    ratios = [info.file_size / max(1, info.compress_size) for info in found.values() if info.file_size > RATIO_FROM]
    if (
        len(infos) > MEMBERS_LIMIT
        or sum(info.file_size for info in found.values()) > UNPACKED_LIMIT
        or max(ratios, default=0) > RATIO_LIMIT
    ):
        raise is_unreadable("is far larger inside than a list of listings is", _AS_CSV)
    return sorted(found.values(), key=lambda info: not info.filename.lower().endswith("sharedstrings.xml"))


def _pieces(workbook: ZipFile, member: ZipInfo) -> Iterator[bytes]:
    with workbook.open(member) as packed:
        while piece := packed.read(_CHUNK):
            yield piece


def _with_lengths(pieces: Iterator[bytes], lengths: array[int]) -> Iterator[bytes]:
    """Note how long each shared text is, at most."""
    rest = b""
    for piece in pieces:
        *ended, rest = _STRING_END.split(rest + piece)
        lengths.extend(map(len, ended))
        if len(rest) > TAG_LIMIT:
            raise _too_large()
        yield piece


class _Sheet:
    """How large a sheet is while it is read.

    Args:
        strings: how long each shared text is.
    """

    def __init__(self, strings: array[int]) -> None:
        self._strings = strings
        self._row = self._column = self._rows = self._columns = self._text = 0

    def measured(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, cut between tags, each once it was measured."""
        rest = b""
        for piece in pieces:
            whole, tag, begun = (rest + piece).rpartition(b"<")
            rest = tag + begun
            if len(rest) > TAG_LIMIT:
                raise _too_large()
            self._measure(whole)
            yield _with_errors_as_texts(whole)
        self._measure(rest)
        yield rest

    def _measure(self, xml: bytes) -> None:
        if b"\0" in xml or _ODD.search(xml):
            raise _not_a_spreadsheets()
        for found in _CELL.finditer(xml):
            tag, letters, row, empty, index, odd = found.groups()
            if odd:
                raise _not_a_spreadsheets()
            if index is not None:
                number = int(index[:9])
                self._text += self._strings[number] if number < len(self._strings) else 0
            elif tag == b"row":
                self._row, self._column = int(row[:9]) if row else self._row + 1, 0
            else:
                self._column = _number(letters) if letters else self._column + 1
                if not empty:
                    self._rows = max(self._rows, self._row, int(row[:9]) if row else 0)
                    self._columns = max(self._columns, self._column)
        if self._rows > ROWS_LIMIT:
            raise is_unreadable(
                f"has a cell below row {ROWS_LIMIT}", "delete the rows below your listings, or save it as CSV UTF-8"
            )
        if self._rows * self._columns > CELLS_LIMIT or self._text > TEXT_LIMIT:
            raise _too_large()


def _with_errors_as_texts(xml: bytes) -> bytes:
    """The cells with an error, such as `#N/A`, as texts: the library would read them as empty."""
    return _ERROR_CELL.sub(rb"\1str\2", xml) if b'"e"' in xml or b"'e'" in xml else xml


def _number(letters: bytes) -> int:
    number = 0
    for each in letters[:4].upper():
        number = number * 26 + each - 64
    return number


def _too_large() -> BulkFileRefused:
    return is_unreadable("has more cells or text than a list of listings", _AS_CSV)


def _not_a_spreadsheets() -> BulkFileRefused:
    return is_unreadable("was not written by a spreadsheet program", "open it in Excel, and save it again")
