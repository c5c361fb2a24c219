"""Which lines of a bulk file are bad: each fault with its line, its column and what to write instead."""

import io
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest

from backmarket.bulk.csv_file.columns import KNOWN, columns_for, currency_of
from backmarket.bulk.csv_file.faults import FAULTS_KEPT, Fault
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.skus import SkuTable
from backmarket.bulk.csv_file.validation import Check
from backmarket.client.endpoints import LOCALES
from backmarket.errors import BulkFileRefused, InvalidArgument

CHECKOUT = Path(__file__).parents[3]


def faults(text: str | bytes, locale: str = "fr-fr") -> list[str]:
    file = text if isinstance(text, str) else io.BytesIO(text)
    try:
        with open_source(file) as source:
            list(Check(source, locale=locale))
    except BulkFileRefused as refused:
        return [str(fault) for fault in refused.faults] or ["none"]
    return []


def column_faults(column: str, cell: str, locale: str = "fr-fr") -> list[str]:
    header, row = f"sku;{column};currency;x", f'A;"{cell}";{currency_of(locale)};1'
    return faults(f"{header}\n{row}\n", locale)


GOOD = {
    "price": ["0.01", "10", "10.5", "160.99", "999999999.99"],
    "min_price": ["160.99"],
    "max_price": ["160.99"],
    "quantity": ["0", "7", "999999999"],
    "comment": ["x", "x" * 500, "é; , \n\t😀 it's"],
    "warranty_delay": ["12", "24"],
    "grade": ["GOOD", "STALLONE"],
    "state": ["0", "9"],
    "new_battery": ["true", "FALSE"],
    "shipper_1": ["DHL Express"],
    "shipper_display_3": ["DHL"],
    "shipping_delay_2": ["0", "48"],
    "shipping_price_2": ["0", "0.00", "3.9"],
    "product_id": ["7a97a1b6-547e-4718-bc72-5b84aca91b09", "42"],
    "backmarket_id": ["42"],
    "ean": ["4006381333931", "40063813"],
    "anything": ["1,5", "='x", " "],
}
BAD = {
    "price": "1,5|1.234,50|1 234|10.999|1e3|NaN|-1|+1|0|0.00|007|.5|5.|\uff11\uff12|\u0663|10€|1_0|9999999999",
    "min_price": "1,5|0|-1",
    "max_price": "1,5",
    "quantity": "1.0|-1|+1|01|1e3|NaN|\uff11|x|1,000|9999999999|²",
    "warranty_delay": "5|0|1.5|-12|12 months",
    "grade": "good|9|BROKEN",
    "state": "5|09|GOOD",
    "new_battery": "1|maybe",
    "shipping_delay_1": "1.5|-1|24h",
    "shipping_price_3": "1,5|-1|free",
    "ean": "4.00638E+12|123|400638133393a",
    "backmarket_id": "x",
    "product_id": "a b",
}


@pytest.mark.parametrize(("column", "cell"), [(column, cell) for column, cells in GOOD.items() for cell in cells])
def test_a_good_cell_passes(column: str, cell: str) -> None:
    assert column_faults(column, cell) == []


@pytest.mark.parametrize(
    ("column", "cell"), [(column, cell) for column, cells in BAD.items() for cell in cells.split("|")]
)
def test_a_bad_cell_is_named(column: str, cell: str) -> None:
    (fault,) = column_faults(column, cell)
    assert fault.startswith(f'row 2, column B ({column}): "{cell.strip()}" ')
    assert ". " in fault


@pytest.mark.parametrize("column", [*sorted(KNOWN), "anything"])
def test_an_empty_cell_breaks_no_rule(column: str) -> None:
    assert column_faults(column, "") == [] or column in {"sku", "currency"}


def test_a_fault_says_what_to_write() -> None:
    assert column_faults("price", "1,234") == [
        'row 2, column B (price): "1,234" may have a thousands separator. Write the digits without it, or choose'
        ' it for the whole file ("decimal sign" and "thousands" in the console, --decimal and --thousands)'
    ]


def test_a_text_that_may_name_a_person_is_not_shown() -> None:
    (fault,) = column_faults("comment", "Sold by Jane Roe. " * 40)
    assert "Jane" not in fault
    (fault,) = column_faults("comment", "Jane\0")
    assert "Jane" not in fault


def test_a_long_or_unprintable_value_is_cut_and_escaped() -> None:
    (fault,) = column_faults("price", "9" * 99)
    assert f'"{"9" * 39}…"' in fault
    (fault,) = column_faults("price", "1\u2028\t2")
    assert r'"1\u2028\t2"' in fault


@pytest.mark.parametrize("sku", ["A\tB", "A\nB", "A\u200b", "\ufeffA", "x" * 201, "'A'"])
def test_a_sku_that_cannot_be_meant_is_refused(sku: str) -> None:
    (fault,) = faults(f'sku;x\n"{sku}";1\n')
    assert fault.startswith("row 2, column A (sku): ")


