"""Columns that a person has matched, the preview by which that is done, and the template to fill in."""

import io
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from backmarket.bulk import template_file
from backmarket.bulk.csv_file.amounts import Notation
from backmarket.bulk.csv_file.column_map import PRODUCT, REASONS, ColumnMap
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.bulk.csv_file.workbook_writer import WorkbookWriter
from backmarket.bulk.file_preview import FilePreview, preview_of
from backmarket.errors import BulkFileRefused, InvalidArgument, TooLarge
from backmarket.queries.listings import Listing
from tests.support.workbooks import text, workbook

GERMAN = (
    "Bestand;27.11.2026\r\n\r\n"
    "Artikelnummer;Preis;Menge;Lager;Zustand\r\n"
    "IP12-Weiß;229,00;5;Köln;GOOD\r\n"
    "IP12-B;1.299,00;viele;Köln;\r\n"
).encode("cp1252")
MATCHED = {"Artikelnummer": "sku", "preis": "price", "MENGE": "quantity", "Lager": "", "Zustand": "grade"}
SIGNS = Notation(",", ".")


def previewed(data: bytes | str, columns: Mapping[str, str] | None = None, **given: Any) -> FilePreview:
    notation = given.pop("notation", Notation())
    file = data if isinstance(data, str) else io.BytesIO(data)
    with open_source(file, columns=ColumnMap(columns), any_header=True, **given) as source:
        return preview_of(source, locale="fr-fr", notation=notation)


def checked(data: bytes | str, columns: Mapping[str, str] | None = None, **given: Any) -> tuple[Check, list[Any]]:
    """A check that was gone through; and its good lines, then its faults."""
    notation = given.pop("notation", Notation())
    file = data if isinstance(data, str) else io.BytesIO(data)
    with open_source(file, columns=ColumnMap(columns), **given) as source:
        check = Check(source, locale="fr-fr", notation=notation)
        rows: list[Any] = []
        try:
            for _, cells in check:
                rows.append(cells)  # those before a refusal stay
        except BulkFileRefused as refused:
            rows += [str(fault) for fault in refused.faults]
        return check, rows


def sent_as(preview: FilePreview) -> dict[str, str | None]:
    return {each.name: each.sent_as for each in preview.columns}


class TestCheck:
    def test_columns_are_sent_as_they_are_matched_and_faults_call_them_by_the_names_of_the_file(self) -> None:
        check, rows = checked(GERMAN, MATCHED, encoding="cp1252", notation=SIGNS)
        assert check.header == ("sku", "price", "quantity", "grade")
        assert rows[0] == ["IP12-Weiß", "229.00", "5", "GOOD"]
        assert rows[1].startswith('row 5, column C (Menge): "viele" is not a number of pieces.')
        assert len(rows) == 2

    def test_a_name_of_several_lines_is_one_name(self) -> None:
        found = previewed('sku;"Preis\n(brutto)"\nA;1\n', {"preis (Brutto)": "price"})
        assert sent_as(found) == {"sku": "sku", "Preis (brutto)": "price"}
        check, rows = checked('sku;"Preis\n(brutto)"\nA;x\n', found.matching)
        assert check.header == ("sku", "price")
        assert rows[0].startswith('row 2, column B (Preis (brutto)): "x" is not an amount')

    def test_a_column_that_is_left_out_may_hold_anything(self) -> None:
        _, rows = checked("sku;note;price\nA;\x01\x02;1\n", {"note": ""})
        assert rows == [["A", "1"]]

    def test_a_column_may_keep_a_name_that_comes_near_another(self) -> None:
        assert "did you mean quantity?" in _header_fault("sku;Menge\nA;1\n")
        check, rows = checked("sku;Menge\nA;1\n", {"menge": "Menge"})
        assert (check.header, check.unknown_columns, rows) == (("sku", "Menge"), ("Menge",), [["A", "1"]])

    def test_two_columns_that_are_sent_as_one_are_refused(self) -> None:
        assert "is sent as price, as an earlier column is. Leave one of the two out" in _header_fault(
            "sku;price;Preis\nA;1;2\n", {"preis": "price"}
        )

    def test_a_column_that_only_explains_is_never_sent(self) -> None:
        check, rows = checked(f"sku;{PRODUCT};price;{REASONS}\nA;Phone;1;row 2 was wrong\n")
        assert (check.header, rows) == (("sku", "price"), [["A", "1"]])

    def test_the_workbooks_sheet_is_found_by_a_matched_name(self) -> None:
        rows = (
            f'<row r="1">{text("A1", "Artikelnummer")}{text("B1", "Preis")}</row>'
            f'<row r="2">{text("A2", "007")}<c r="B2"><v>12.5</v></c></row>'
        )
        assert checked(workbook(rows), MATCHED)[1] == [["007", "12.5"]]
        with pytest.raises(BulkFileRefused, match="did you mean sku"):
            checked(workbook(rows))

    @pytest.mark.parametrize(
        "matched",
        [{"": "sku"}, {"a\0b": "sku"}, {"a": "x" * 201}, {"a": 1}],
    )
    def test_what_cannot_be_matched_is_refused(self, matched: Any) -> None:
        with pytest.raises(InvalidArgument):
            ColumnMap(matched)


