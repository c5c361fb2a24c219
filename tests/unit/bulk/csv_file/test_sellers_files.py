"""Files as sellers save them: read as they are meant, or refused with the row, the column, the cause and what to do."""

import io
from pathlib import Path
from typing import Any

import pytest

from backmarket.bulk.csv_file.amounts import Notation
from backmarket.bulk.csv_file.faults import FAULTS_OF_A_LINE, letter
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.errors import BulkFileRefused, InvalidArgument

FILES = Path(__file__).parent / "files"


def read(
    data: str | bytes, encoding: str | None = None, **options: Any
) -> tuple[list[list[str]], list[str], list[str]]:
    """The lines that would be sent, the faults and the notes."""
    rows: list[list[str]] = []
    with open_source(data if isinstance(data, str) else io.BytesIO(data), encoding=encoding) as source:
        try:
            found = Check(source, locale="fr-fr", **options)
        except BulkFileRefused as refused:
            return [], [str(fault) for fault in refused.faults], []
        try:
            for _, cells in found:
                rows.append(cells)  # those before a refusal stay
        except BulkFileRefused as refused:
            return rows, [str(fault) for fault in refused.faults] or [refused.message], list(found.notes)
        return rows, [], list(found.notes)


def read_file(name: str, encoding: str | None = None, **options: Any) -> tuple[list[list[str]], list[str], list[str]]:
    (path,) = FILES.glob(f"{name}_*")
    return read(path.read_bytes(), encoding, **options)


def test_the_rows_of_back_markets_template_that_explain_it_are_left_out() -> None:
    rows, faults, notes = read_file("01")
    assert (rows, faults) == ([], ["The file has no listing below its column names; nothing was sent."])
    assert notes == ["Rows 2 to 4 of Back Market's template, explaining it: left out."]
    (path,) = FILES.glob("01_*")
    filled = path.read_text() + "\nMY-PHONE;3;99.00;GOOD" + ";" * 15 + "\n"
    rows, faults, _ = read(filled)
    assert ([row[:4] for row in rows], faults) == ([["MY-PHONE", "3", "99.00", "GOOD"]], [])


def test_a_listing_in_the_place_of_the_templates_example_is_sent() -> None:
    rows, faults, _ = read("sku;price;quantity\nRequired;Required;Optional\nString/200;Decimal;Int\nA;1;1\nB;2;2\n")
    assert ([row[0] for row in rows], faults) == (["A", "B"], [])


def test_a_french_file_is_read_once_its_signs_and_encoding_are_chosen() -> None:
    rows, faults, _ = read_file("03", "cp1252", notation=Notation(",", " "))
    assert faults == []
    assert [row[:3] for row in rows] == [["IP12-64-NOIR", "229.00", "5"], ["IP12-128-BLEU", "1299.00", "2"]]
    _, faults, _ = read_file("03")
    assert "cp1252" in faults[0]
    assert faults[1].startswith('row 2, column B (price): "229,00" has a decimal comma. Write it with a point')


@pytest.mark.parametrize(("name", "skus"), [("05", ["IP12-64"]), ("06", ["IP12-64", "IP12-128"])])
def test_what_excel_adds_is_passed_over(name: str, skus: list[str]) -> None:
    rows, faults, _ = read_file(name)
    assert ([row[0] for row in rows], faults) == (skus, [])
    assert {len(row) for row in rows} == {3}