@pytest.mark.parametrize("sku", ["A", "a/b #1?&=%", "É 1", "it's", "x" * 200, "日本", "0012", "1e5"])
def test_any_other_sku_passes(sku: str) -> None:
    assert faults(f"sku;x\n{sku};1\n") == []


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f", "\x80", "\x9f"])
def test_control_characters_are_refused(character: str) -> None:
    found = column_faults("anything", f"a{character}b") + column_faults("comment", f"a{character}b")
    if character in "\t\n\r":
        assert found == []
    else:
        assert [f"U+{ord(character):04X}" in fault for fault in found] == [True, True]


def test_bytes_that_are_not_in_the_encoding_are_named() -> None:
    data = "sku;price;comment\nA;1;é\nB;2;x\n€;3;z\n".encode("cp1252")
    assert faults(data) == [
        "row 2, column C (comment) has an unreadable letter: its byte 0xE9 is not UTF-8."
        " Save the file as CSV UTF-8 in Excel, or choose its encoding: in cp1252 that byte is é",
        "row 4, column A (sku) has an unreadable letter: its byte 0x80 is not UTF-8."
        ' Save the file as CSV UTF-8 in Excel, or choose its encoding ("encoding" in the console, --encoding)',
    ]
    assert len(faults("sku;x\nA;\ud800\n")) == 1
    assert len(faults("sku;x\nA;B".encode("utf-16") + b"\n")) == 1
    assert len(faults(b"sku;\xe9\nA;B\n")) == 1


def test_fields_must_be_as_many_as_columns() -> None:
    assert [fault.partition(". ")[0] for fault in faults('sku;x\nA\nB;1;2\nC;"d;\ne";f\n;;\nD;"1;2"\n')] == [
        "row 2 has 1 cell, and the row of column names has 2",
        'row 3, column C: "2" has content, and its column has no name in the row of column names',
        'row 4, column C: "f" has content, and its column has no name in the row of column names',
    ]


def test_all_faults_are_told() -> None:
    text = "sku;price;min_price;quantity;grade;state\n;x;y;z;GOOD;3\nA;1;2;-1;;\n"
    assert [fault.partition(" ")[2].partition(":")[0] for fault in faults(text)] == [
        "2, column A (sku) is empty. Write the SKU, or delete the row",
        "2, column B (price)", "2, column C (min_price)", "2, column D (quantity)", "2, column F (state)",
        "3, column D (quantity)", "3, column C (min_price)",
    ]  # fmt: skip


def test_a_sku_stands_in_one_line() -> None:
    text = "sku;price\nA;1\nÉ;2\na;3\né;4\nA;5\nB;x\nb;1\n"
    assert [fault.partition(". ")[0] for fault in faults(text)] == [
        'row 2, column A (sku): "a" is again in row 4',
        'row 4, column A (sku): "a" is already in row 2',
        'row 6, column A (sku): "A" is already in row 2',
        'row 7, column B (price): "x" is not an amount above zero',
        'row 8, column A (sku): "b" is already in row 7',
    ]


def test_a_file_and_the_database_tell_skus_apart_alike() -> None:
    """Other letters than A to Z count as they are, whatever the collation of the database."""
    assert faults("sku;price\nstraße-1;1\nSTRASSE-1;2\nÉ;3\né;4\n") == []


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("sku;Price;PRICE", "row 1, column C (price) is the name of an earlier column, too"),
        ("sku;SKU;x", "row 1, column B (sku) is the name of an earlier column, too"),
        ("sku;x;X", "row 1, column C (X) is the name of an earlier column, too"),
        ("sku;;x", "row 1, column B has no name"),
        ("sku", "row 1, column A (sku) is the only column"),
        ("sku;a\x01", "row 1, column B has the control character U+0001"),
        ('sku;"x"y', 'row 1 has a quote " inside a quoted field'),
    ],
)
def test_a_wrong_header_is_refused(header: str, fault: str) -> None:
    assert [each.partition(". ")[0] for each in faults(f"{header}\nA;1;1\n")] == [fault]


def checked(text: str, locale: str = "fr-fr", *, skip_bad_lines: bool = False) -> tuple[Check, list[int]]:
    with open_source(text) as source:
        found = Check(source, locale=locale, skip_bad_lines=skip_bad_lines)
        return found, [line for line, _ in found]


def test_known_names_are_written_as_the_api_has_them() -> None:
    found, _ = checked("SKU; Price ;My Column\nA;1;2\n")
    assert (found.header, found.unknown_columns) == (("sku", "price", "My Column"), ("My Column",))


def test_a_source_is_gone_through_once() -> None:
    with open_source("sku;x\nA;1\n") as source:
        list(Check(source, locale="fr-fr"))
        with pytest.raises(InvalidArgument, match="Open the file again"):
            Check(source, locale="fr-fr")