def _header_fault(data: str, columns: Mapping[str, str] | None = None) -> str:
    with open_source(data, columns=ColumnMap(columns)) as source, pytest.raises(BulkFileRefused) as refused:
        Check(source, locale="fr-fr")
    return str(refused.value.faults[0])


class TestPreview:
    def test_shows_the_first_lines_as_they_are_understood(self) -> None:
        found = previewed(GERMAN, {"Lager": ""}, encoding="cp1252", notation=SIGNS)
        assert (found.rows, found.has_sku, found.is_readable) == ((4, 5), True, True)
        assert sent_as(found) == {
            "Artikelnummer": "sku", "Preis": "price", "Menge": "quantity", "Lager": None, "Zustand": "grade"
        }  # fmt: skip
        assert [each.is_suggested for each in found.columns] == [True, True, True, False, True]
        assert [[(cell.text, cell.is_understood) for cell in each.cells] for each in found.columns[:3]] == [
            [("IP12-Weiß", True), ("IP12-B", True)],
            [("229.00", True), ("1299.00", True)],
            [("5", True), ("viele", False)],
        ]
        assert checked(GERMAN, found.matching, encoding="cp1252", notation=SIGNS)[0].header == (
            "sku", "price", "quantity", "grade"
        )  # fmt: skip

    def test_says_what_the_wrong_choices_give(self) -> None:
        found = previewed(GERMAN)
        assert found.columns[0].cells[0].text == "IP12-Wei\ufffd"
        assert (found.is_readable, found.columns[1].cells[0].is_understood) == (False, False)

    def test_without_a_column_that_may_be_the_sku_it_says_so(self) -> None:
        found = previewed("Code;Preis;Menge\nA;1;2\n")
        assert (found.has_sku, found.matching) == (False, {"Code": "Code", "Preis": "price", "Menge": "quantity"})
        assert previewed("Code;Preis;Menge\nA;1;2\n", {"code": "sku"}).has_sku

    def test_a_column_without_a_usable_name_cannot_be_matched(self) -> None:
        found = previewed(f"sku;;{'x' * 201};{REASONS}\nA;1;2;3\n")
        assert [(each.letter, each.can_be_matched) for each in found.columns] == [
            ("A", True), ("B", False), ("C", False), ("D", False)
        ]  # fmt: skip
        assert found.matching == {"sku": "sku"}

    def test_what_a_person_has_matched_is_not_suggested_otherwise(self) -> None:
        found = previewed("sku;Preis;Prix\nA;1;2\n", {"preis": "min_price"})
        assert sent_as(found) == {"sku": "sku", "Preis": "min_price", "Prix": "price"}

    def test_the_names_are_found_in_two_columns_below_a_title_too(self) -> None:
        found = previewed("Our stock\nCode;Menge\nA;1,5\n")
        assert (sent_as(found), found.rows) == ({"Code": "Code", "Menge": "quantity"}, (3,))

    def test_a_workbook_shows_its_first_sheet_with_content(self) -> None:
        row = f'<row r="3">{text("C3", "Code")}{text("D3", "Preis")}{text("E3", "Menge")}</row>'
        found = previewed(workbook(f'{row}<row r="4">{text("C4", "A")}<c r="D4"><v>229</v></c></row>'))
        assert [(each.letter, each.name) for each in found.columns] == [("C", "Code"), ("D", "Preis"), ("E", "Menge")]
        assert (found.rows, found.columns[1].cells[0].text) == ((4,), "229")

    @pytest.mark.parametrize(
        "data",
        [b"", b" \n", b"%PDF-1.7\n%\xe2\xe3", b"\x89PNG\r\n\x1a\n\0\0", b"<html>", b"PK\x03\x04", b"a\0b\x01\x02"],
    )
    def test_what_is_no_list_is_refused_in_a_sentence(self, data: bytes) -> None:
        with pytest.raises(BulkFileRefused, match=r"The file (is|begins)[^\x00-\x1f]*\."):
            previewed(data)


