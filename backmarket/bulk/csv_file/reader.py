"""A bulk file as records, in a stream: neither its length nor a quote that is never closed costs memory."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap
from backmarket.bulk.csv_file.dialect import SAMPLE, Dialect, find_dialect, undecodable
from backmarket.bulk.csv_file.no_header import is_no_table, no_header
from backmarket.bulk.csv_file.source import Broken, Record, Source
from backmarket.bulk.csv_file.workbook import is_spreadsheet, open_workbook
from backmarket.errors import InvalidArgument

MAX_RECORD_CHARS = 100_000
"""Maximum length of a record with all its lines; the longest that a listing can need has a few thousand characters."""

MAX_REREAD_CHARS = 100_000_000
"""Maximum text that is read again behind broken quotes: a thousand records of maximum length, seconds of work."""


class CsvSource(Source):
    """A CSV file that is being read, once.

    Attributes:
        dialect: how the file is written.
    """

    def __init__(
        self, file: BinaryIO, sample: bytes, dialect: Dialect, *, columns: ColumnMap = BY_NAME, owned: bool
    ) -> None:
        super().__init__(columns, above=dialect.above, hidden_rows=int(dialect.has_sep_line))
        self.dialect = dialect
        self._file = file
        self._owned = owned
        raw = _Bytes(sample.removeprefix(dialect.mark), file)
        self._text = io.TextIOWrapper(
            io.BufferedReader(raw, SAMPLE), encoding=dialect.encoding, errors=undecodable(dialect.encoding), newline=""
        )
        self._line = 0
        self._taken: list[str] = []
        self._length = 0
        self._again: deque[str] = deque()
        self._patience = MAX_REREAD_CHARS
        quote, delimiter = re.escape(dialect.quotechar), re.escape(dialect.delimiter)
        formula = rf"={quote}[^{quote}{delimiter}\r\n]*+{quote}"
        cell = rf"(?:{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}|{formula}|[^{quote}{delimiter}\r\n]*+)"
        self._proper = re.compile(rf"{cell}(?:{delimiter}{cell})*+[\r\n]*+")

    @property
    def written(self) -> str:
        """How the file is written, in words."""
        return str(self.dialect)

    @property
    def encoding(self) -> str:
        """The name of its encoding."""
        return self.dialect.encoding

    def close(self) -> None:
        """Close the file, unless the caller had opened it."""
        if self._owned:
            self._file.close()

    def rows(self) -> Iterator[Record | Broken]:
        """Every row of the file."""
        dialect, taken = self.dialect, self._taken
        quote, width = dialect.quotechar, 0
        while True:
            reader = csv.reader(self._feed(), delimiter=dialect.delimiter, quotechar=quote, strict=True)
            try:
                for cells in reader:
                    line, last = self._line + 1, self._line + len(taken)
                    text = "".join(cells)
                    stray = "".join(taken) if quote in text else None
                    self._line = last
                    self._length = 0
                    taken.clear()
                    width = width or (len(cells) if text and not text.isspace() else 0)
                    if stray is None or self._proper.fullmatch(stray):
                        yield Record(line, last, cells, text)
                    else:
                        yield _stray(line, stray, quote)
            except _TooLong:
                yield Broken(self._line + 1, _TOO_LONG, "end each listing with a line end", astray=True, is_last=True)
                return
            except csv.Error as error:
                yield self._broken(str(error), width)
                if self._patience < 0:
                    yield Broken(self._line + 1, *_GIVEN_UP, astray=True, is_last=True)
                    return
            else:
                return

    def _feed(self) -> Iterator[str]:
        taken, readline = self._taken, self._text.readline
        while line := self._again.popleft() if self._again else readline(MAX_RECORD_CHARS + 1):
            taken.append(line)
            self._length += len(line)
            if self._length > MAX_RECORD_CHARS:
                if len(taken) == 1:
                    raise _TooLong
                raise csv.Error("too long")
            yield line

    def _broken(self, reason: str, width: int) -> Broken:
        """Give up the line where the record began, and begin again with the next."""
        quote, line = self.dialect.quotechar, self._line + 1
        first, *rest = self._taken
        self._again.extendleft(reversed(rest))
        self._patience -= self._length
        self._taken.clear()
        self._length = 0
        self._line = line
        if "expected after" in reason:
            problem = f"has a quote {quote} inside a quoted field"
        elif reason == "too long" or "unexpected end" in reason:
            problem = f"opens a quote {quote} that is never closed"
        else:
            problem = "cannot be read as CSV"
        return Broken(line, problem, _twice(quote), astray=not self._ends(first, width), text=first)

    def _ends(self, line: str, width: int) -> bool:
        """Whether a line with wrong quotes ends where it seems to: it has all its fields, the last one whole."""
        quote = self.dialect.quotechar
        fields = line.rstrip("\r\n").split(self.dialect.delimiter)
        last = fields[-1]
        return len(fields) == width and (not last.startswith(quote) or (len(last) > 1 and last.endswith(quote)))


def open_source(
    file: BinaryIO | Path | str,
    *,
    delimiter: str | None = None,
    quotechar: str | None = None,
    encoding: str | None = None,
    columns: ColumnMap = BY_NAME,
    any_header: bool = False,
) -> Source:
    """Open a bulk file and find out how it is written. An Excel workbook is known by its first bytes.

    Args:
        file: a file that is open for reading bytes, which need not be seekable and stays open; the path of one; or
            the CSV text itself.
        delimiter: of the fields; found by the header if not given.
        quotechar: around fields; found by the header if not given.
        encoding: of the bytes; UTF-8, or what the byte order mark says, if not given. A text has none.
        columns: under which names its columns are sent.
        any_header: where no column is `sku`, take the row that most likely names the columns, to show it.

    Returns:
        the source, at its beginning; use it in a `with`.

    Raises:
        InvalidArgument: if an argument is invalid.
        BulkFileRefused: if there is no header with a column `sku`.
        OSError: if the file cannot be read.
    """
    if isinstance(file, str):
        opened: BinaryIO = io.BytesIO(file.encode("utf-8", "surrogatepass"))
        encoding = None
    else:
        opened = file.open("rb") if isinstance(file, Path) else file
    owned = opened is not file
    try:
        sample = _beginning(opened)
        if is_spreadsheet(sample):
            try:
                return open_workbook(sample, opened, columns, any_header=any_header)
            finally:
                if owned:
                    opened.close()
        find = partial(
            find_dialect, sample, delimiter=delimiter, quotechar=quotechar, encoding=encoding, columns=columns
        )
        dialect = find() or (find(any_header=True) if any_header and not is_no_table(sample) else None)
        if dialect is None:
            raise no_header(sample, is_text=isinstance(file, str))
        return CsvSource(opened, sample, dialect, columns=columns, owned=owned)
    except BaseException:
        if owned:
            opened.close()
        raise


class _TooLong(Exception):
    """A line that doesn't end where any line of listings would."""