def test_rows_are_counted_as_excel_does() -> None:
    assert read('sep=;\nsku;comment;price\nA;"two\nlines";1\n\nB;x;no\n')[1][0].startswith("row 4, column C (price): ")
    assert read("sku;price\nA;1\nB;\n;\nC;no\n")[1][0].startswith("row 5, column B (price): ")
    assert [letter(at) for at in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_skus_that_excel_damaged_are_refused_with_the_cause() -> None:
    _, faults, _ = read_file("09")
    assert 'row 2, column A (sku): "3.53E+14" is a long number that Excel shortened' in faults[0]
    assert 'column B (ean): "8.88462E+11" is a long number that Excel shortened' in faults[1]
    _, faults, _ = read_file("13")
    assert ["is a formula of Excel" in faults[0], "begins with the apostrophe" in faults[1]] == [True, True]
    rows, faults, _ = read_file("13", skus_as_they_are=True)
    assert ([row[0] for row in rows], faults) == (['="00123"', "'00124"], [])


@pytest.mark.parametrize(
    "sku",
    [
        "3.53E+14",
        "3,53e+14",
        "#N/A",
        "#NV",
        "#REF!",
        "#NOM?",
        "####",
        "'00124",
        "=A1",
        "01/03/2026",
        "Total",
        "a\ufffd",
    ],
)
def test_a_damaged_sku_is_sent_only_by_choice(sku: str) -> None:
    text = f"sku;price\n{sku};1\n"
    (fault,) = read(text)[1]
    assert fault.startswith("row 2, column A (sku): ")
    assert "--skus-as-they-are" in fault
    assert read(text, skus_as_they_are=True)[0] == [[sku, "1"]]


@pytest.mark.parametrize("sku", ["1e5", "E+14", "#12", "12-MAR", "TOTAL-64", "3E-64"])
def test_a_sku_that_only_resembles_damage_is_sent(sku: str) -> None:
    assert read(f"sku;price\n{sku};1\n")[1] == []


def test_amounts_are_never_guessed() -> None:
    rows, faults, _ = read_file("10")
    assert [row[0] for row in rows] == ["A8", "B1"]
    assert len(faults) == 8
    assert [fault for fault in faults if "has a currency sign" in fault] == faults[:2]
    rows, faults, _ = read_file("10", notation=Notation(",", " "))
    assert [row[:2] for row in rows] == [["A5", "1299.00"], ["A6", "1299.00"], ["A7", "229.5"], ["A8", "229"]]
    rows, faults, _ = read("sku;price\nA;1.299,00\nB;1.29\nC;1.299\n", notation=Notation(",", "."))
    assert [row[1] for row in rows] == ["1299.00", "1299"]
    assert 'row 3, column B (price): "1.29" is not written with the chosen signs' in faults[0]


@pytest.mark.parametrize(
    ("decimal", "thousands"), [("x", None), (",", ","), (".", "."), (None, "."), (".", "_"), ("", None)]
)
def test_signs_that_contradict_are_refused(decimal: str | None, thousands: str | None) -> None:
    with pytest.raises(InvalidArgument):
        Notation(decimal, thousands)


def test_spaces_round_cells_are_taken_off_and_told_once() -> None:
    rows, faults, notes = read_file("11")
    assert ([row[0] for row in rows], faults) == (["IP12-64", "IP12-128", "IP12-256"], [])
    assert notes == ["Spaces at the beginning or end of cells were taken off in 3 rows, first in row 2."]


@pytest.mark.parametrize(
    ("name", "known"),
    [("stock", "quantity"), ("Prix", "price"), ("menge", "quantity"), ("Min Price", "min_price"), ("État", "grade")],
)
def test_a_column_name_that_comes_near_is_suggested(name: str, known: str) -> None:
    (fault,) = read(f"sku;ean;{name}\nA;;1\n")[1]
    assert f"did you mean {known}? Rename cell C1 to {known}" in fault


def test_a_name_that_means_the_sku_is_suggested() -> None:
    assert "did you mean quantity?" in read_file("12d")[1][0]
    with pytest.raises(BulkFileRefused, match=r"did you mean sku\? Rename cell B1 to sku"):
        read("price;seller sku\n1;A\n")


def test_columns_in_use_are_not_taken_for_others() -> None:
    assert read("sku;shipper_delay_1;snowden;noisy_camera;images;my notes\nA;1;1;1;1;1\n")[1] == []


def test_grades_and_sums_are_named() -> None:
    assert [row[0] for row in read_file("15")[0]] == ["C"]
    assert ["is not a grade" in fault for fault in read_file("15")[1]] == [True] * 3
    rows, faults, _ = read_file("23")
    assert ([row[0] for row in rows], len(faults)) == (["A", "B"], 1)
    assert faults[0].startswith('row 4, column A (sku): "TOTAL" is the name of a sum, not a SKU. Delete this row')


def test_the_example_of_the_apis_document_is_sent() -> None:
    assert [row[3] for row in read_file("20")[0]] == ["6", "12"]


def test_a_damaged_workbook_named_csv_is_recognised() -> None:
    with pytest.raises(BulkFileRefused, match="begins like an Excel workbook"):
        read_file("18")


def test_a_title_row_is_left_out() -> None:
    rows, faults, notes = read("Our stock;27.11.2026\n\nSKU;Price\nA;1\n")
    assert (rows, faults) == ([["A", "1"]], [])
    assert notes == ["Row 1 above the column names: left out."]


def test_flags_are_read_in_the_languages_of_excel() -> None:
    text = "sku;new_battery\n" + "".join(f"S{at};{word}\n" for at, word in enumerate(["yes", "VRAI", "FALSCH", "True"]))
    assert [row[1] for row in read(text)[0]] == ["true", "true", "false", "True"]
    assert len(read("sku;new_battery\nA;maybe\n")[1]) == 1


def test_broken_letters_are_told() -> None:
    _, faults, notes = read("sku;comment\nA;trÃ¨s bon\nB;caf\ufffd\nC;très\n")
    assert faults == []
    assert "broken in 2 rows, first in row 2, column B (comment)" in notes[0]


def test_a_line_with_thousands_of_faults_gives_a_short_text() -> None:
    names = ";".join(f"x{at}" for at in range(2500))
    _, faults, _ = read(f"sku;{names}\nA;" + ";".join(["\x01"] * 2500) + "\n")
    assert len(faults) == FAULTS_OF_A_LINE + 1
    assert "has 2480 more faults" in faults[-1]
    assert sum(map(len, faults)) < 4000


def test_an_apostrophe_in_a_cell_is_no_quote() -> None:
    assert read("sku;comment\nA;'new'\nB;it's\nC;x\n")[0][0] == ["A", "'new'"]
    assert read("'sku';'comment'\n'A';'new'\n")[0] == [["A", "new"]]
    assert read("sku;comment\n'A';'new'\n'B';'x'\n")[0] == [["A", "new"], ["B", "x"]]


@pytest.mark.parametrize("cell", ["#N/A", "#NV", "#VALEUR!", "#¡REF!", "#DIV/0!", "#ÜBERLAUF!", "####"])
@pytest.mark.parametrize("column", ["price", "quantity", "comment"])
def test_an_error_of_excel_is_refused_in_any_column(column: str, cell: str) -> None:
    (fault,) = read(f"sku;ean;{column}\nA;;{cell}\n")[1]
    value = "" if column == "comment" else f': "{cell}"'  # what may be personal is not shown
    assert fault.startswith(f"row 2, column C ({column}){value} is an error")
    assert "is an error message of Excel. Correct the formula of that cell, or empty the cell" in fault


def test_the_name_that_means_the_sku_is_found_below_titles() -> None:
    text = "\ufeffsep=;\nMagazzino;;\n;;\ncodice;prezzo;menge\nA;1;1\n"
    with pytest.raises(
        BulkFileRefused, match=r"row 3, column A \(codice\) is .* did you mean sku\? Rename cell A3 to sku"
    ):
        open_source(text)


def test_a_web_page_is_told_to_be_one() -> None:
    with pytest.raises(BulkFileRefused, match=r"web page.*save it as \.xlsx"):
        open_source(io.BytesIO(b"<html><table><tr><td>sku</td></tr></table>"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("12-Mar;1", "SKUs look like dates that Excel made of them in 2 rows, first in row 2, column A (sku)"),
        ("2026-03-01;1", "SKUs look like dates"),
        ("Exported by Anna;", "The SKU stands alone in 2 rows, first in row 2, column A (sku)"),
        ("A;Ã©cran", "Letters look broken in 2 rows, first in row 2, column B (title)"),
    ],
)
def test_what_is_doubtful_is_sent_and_told_once(row: str, told: str) -> None:
    again = row.replace("12-", "11-").replace("-01", "-02").replace("Anna", "Bob").replace("A;", "B;")
    rows, faults, notes = read(f"sku;title\n{row}\n{again}\n")
    assert (len(rows), faults, len(notes)) == (2, [], 1)
    assert notes[0].startswith(told)
