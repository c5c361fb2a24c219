"""A bulk file is read as it is written, whatever its dialect; where nobody can say how it is meant, it is refused."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest

from backmarket.bulk.csv_file import reader
from backmarket.bulk.csv_file.dialect import ENCODINGS
from backmarket.bulk.csv_file.reader import MAX_RECORD_CHARS, CsvSource, open_source
from backmarket.bulk.csv_file.source import Broken, Record
from backmarket.errors import BulkFileRefused, InvalidArgument


def read(data: bytes | str, **given: Any) -> list[Record | Broken]:
    file = data if isinstance(data, str) else io.BytesIO(data)
    with open_source(file, **given) as source:
        return list(source.records())


def cells(data: bytes | str, **given: Any) -> list[list[str]]:
    return [record.cells for record in read(data, **given) if isinstance(record, Record)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize(  # an apostrophe round some cells only is no quote: it is told, not found
    ("quote", "quoting"), [('"', csv.QUOTE_ALL), ('"', csv.QUOTE_MINIMAL), ("'", csv.QUOTE_ALL)]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_dialect_is_found(end: str, delimiter: str, quote: str, quoting: Literal[0, 1], encoding: str) -> None:
    rows = [["x", "SKU", "comment"], ["", "A1", f"a{delimiter} b"], ["é", "B2", f"c{quote}{delimiter}{end}d"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end).writerows(rows)
    data = text.getvalue().encode(encoding)
    with open_source(io.BytesIO(data)) as source:
        assert isinstance(source, CsvSource)
        found = source.dialect
        assert (found.delimiter, found.quotechar, found.line_end) == (delimiter, quote, end)
        assert str(found).startswith(found.encoding)
    assert cells(data) == rows


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_found_by_its_header(encoding: str) -> None:
    assert cells("sku;x\nA;é\n".encode(encoding)) == [["sku", "x"], ["A", "é"]]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_that_is_given_is_used(encoding: str) -> None:
    data = "sku;x\nA;B\n".encode(encoding)
    assert cells(data, encoding=encoding) == [["sku", "x"], ["A", "B"]]


def test_names_of_an_encoding_are_known() -> None:
    assert cells("sku;x\nA;é€\n".encode("cp1252"), encoding="Windows-1252")[1] == ["A", "é€"]
    assert cells("sku;x\nA;é\n".encode("latin-1"), encoding="latin1")[1] == ["A", "é"]
    assert cells("sku;x\nA;é\n".encode("utf-8-sig"), encoding="UTF8")[1] == ["A", "é"]


def test_a_one_byte_encoding_is_not_guessed() -> None:
    assert cells("sku;x\nA;é\n".encode("cp1252"))[1] == ["A", "\udce9"]


def test_delimiter_and_quote_that_are_given_are_used() -> None:
    assert cells("sku:x\nA:!b:c!\n", delimiter=":", quotechar="!") == [["sku", "x"], ["A", "b:c"]]
    assert cells("sku;x,sku\nA;1,B\n") == [["sku", "x,sku"], ["A", "1,B"]]
    assert cells("sku;x,sku\nA;1,B\n", delimiter=",") == [["sku;x", "sku"], ["A;1", "B"]]


@pytest.mark.parametrize(
    "given",
    [
        {"delimiter": ""},
        {"delimiter": ";;"},
        {"delimiter": "\n"},
        {"delimiter": "a"},
        {"delimiter": "é"},
        {"quotechar": "\0"},
        {"quotechar": ";", "delimiter": ";"},
        {"encoding": "rot13"},
        {"encoding": "idna"},
        {"encoding": "no\0ne"},
        {"encoding": "\udce9"},
        {"encoding": ""},
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        read(b"sku;x\n", **given)


def test_a_mark_that_contradicts_the_encoding_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="leave the encoding out"):
        read("sku;x\n".encode("utf-8-sig"), encoding="cp1252")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"A;B\nC;D\n", b"price;quantity\n", b"\xff\xfe", b"\0\0\0"])
def test_a_file_without_a_header_is_refused(data: bytes) -> None:
    with pytest.raises(BulkFileRefused) as refused:
        read(data)
    assert refused.value.count == len(refused.value.faults) == 1
    assert "sku" in str(refused.value)


def test_a_file_that_is_no_text_is_refused_as_a_whole() -> None:
    with pytest.raises(BulkFileRefused, match="neither a CSV file nor an Excel workbook"):
        read(b"\x89PNG\r\n\x1a\n")


def test_a_path_given_as_text_is_told_from_a_file() -> None:
    with pytest.raises(BulkFileRefused, match=r"pathlib\.Path"):
        read("listings.csv")


def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "listings.csv"
    path.write_bytes(b"sku;x\nA;1\n")
    with open_source(path) as source:
        assert len(list(source.records())) == 2
    with pytest.raises(ValueError, match="closed"):
        source._file.read()  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.csv")


def test_a_file_of_the_callers_stays_open() -> None:
    file = io.BytesIO(b"sku;x\nA;1\n")
    with open_source(file) as source:
        list(source.records())
    del source
    assert file.seek(0) == 0


@pytest.mark.parametrize("file", [io.StringIO("sku;x\n"), b"sku;x\n", 7])
def test_what_gives_no_bytes_is_refused(file: object) -> None:
    with pytest.raises(InvalidArgument, match="'rb'"):
        open_source(file)  # type: ignore[arg-type]


class Drip(io.RawIOBase):
    """A file that can't seek, and gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return bytes(islice(self._data, min(size, 1)))