class _Bytes(io.RawIOBase):
    """A file whose beginning was read already. Closing it leaves the file open."""

    def __init__(self, beginning: bytes, file: BinaryIO) -> None:
        self._beginning = memoryview(beginning)
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._beginning or memoryview(_read(self._file, len(buffer)))
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        self._beginning = data[count:]
        return count


_GIVEN_UP = ("and what follows was not read, as too many quotes are broken", "correct those above first")
_TOO_LONG = f"is longer than {MAX_RECORD_CHARS} characters"


def _stray(line: int, text: str, quote: str) -> Broken:
    return Broken(line, f"has a quote {quote} in a field that is not quoted", _twice(quote), astray=False, text=text)


def _twice(quote: str) -> str:
    return f"save the list as CSV in Excel again, or write the cell as {quote}13{quote}{quote} screen{quote}"


def _beginning(file: BinaryIO) -> bytes:
    sample = b""
    while len(sample) < SAMPLE and (data := _read(file, SAMPLE - len(sample))):
        sample += data
    return sample


def _read(file: BinaryIO, size: int) -> bytes:
    read = getattr(file, "read", None)
    data = read(size) if read else None
    if not isinstance(data, bytes):
        raise InvalidArgument("The file cannot be read as bytes. Open it with mode 'rb', or give its path.")
    return data
