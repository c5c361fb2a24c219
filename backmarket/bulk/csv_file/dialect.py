"""How a CSV file is written: encoding, delimiter, quote, line end. Found by its header, or told.

The encoding is UTF-8, unless a byte order mark or the header says UTF-16 or UTF-32. A one-byte encoding is never
guessed: Windows-1252, 1250 and 1253 read the same bytes as different letters, all of them plausible.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from backmarket.bulk.csv_file.column_map import BY_NAME, ColumnMap
from backmarket.bulk.csv_file.header import find_header, likely_header
from backmarket.errors import InvalidArgument

DELIMITERS = (";", ",", "\t", "|")
QUOTES = ('"', "'")

SAMPLE = 65_536
"""Bytes of the file's beginning that are looked at; the header must lie within."""

_NEARLY_ALL = 0.9
"""Share of the cells that are quoted in a file whose header is not."""

_Finder = Callable[[str, str, str], tuple[int, list[str]] | None]

_SEP_LINE = re.compile(r'"?sep=([^0-9A-Za-z"\r\n\0])"?[^\r\n]*(?:\r\n|\r|\n)', re.IGNORECASE | re.ASCII)

_KEEPING = "backmarket.undecodable"
"""Python's own `surrogateescape` keeps bytes from 0x80 on only; UTF-16 and Shift-JIS fail at others, too."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

ENCODINGS = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii"),
    *(f"cp{number}" for number in (437, 850, 852, 858, 932, *range(1250, 1259))),
    *(f"iso8859-{number}" for number in (1, 2, 3, 4, 5, 7, 9, 10, 13, 14, 15, 16)),
    *("mac-roman", "shift_jis", "euc_jp"),
)
"""Those that a file may be said to have, as `codecs` names them; each by any of its names."""

_WIDE = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
"""What is read where no mark decides."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: by its name in `codecs`.
        mark: the byte order mark that the file begins with; empty: none.
        delimiter: one character.
        quotechar: one character.
        line_end: that of the header; the others may differ.
        above: rows with content above the header.
        has_sep_line: the first line is Excel's `sep=;`, which Excel itself does not show as a row.
    """

    encoding: str
    mark: bytes
    delimiter: str
    quotechar: str
    line_end: str
    above: int = 0
    has_sep_line: bool = False

    def __str__(self) -> str:
        ends = {"\n": "\\n", "\r\n": "\\r\\n", "\r": "\\r"}[self.line_end]
        mark = " with byte order mark" if self.mark else ""
        return f"{self.encoding}{mark}, delimiter {self.delimiter!r}, quote {self.quotechar}, line end {ends}"


def other_encoding(byte: int) -> str:
    """What to do about a byte that the encoding doesn't have."""
    character = bytes([byte]).decode("cp1252", "replace")
    if byte < 0x80 or not character.isalpha():
        return 'save the file as CSV UTF-8 in Excel, or choose its encoding ("encoding" in the console, --encoding)'
    return f"save the file as CSV UTF-8 in Excel, or choose its encoding: in cp1252 that byte is {character}"


def find_dialect(
    sample: bytes,
    *,
    delimiter: str | None = None,
    quotechar: str | None = None,
    encoding: str | None = None,
    columns: ColumnMap = BY_NAME,
    any_header: bool = False,
) -> Dialect | None:
    """The dialect in which the header has a column `sku`; None: no dialect does.

    Args:
        sample: the beginning of the file.
        delimiter: given, if it isn't to be found.
        quotechar: the same.
        encoding: the same.
        columns: which column is `sku`.
        any_header: where none is, take the row that most likely names the columns.

    Raises:
        InvalidArgument: if an argument is invalid.
    """
    _check_given(delimiter, quotechar)
    texts = [
        (mark, name, codecs.getincrementaldecoder(name)(undecodable(name)).decode(sample.removeprefix(mark)))
        for mark, name in _encodings(sample, encoding)
    ]
    finders: list[_Finder] = [partial(find_header, columns=columns), *([likely_header] if any_header else [])]
    for find in finders:
        for mark, name, text in texts:
            found = _find(text, find, delimiter, quotechar)
            if found:
                above, each, quote, has_sep_line = found
                return Dialect(name, mark, each, quote, _line_end(text), above, has_sep_line)
    return None