def listing(**fields: Any) -> Listing:
    values: dict[str, Any] = dict.fromkeys(Listing.__dataclass_fields__)
    values |= {"organization_id": "shop", "listing_id": UUID(int=1), "sku": "A", "raw": {}, "title": "Phone"}
    return Listing(**values | {"last_synced_at": datetime.now(UTC)} | fields)


def template_of(*listings: Listing, locale: str = "fr-fr") -> tuple[int, bytes]:
    into = io.BytesIO()
    return template_file.write_template(listings, into, locale=locale), into.getvalue()


class TestTemplate:
    def test_is_read_as_it_was_written(self) -> None:
        count, data = template_of(
            listing(sku="00123", price=Decimal("229.00"), min_price=Decimal("199.5"), currency="EUR", quantity=3,
                    grade="GOOD", warranty_delay=12, new_battery=True, comment="two\nlines, 1;2"),
            listing(sku='=HYPERLINK("http://x")', title="=1+1", price=Decimal(1000)),
            listing(sku=None),
        )  # fmt: skip
        assert count == 2
        check, rows = _as_they_are(data)
        assert check.header == (
            "sku", "price", "currency", "min_price", "quantity", "grade", "warranty_delay", "new_battery", "comment"
        )  # fmt: skip
        assert rows == [
            ["00123", "229", "EUR", "199.5", "3", "GOOD", "12", "true", "two\nlines, 1;2"],
            ['=HYPERLINK("http://x")', "1000", "", "", "", "", "", "", ""],
        ]

    def test_what_could_not_be_sent_is_left_empty(self) -> None:
        _, data = template_of(listing(price=Decimal(0), currency="SEK", warranty_delay=0, grade="NEWER", quantity=1))
        assert _as_they_are(data)[1] == [["A", "", "", "", "1", "", "", "", ""]]
        _, data = template_of(listing(price=Decimal(10), min_price=Decimal(11), currency="EUR"))
        assert _as_they_are(data)[1][0][1:4] == ["10", "EUR", ""], "they contradict each other, as they may there"
        _, data = template_of(listing(price=Decimal(10), quantity=1), locale="sv-se")
        assert _as_they_are(data, "sv-se")[1][0][1:5] == ["", "", "", "1"], "no currency is known"

    def test_without_listings_it_has_its_columns(self) -> None:
        assert template_of()[0] == 0
        assert [each.sent_as for each in previewed(template_of()[1]).columns][:3] == ["sku", None, "price"]

    def test_more_than_a_workbook_may_have_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(template_file, "ROWS_LIMIT", 3)
        assert template_of(listing(), listing())[0] == 2
        with pytest.raises(TooLarge, match="more than the 2"):
            template_of(listing(), listing(), listing())


def _as_they_are(data: bytes, locale: str = "fr-fr") -> tuple[Check, list[list[str]]]:
    with open_source(io.BytesIO(data)) as source:
        check = Check(source, locale=locale, skus_as_they_are=True)
        return check, [cells for _, cells in check]


def test_a_workbook_holds_each_kind_of_value() -> None:
    into = io.BytesIO()
    with WorkbookWriter(into) as writer:
        writer.add_sheet("One")
        writer.add_row(["sku", "a", "b", "c", "d"], first_column=1)
        writer.add_row(["=1+1", 1.5, True, date(2026, 1, 2), None], first_column=1)
    with open_source(io.BytesIO(into.getvalue())) as source:
        *_, last = source.rows()
    assert (last.values, source.first_column) == (["=1+1", 1.5, True, date(2026, 1, 2), ""], 1)  # type: ignore[union-attr]
