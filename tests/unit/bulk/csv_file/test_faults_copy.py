"""The copy of a file with its faults: the seller's own file in each other respect, which can be sent again."""

import csv
import io
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from backmarket.bulk.csv_file.column_map import REASONS, ColumnMap
from backmarket.bulk.csv_file.faults_copy import write_copy
from backmarket.bulk.csv_file.reader import MAX_RECORD_CHARS, open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.bulk.skipped_lines import LeftOut
from backmarket.errors import BulkFileRefused, InvalidArgument
from tests.support.workbooks import text, workbook


def copied(data: bytes, columns: Mapping[str, str] | None = None, encoding: str | None = None) -> bytes:
    """The copy of a file."""

    def opened() -> Any:
        return open_source(io.BytesIO(data), columns=ColumnMap(columns), encoding=encoding)

    into = io.BytesIO()
    with tempfile.TemporaryFile() as texts:
        found = LeftOut(texts)
        with opened() as source, suppress(BulkFileRefused):
            list(Check(source, locale="fr-fr", each_fault=found.add_fault))
        with opened() as source:
            write_copy(source, found.bad_lines(), into)
    return into.getvalue()


def test_every_line_is_there_as_it_was_with_its_faults_in_the_last_column() -> None:
    data = (
        b"Stock;today\r\n\r\nArtikel;price;comment;\r\nA;1.50;=1+1;\r\n"
        b"\r\nB;cheap;\"a;\"\"b\"\"\r\nc\";\r\nA;-1;\r\nC;1\r\n"
    )  # fmt: skip
    lines = copied(data, {"artikel": "sku"}).removeprefix(b"\xef\xbb\xbf").decode().split("\r\n")
    assert lines[:3] == ["Stock;today", "", f"Artikel;price;comment;{REASONS}"]
    assert lines[3].startswith('A;1.50;=1+1;"row 4, column A (Artikel): ""A"" is again in row 7.')
    assert lines[4:6] == ["", 'B;cheap;"a;""b""']
    assert lines[6].startswith('c";"row 6, column B (price): ""cheap"" is not an amount above zero.')
    assert lines[7].startswith('A;-1;;"row 7, column B (price): ""-1"" is not an amount above zero.')
    assert '| row 7, column A (Artikel): ""A"" is already in row 4.' in lines[7]
    assert lines[8].startswith("C;1;;row 8 has 2 cells, and the row of column names has 3.")
    assert lines[9:] == [""]


@pytest.mark.parametrize(
    ("encoding", "delimiter", "mark"),
    [("cp1252", ";", b""), ("cp932", "\t", b""), ("utf-16-le", ";", b"\xff\xfe"), ("utf-8", ",", b"\xef\xbb\xbf")],
)
def test_encoding_and_separator_are_the_files_own(encoding: str, delimiter: str, mark: bytes) -> None:
    letter = "日本" if encoding == "cp932" else "Weiß"
    names, line = delimiter.join(["sku", "price", "comment"]), delimiter.join([letter, "no", letter])
    told = None if mark else encoding
    copy = copied(mark + f"{names}\n{line}\n".encode(encoding), encoding=told)
    assert copy.startswith(mark + f"{names}{delimiter}{REASONS}\n{line}{delimiter}".encode(encoding))
    assert copied(copy, encoding=told) == copy, "a copy of the copy has one column of reasons"


def test_excels_line_with_the_separator_stays() -> None:
    assert copied(b"sep=;\nsku;price\nA;x\n").removeprefix(b"\xef\xbb\xbf").startswith(b"sep=;\nsku;price;What")


def test_a_byte_order_mark_tells_excel_that_it_is_utf_8() -> None:
    assert copied("sku;price\nÄ;x\n".encode()).startswith("\ufeffsku;price;".encode())


def test_bytes_that_cannot_be_read_stay() -> None:
    data = "sku;price\nWeiß;x\n".encode("cp1252")
    assert b"\nWei\xdf;x;" in copied(data)


def test_a_line_whose_quotes_are_wrong_is_one_row_again() -> None:
    data = b'sku;price;comment\nA;1;13" screen\nB;"2;x\nC;x;y\n'
    rows = list(csv.reader(io.StringIO(copied(data).decode("utf-8-sig")), delimiter=";", strict=True))
    assert [row[:3] for row in rows[1:]] == [["A", "1", '13" screen'], ["B", '"2', "x"], ["C", "x", "y"]]
    assert ["quote" in row[3] for row in rows[1:]] == [True, True, False]


def test_a_cell_too_many_stands_behind_the_reason() -> None:
    *_, last = csv.reader(io.StringIO(copied(b"sku,price\nA,1,50\n").decode("utf-8-sig")))
    assert (last[:2], last[3], "has no name" in last[2]) == (["A", "1"], "50", True)


def test_once_it_is_corrected_it_can_be_sent() -> None:
    copy = copied(b"sku;price\nA;x\nB;2\n").replace(b"\nA;x;", b"\nA;1;")
    with open_source(io.BytesIO(copy)) as source:
        assert [cells for _, cells in Check(source, locale="fr-fr")] == [["A", "1"], ["B", "2"]]


def test_the_copy_of_a_workbook_is_one_with_its_values() -> None:
    rows = (
        f'<row r="1">{text("B1", "sku")}{text("C1", "price")}</row>'
        f'<row r="2">{text("B2", "00123")}<c r="C2"><v>12.5</v></c></row>'
        f'<row r="4">{text("B4", "=1+1")}{text("C4", "x")}</row>'
    )
    with open_source(io.BytesIO(copied(workbook(rows)))) as source:
        values = [row.values for row in source.rows()]  # type: ignore[union-attr]
    assert values[:2] == [["sku", "price", REASONS], ["00123", 12.5, ""]]
    assert values[3][:2] == ["=1+1", "x"]
    assert str(values[3][2]).startswith("row 4, column B (sku)")


def test_a_file_whose_rest_is_hidden_is_not_copied() -> None:
    with pytest.raises(InvalidArgument, match="cannot be copied: line 3 is longer"):
        copied(b"sku;price\nA;x\nB;" + b"1" * MAX_RECORD_CHARS + b"\n")