def _find(text: str, find: _Finder, delimiter: str | None, quotechar: str | None) -> tuple[int, str, str, bool] | None:
    """The rows above the header, the delimiter, the quote, and whether the first line is Excel's `sep=`."""
    delimiters = (delimiter,) if delimiter is not None else DELIMITERS
    quotes = (quotechar,) if quotechar is not None else QUOTES
    sep = _SEP_LINE.match(text)
    found = [
        (len(header[1]), _quoted(text, each, quote), -header[0], each, quote)
        for quote in quotes
        for each in ((sep[1],) if sep and delimiter is None else delimiters)
        if each != quote and (header := find(text, each, quote))
        if quotechar is not None or quote == QUOTES[0] or _is_quote(text, each, quote, header[0])
    ]
    if not found:
        return None
    *_, above, each, quote = max(found, key=lambda one: one[:3])
    return -above, each, quote, sep is not None


def undecodable(encoding: str) -> str:
    """The error handler that keeps each byte that cannot be decoded as one lone surrogate, U+DC00 and the byte."""
    return "surrogateescape" if encoding in {"utf-8", "ascii"} else _KEEPING


def check_encoding(encoding: str) -> str:
    """An encoding by its name in `codecs`.

    Raises:
        InvalidArgument: if files may not have it.
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name not in ENCODINGS:
        raise InvalidArgument("The encoding is not supported for bulk files. Use one of " + ", ".join(ENCODINGS) + ".")
    return name


def encoder(dialect: Dialect) -> codecs.IncrementalEncoder:
    """Writes what was read in a dialect: bytes that could not be decoded come out as they were."""
    return codecs.getincrementalencoder(dialect.encoding)(_KEEPING)


def _quoted(text: str, delimiter: str, quotechar: str) -> int:
    """How many fields have this quote around them, as far as one look tells."""
    quote, mark = re.escape(quotechar), re.escape(delimiter)
    return len(re.findall(rf"(?:^|{mark}){quote}[^{quote}\r\n]*{quote}(?={mark}|[\r\n]|\Z)", text, re.MULTILINE))


def _is_quote(text: str, delimiter: str, quotechar: str, above: int) -> bool:
    """Whether the header has this quote, or nearly all cells below it; an apostrophe here and there is not a quote."""
    lines = [line for line in text.splitlines() if line.strip()][above:]
    if _quoted(lines[0], delimiter, quotechar):
        return True
    below = "\n".join(lines[1:])
    cells = len(re.findall(rf"[^{re.escape(delimiter)}\n]+", below))
    return cells > 0 and _quoted(below, delimiter, quotechar) >= _NEARLY_ALL * cells


def _encodings(sample: bytes, given: str | None) -> Iterator[tuple[bytes, str]]:
    marked = next(((mark, name) for mark, name in _MARKS.items() if sample.startswith(mark)), None)
    wanted = None if given is None else check_encoding(given)
    if marked:
        mark, name = marked
        if wanted is not None and not name.startswith(wanted.removesuffix("-sig")):
            raise InvalidArgument(
                f"The file begins with the byte order mark of {name}, and its encoding was given as {given}:"
                " leave the encoding out."
            )
        yield mark, name
    elif wanted is not None:
        yield b"", _WIDE.get(wanted, wanted)
    else:
        yield b"", "utf-8"
        if b"\0" in sample:
            yield b"", "utf-16-le"
            yield b"", "utf-16-be"


def _check_given(delimiter: str | None, quotechar: str | None) -> None:
    for name, value in (("delimiter", delimiter), ("quotechar", quotechar)):
        if value is not None and (len(value) != 1 or value in "\r\n\0" or value.isalnum() or not value.isascii()):
            raise InvalidArgument(
                f'{name} is one ASCII character that is no letter, digit or line end, such as ; or ".'
            )
    if delimiter is not None and delimiter == quotechar:
        raise InvalidArgument("delimiter and quotechar are the same character. Choose different ones.")


def _line_end(text: str) -> str:
    line = io.StringIO(text.lstrip("\r\n"), newline="").readline()
    return next((end for end in ("\r\n", "\n", "\r") if line.endswith(end)), "\n")


def _keep_byte(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end
    if isinstance(error, UnicodeEncodeError):
        if error.encoding.startswith(("utf-16", "utf-32")):  # which have no single bytes
            return "\ufffd" * (error.end - error.start), error.end
        codes = [ord(character) for character in error.object[error.start : error.end]]
        return bytes(code - 0xDC00 if 0xDC00 <= code <= 0xDCFF else _LOST for code in codes), error.end
    raise error


_LOST = ord("?")
"""For a character that the encoding does not have."""

codecs.register_error(_KEEPING, _keep_byte)