def test_bad_lines_can_be_skipped() -> None:
    found, lines = checked("sku;price\nA;1\nB;x\n\nC;y\nD;4\nE\nA;9\n", skip_bad_lines=True)
    assert lines == [2, 6]
    assert list(found.withdrawn) == [2]
    assert (found.lines, found.bad_lines, found.fault_count) == (6, 5, 5)
    assert [fault.line for fault in found.faults] == [2, 3, 5, 7, 8]


def test_a_broken_quote_is_skipped_only_where_its_line_ends_for_sure() -> None:
    assert checked('sku;x;q\nA;13" y;1\nB;"z" y;1\nC;1;1\n', skip_bad_lines=True)[1] == [4]
    with pytest.raises(BulkFileRefused, match="Fix it first"):
        checked('sku;q;x\nA;1;"says 5" inner\nB;2;fine\nend"\n', skip_bad_lines=True)


@pytest.mark.parametrize("locale", [locale for locales in LOCALES.values() for locale in locales])
def test_prices_are_in_the_currency_of_the_market(locale: str) -> None:
    own = currency_of(locale)
    other = "USD" if own == "EUR" else "EUR"
    assert faults(f"sku;price;currency\nA;1;{own}\n", locale) == []
    assert len(faults(f"sku;price;currency\nA;1;{other}\n", locale)) == 1
    needed = own not in {"EUR", "USD"}
    assert len(faults("sku;price\nA;1\nB;2\n", locale)) == needed
    assert len(faults("sku;price;currency\nA;1;\nB;;\n", locale)) == needed
    assert faults("sku;quantity\nA;1\n", locale) == []


def test_a_currency_without_cents_has_whole_amounts() -> None:
    assert [column_faults("price", cell, "ja-jp") for cell in ("1000", "1000.00")] == [[], []]
    assert "1234" in column_faults("price", "1000.50", "ja-jp")[0]
    assert column_faults("shipping_price_1", "0", "ja-jp") == []


def test_a_locale_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="xx-xx"):
        checked("sku;x\nA;1\n", "xx-xx")
    assert columns_for("FR-fr")


def test_faults_beyond_the_cap_are_counted_and_handed_on() -> None:
    handed: list[Fault] = []
    bad = FAULTS_KEPT + 5
    with open_source("sku;price\n" + "A;x\n" + "B;1\n" + ";x\n" * (bad // 2)) as source:
        found = Check(source, locale="fr-fr", each_fault=handed.append)
        with pytest.raises(BulkFileRefused) as refused:
            list(found)
    assert (len(refused.value.faults), refused.value.count) == (FAULTS_KEPT, len(handed))
    assert len(handed) == 1 + bad // 2 * 2


def test_sku_table_finds_what_it_holds_beyond_its_first_size() -> None:
    table = SkuTable()
    assert [table.note(f"Sku-{number}", number + 1, bad=number % 2 == 1) for number in range(20_000)] == [None] * 20_000
    assert [table.note(f"sKU-{number}", 0, bad=False) for number in range(20_000)] == [
        (number + 1, number % 2 == 1) for number in range(20_000)
    ]
    assert len(table) == 20_000
    assert table.note("SKU-7", 0, bad=False) == (8, True)


def test_equal_places_in_the_table_are_no_equal_skus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowded:
        """Hashes that all want the same place, and differ in one byte each."""

        def __init__(self, data: bytes, digest_size: int) -> None:
            self._digest = b"\0" * 8 + blake2b(data, digest_size=digest_size).digest()[:8]

        def digest(self) -> bytes:
            return self._digest

    monkeypatch.setattr("backmarket.bulk.csv_file.skus.blake2b", Crowded)
    table = SkuTable()
    assert [table.note(str(number), number + 1, bad=False) for number in range(300)] == [None] * 300
    assert table.note("299", 0, bad=False) == (300, False)


MEASURE = """
import io, resource, sys, tempfile
from backmarket.bulk.csv_file.validation import Check
from backmarket.bulk.csv_file.parts import cut
from backmarket.bulk.csv_file.reader import open_source

class Made(io.RawIOBase):
    def __init__(self, lines):
        self.blocks = (
            "".join(f"S{number};{number % 90 + 1}.50;{'x' * 400}\\n" for number in range(first, first + 100)).encode()
            for first in range(0, lines, 100)
        )
        self.first = b"sku;price;comment\\n"
    def readable(self):
        return True
    def read(self, size=-1):
        first, self.first = self.first, b""
        return first or next(self.blocks, b"")

with tempfile.TemporaryFile() as into, open_source(Made(int(sys.argv[1]))) as source:
    parts = cut(Check(source, locale="fr-fr"), into, part_lines=500)
    assert parts.lines == int(sys.argv[1]) and len(list(parts)) == parts.lines / 500
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_grows_with_the_skus_only() -> None:
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", MEASURE, str(lines)], cwd=CHECKOUT, check=True, capture_output=True
            ).stdout
        )
        for lines in (10_000, 100_000)
    )
    assert many - few < 22e6  # 42 MB of text; the table and what stays of each line are 12 MB
