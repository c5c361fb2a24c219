"""Whatever a file holds: it is refused with a reason, or each line that passes is what another reader reads there."""

import csv
import io
from typing import Any, Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backmarket.bulk.csv_file.columns import columns_for
from backmarket.bulk.csv_file.dialect import Dialect
from backmarket.bulk.csv_file.parts import cut, part_rows
from backmarket.bulk.csv_file.reader import CsvSource, open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.client.listing_rules import listing_rules
from backmarket.client.skus import sku_key
from backmarket.errors import BulkFileRefused
from tests.support.examples import examples

COLUMNS = columns_for("fr-fr")
SPACES = " \t\r\n\u00a0\u202f\u2007\u2009"

Passed = dict[int, dict[str, str]]
"""The lines that passed, by where they begin in the file; each by column."""


def passed(file: bytes | str, *, skip_bad_lines: bool, part_lines: int = 2, **given: Any) -> tuple[Passed, Dialect]:
    """What is sent of a file, read back out of its parts.

    Raises:
        BulkFileRefused: it is refused; no other error is right.
    """
    into = io.BytesIO()
    with open_source(file if isinstance(file, str) else io.BytesIO(file), **given) as source:
        parts = cut(Check(source, locale="fr-fr", skip_bad_lines=skip_bad_lines), into, part_lines=part_lines)
    found: Passed = {}
    for part in parts:
        rows = part_rows(parts.header + into.getvalue()[part.offset :][: part.length])
        assert 0 < part.lines <= part_lines
        found |= dict(zip(part.line_numbers, rows, strict=True))
    assert len(found) == parts.lines > 0
    assert isinstance(source, CsvSource)
    return found, source.dialect


def naive(text: str, dialect: Dialect) -> dict[int, list[str]]:
    """The records of a text by the line where they begin, as Python's own reader has them; empty ones left out.

    Raises:
        csv.Error: it is no CSV in this dialect.
    """
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=dialect.delimiter, quotechar=dialect.quotechar, strict=True)
    found, line = {}, 1
    for cells in reader:
        if "".join(cells).strip():
            found[line] = trimmed(cells)
        line = reader.line_num + 1
    return found


def first_record(text: str, line: int, dialect: Dialect) -> list[str]:
    """The record that begins at a line."""
    lines = list(io.StringIO(text, newline=""))[line - 1 :]
    return trimmed(next(csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quotechar, strict=True)))


def trimmed(cells: list[str]) -> list[str]:
    return [cell.strip(SPACES) for cell in cells]


def shaped(cells: list[str], width: int) -> list[str]:
    """A row without the empty cells behind its last column."""
    return cells[:width] if not any(cells[width:]) else cells


def agree(data: bytes | str) -> None:
    """Hold a file to what is promised."""
    every = some = None
    try:
        every, dialect = passed(data, skip_bad_lines=False)
        rows = naive(decoded(data, dialect), dialect)
        for _ in range(dialect.above):
            rows.pop(min(rows))
        header = [name.strip() for name in rows.pop(min(rows))]
        names = header[: max(at for at, name in enumerate(header, 1) if name)]
        assert every.keys() == rows.keys()
        for line, row in every.items():
            assert list(row.values()) == shaped(rows[line], len(row))
            assert [name.lower() for name in row] == [name.lower() for name in names]
        right(every)
    except BulkFileRefused as refused:
        told(refused)
    try:
        some, dialect = passed(data, skip_bad_lines=True)
        text = decoded(data, dialect)
        assert {line: list(row.values()) for line, row in some.items()} == {
            line: shaped(first_record(text, line, dialect), len(row)) for line, row in some.items()
        }
        right(some)
    except BulkFileRefused:
        pass
    if every is not None:
        assert some == every


def told(refused: BulkFileRefused) -> None:
    assert refused.count >= len(refused.faults)
    assert str(refused).isprintable()
    assert all(str(fault).isprintable() and fault.line > 0 for fault in refused.faults)


