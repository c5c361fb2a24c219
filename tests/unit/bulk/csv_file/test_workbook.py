"""Excel workbooks: cells as they are meant, and bounds that hold before anything large is in memory."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.errors import BulkFileRefused
from tests.support.workbooks import text, workbook

CHECKOUT = Path(__file__).parents[4]
HEADER = f'<row r="2">{text("B2", "SKU")}{text("C2", "Price")}{text("D2", "quantity")}</row>'


def read(data: bytes, **options: Any) -> tuple[list[list[str]], list[str]]:
    rows: list[list[str]] = []
    with open_source(io.BytesIO(data)) as source:
        assert "sheet 'Stock'" in source.written
        try:
            rows += (cells for _, cells in Check(source, locale="fr-fr", **options))
        except BulkFileRefused as refused:
            return rows, [str(fault) for fault in refused.faults]
    return rows, []


def test_cells_are_read_as_they_are_meant() -> None:
    rows = (
        f'{HEADER}<row r="4">{text("B4", "00123")}<c r="C4"><f>1+1</f><v>229.10000000000002</v></c>'
        '<c r="D4"><v>5</v></c></row>'
        '<row r="5"><c r="B5"><v>4006381333931</v></c><c r="C5"><v>229</v></c><c r="D5"><v>2.0</v></c></row>'
    )
    assert read(workbook(rows)) == ([["00123", "229.1", "5"], ["4006381333931", "229", "2"]], [])


def test_dates_and_long_numbers_are_no_skus() -> None:
    rows = (
        f'{HEADER}<row r="3"><c r="B3" s="1"><v>45000</v></c><c r="C3"><v>1</v></c></row>'
        '<row r="4"><c r="B4"><v>3530000000000000123</v></c><c r="C4"><v>1</v></c></row>'
        f'<row r="5">{text("B5", "A")}<c r="C5" s="1"><v>45000</v></c></row>'
    )
    _, faults = read(workbook(rows))
    assert [fault.partition(". ")[0] for fault in faults] == [
        'row 3, column B (sku): "2023-03-15" is a date to Excel',
        'row 4, column B (sku): "3530000000000000000" is a number of more than 15 digits, of which Excel keeps 15',
        'row 5, column C (price): "2023-03-15" is a date to Excel',
    ]


def test_error_cells_are_refused_by_what_excel_shows_in_them() -> None:
    rows = (
        f'{HEADER}<row r="3">{text("B3", "A")}<c r="C3" s="0" t="e"><f>VLOOKUP(1,A:A,1)</f><v>#N/A</v></c></row>'
        f'<row r="4"><c r="B4" t="e"><v>#REF!</v></c><c r="C4"><v>1</v></c></row>'
        f'<row r="5">{text("B5", "C")}<c t=\'e\' r="C5"><v>#DIV/0!</v></c></row>'
    )
    _, faults = read(workbook(rows))
    assert [fault.partition(". ")[0] for fault in faults] == [
        'row 3, column C (price): "#N/A" is an error message of Excel',
        'row 4, column B (sku): "#REF!" is an error message of Excel, not a SKU',
        'row 5, column C (price): "#DIV/0!" is an error message of Excel',
    ]


def test_zeros_that_only_the_format_of_a_number_shows_are_told() -> None:
    rows = f'{HEADER}<row r="3"><c r="B3"><v>124</v></c><c r="C3"><v>1</v></c></row>'
    with open_source(io.BytesIO(workbook(rows))) as source:
        found = Check(source, locale="fr-fr")
        assert len(list(found)) == 1
    assert "SKUs are numbers to Excel in 1 row, first in row 3, column B (sku)" in found.notes[0]


def test_the_name_that_means_the_sku_is_found_below_a_title() -> None:
    title = f'<row r="1">{text("A1", "Magazzino")}</row>'
    names = f'<row r="3">{text("B3", "Codice")}{text("C3", "Prezzo")}{text("D3", "Menge")}</row>'
    assert "row 3, column B (codice)" in refused(workbook(title + names))
    assert "Rename cell B3 to sku" in refused(workbook(title + names))


def refused(data: bytes) -> str:
    with pytest.raises(BulkFileRefused) as caught:
        open_source(io.BytesIO(data))
    return str(caught.value)


def test_cells_far_apart_are_refused_before_they_take_memory() -> None:
    assert "below row 300000" in refused(workbook(f'{HEADER}<row r="1048576">{text("XFD1048576", "x")}</row>'))
    wide = f'{HEADER}<row r="3">{text("XFD3", "x")}</row><row r="200000">{text("A200000", "x")}</row>'
    assert "more cells" in refused(workbook(wide))
    unnamed = "<row>" + "<c><v>1</v></c>" * 6000 + "</row>" + "<row><c><v>1</v></c></row>" * 1000
    assert "more cells" in refused(workbook(unnamed))


def test_a_long_text_that_many_cells_share_is_refused() -> None:
    shared = "<row>" + '<c t="s"><v>0</v></c>' * 5000 + "</row>"
    assert "more cells or text" in refused(workbook(HEADER + shared, f"<si><t>{'x' * 30_000}</t></si>"))


def test_a_zip_bomb_is_refused_by_what_it_declares() -> None:
    assert "far larger inside" in refused(workbook(" " * 30_000_000))


def test_a_size_that_is_declared_too_small_is_refused() -> None:
    data = bytearray(workbook(" " * 20_000))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    assert "damaged" in refused(bytes(data))


@pytest.mark.parametrize("xml", ["<!-- <row r='1'> -->", "<row r='3'><c r=B3><v>1</v></c></row>", "<?x y?>"])
def test_xml_that_no_spreadsheet_writes_is_refused(xml: str) -> None:
    assert "not written by a spreadsheet program" in refused(workbook(HEADER + xml))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel file"),
        (b"PK\x03\x04" + bytes(60), "damaged or incomplete"),
        (workbook(HEADER)[:-40], "damaged or incomplete"),
        (workbook(""), "is empty"),
        (workbook(f'<row r="1">{text("A1", "price")}{text("B1", "seller sku")}</row>'), "Rename cell B1 to sku"),
    ],
)
def test_any_other_file_is_refused_with_what_to_do(data: bytes, reason: str) -> None:
    assert reason in refused(data)


MEASURE = """
import sys, time
from pathlib import Path
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
begun = time.monotonic()
with open_source(Path(sys.argv[1])) as source:
    count = sum(1 for _ in Check(source, locale="fr-fr"))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(count, int(peak.split()[1]) * 1024, time.monotonic() - begun)
"""


@pytest.mark.slow
def test_a_workbook_of_100_000_lines_takes_less_than_200_mb(tmp_path: Path) -> None:
    lines = (
        f'<row r="{row}"><c r="B{row}" t="s"><v>{row - 3}</v></c><c r="C{row}"><v>{row % 90 + 1}.5</v></c>'
        f'<c r="D{row}"><v>{row % 7}</v></c></row>'
        for row in range(3, 100_003)
    )
    strings = "".join(f"<si><t>SKU-{number:06}-BLACK</t></si>" for number in range(100_000))
    path = tmp_path / "large.xlsx"
    path.write_bytes(workbook(HEADER + "".join(lines), strings))
    run = [sys.executable, "-c", MEASURE, str(path)]
    told = subprocess.run(run, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    count, memory, seconds = told.split()
    assert count == "100000"
    assert int(memory) < 200e6, f"{memory} bytes, {seconds} s"