def test_a_stream_is_read_as_it_comes() -> None:
    with open_source(Drip('sku;x\r\nA;"é\r\n"\r\n'.encode())) as source:  # type: ignore[arg-type]
        assert [record.line for record in source.records()] == [1, 2]


def test_line_numbers_are_those_of_the_file() -> None:
    records = read('\n\nsku;x\n\nA;"1\n2\r3\r\n4"\n;\n  \nB;5\n')
    assert [(record.line, record.last) for record in records if isinstance(record, Record)] == [
        (3, 3),
        (5, 8),
        (11, 11),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('A;"13" screen";1', "inside a quoted field"),
        ('A;"open;1', "never closed"),
        ('A;13" screen;1', "not quoted"),
        ('A; "x";1', "not quoted"),
        ('A;"x" ;1', "inside a quoted field"),
    ],
)
def test_a_wrong_quote_costs_one_line(line: str, problem: str) -> None:
    broken, *others = read(f"sku;x;y\n{line}\nB;2;2\nC;3;3\n")[1:]
    assert isinstance(broken, Broken)
    assert (broken.line, broken.astray) == (2, False)
    assert problem in broken.problem
    assert [record.line for record in others] == [3, 4]


def test_a_line_that_may_go_on_is_told_apart() -> None:
    records = read('sku;y;comment\nA;1;"says 5" inner\nB;2;fine\nend"\nC;3;4\n')
    assert [record.astray for record in records if isinstance(record, Broken)] == [True, False]


def test_a_quote_that_is_never_closed_holds_no_more_than_a_record() -> None:
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        yield b'sku;x\nA;"open\n'
        for taken in range(50_000):
            yield b"B%d;%s\n" % (taken, b"x" * 90)

    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.lines = lines()

        def read(self, size: int = -1) -> bytes:
            return next(self.lines, b"")

    with open_source(Endless()) as source:  # type: ignore[arg-type]
        records = source.records()
        next(records)
        broken = next(records)
        assert isinstance(broken, Broken)
        assert (broken.line, broken.astray) == (2, True)
        assert taken * 90 < 4 * MAX_RECORD_CHARS
        assert sum(1 for _ in records) == 50_000


def test_a_line_without_an_end_is_not_held() -> None:
    first, last = read(b"sku;x\n" + b"x" * (MAX_RECORD_CHARS + 1))
    assert isinstance(first, Record)
    assert isinstance(last, Broken)
    assert last.astray


def test_broken_quotes_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_REREAD_CHARS", 10 * MAX_RECORD_CHARS)
    records = read("sku;x\n" + 'a";"b\n' * 40_000)
    assert len(records) < 20
    assert all(isinstance(record, Broken) and record.astray for record in records[1:])
    assert "not read" in records[-1].problem  # type: ignore[union-attr]