def right(rows: Passed) -> None:
    skus = [sku_key(row["sku"]) for row in rows.values()]
    assert all(skus)
    assert len(set(skus)) == len(skus)
    for row in rows.values():
        for name, cell in row.items():
            assert "\0" not in cell
            assert not cell or name not in COLUMNS or COLUMNS[name].accepts(cell)
            cell.encode()


def decoded(data: bytes | str, dialect: Dialect) -> str:
    """The whole text, where lines that don't pass may have bytes that cannot be decoded."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    return data.removeprefix(dialect.mark).decode(dialect.encoding, "replace")


pieces = st.sampled_from(
    [
        *';;;;,|\t"""\'\n\n\n\r',
        "\r\n",
        " ",
        "A",
        "b",
        "B",
        "7",
        "10.00",
        "1,5",
        "GOOD",
        "EUR",
        "é",
        "\0",
        "\x1f",
        "\u2028",
        "\ufeff",
    ]
)
headers = st.sampled_from(
    [
        "sku;price\n",
        "sku;x\n",
        "sku;price;quantity\n",
        '"sku","comment"\r\n',
        "SKU|x\r",
        "'sku'\tx\n",
        "\nsku;x\n",
        "sku",
    ]
)


@settings(max_examples=examples(600), deadline=None)
@given(headers, st.lists(pieces, max_size=40))
@example("sku;x\n", ["A;", '"', "b", "\n", "B;7\n", '"', "\n"])
@example("sku;x\n", ['"', "\n"])
@example("sku;x\n", ["A;", '""', '"', "x", "\n"])
def test_made_up_texts(header: str, body: list[str]) -> None:
    agree(header + "".join(body))


@settings(max_examples=examples(300), deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    agree(text)
    agree("sku;x;price\n" + text)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from([b"", b"sku;x\n", b"\xef\xbb\xbfsku,x\r\n", b"\xff\xfe", "sku;x\n".encode("utf-16")]),
    st.binary(max_size=120),
)
def test_any_bytes(header: bytes, body: bytes) -> None:
    agree(header + body)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.lists(pieces, max_size=12).map("".join), max_size=12),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    st.data(),
)
def test_a_damaged_file(rows: list[str], encoding: str, data: st.DataObject) -> None:
    text = "sku;x;price\n" + "".join(f"S{number};{row};1.00\n" for number, row in enumerate(rows))
    whole = bytearray(text.encode(encoding, "replace"))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(whole))


fit = st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r")
cell_texts = st.one_of(
    st.text(fit, max_size=20), st.lists(st.sampled_from([*"\"';,|\t\r\n aé", '""']), max_size=9).map("".join)
)


@settings(max_examples=examples(400), deadline=None)
@given(
    st.lists(st.tuples(cell_texts, cell_texts), min_size=1, max_size=8),
    st.sampled_from(";,\t|"),
    st.sampled_from("\"'"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.integers(1, 4),
)
def test_every_cell_that_a_csv_can_carry_arrives(
    cells: list[tuple[str, str]],
    delimiter: str,
    quote: str,
    end: str,
    quoting: Literal[0, 1],
    encoding: str,
    part_lines: int,
) -> None:
    if quoting == csv.QUOTE_MINIMAL:
        end = "\r\n"  # a writer leaves line ends in a cell unquoted if they are not its own
    rows = [{"x": first, "sku": f"S{number}", "y z": second} for number, (first, second) in enumerate(cells)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["x", "sku", "y z"], delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end
    )
    writer.writeheader()
    writer.writerows(rows)
    found, _ = passed(
        text.getvalue().encode(encoding),
        skip_bad_lines=False,
        part_lines=part_lines,
        delimiter=delimiter,
        quotechar=quote,
    )
    assert list(found.values()) == [{name: cell.strip(SPACES) for name, cell in row.items()} for row in rows]


@given(
    st.one_of(
        st.text(min_size=1, max_size=9), st.text(st.sampled_from(" a\u00a0\x01\n\u200b"), min_size=498, max_size=502)
    )
)
def test_a_comment_passes_as_it_does_in_a_single_update(text: str) -> None:
    try:
        listing_rules("fr-fr")["comment"](text)
    except ValueError:
        assert not COLUMNS["comment"].accepts(text)
    else:
        assert COLUMNS["comment"].accepts(text)
