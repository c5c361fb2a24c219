"""The canonical text holds exactly the cells that were read, and its parts are what they say."""

import io
import tempfile
from datetime import timedelta

import pytest

from backmarket.bulk.csv_file.parts import FILE_LINES_LIMIT, Parts, cut, expected_duration, part_rows
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check
from backmarket.errors import BulkFileRefused, InvalidArgument


def parts_of(text: str, part_lines: int = 2, *, skip_bad_lines: bool = False) -> tuple[Parts, bytes]:
    into = io.BytesIO()
    with open_source(text) as source:
        return cut(
            Check(source, locale="fr-fr", skip_bad_lines=skip_bad_lines), into, part_lines=part_lines
        ), into.getvalue()


def test_the_canonical_text_is_what_the_guidelines_want() -> None:
    parts, text = parts_of('SKU,Price,x\r\nA,10.00,"é; ""b""\r\nc"\r\n\r\nB,,\r\nC,1,2\r\n')
    lines = b'"A";"10.00";"\xc3\xa9; ""b""\r\nc"\n', b'"B";"";""\n', b'"C";"1";"2"\n'
    assert parts.header == b'"sku";"price";"x"\n'
    assert text == parts.header + b"".join(lines)
    assert (len(parts), parts.lines, parts.length) == (2, 3, len(text))
    first, second = parts
    assert (list(first.line_numbers), list(second.line_numbers)) == ([2, 5], [6])
    assert (first.lines, second.lines) == (2, 1)
    assert text[first.offset :][: first.length] == lines[0] + lines[1]
    assert text[second.offset :][: second.length] == lines[2]
    assert part_rows(parts.header + lines[0]) == [{"sku": "A", "price": "10.00", "x": 'é; "b"\r\nc'}]


@pytest.mark.parametrize("part_lines", [1, 3, 7, FILE_LINES_LIMIT - 1])
def test_parts_have_as_many_lines_as_they_may(part_lines: int) -> None:
    parts, text = parts_of("sku;x\n" + "".join(f"S{number};{number}\n" for number in range(21)), part_lines)
    cut_out = [part_rows(parts.header + text[part.offset :][: part.length]) for part in parts]
    assert len(cut_out) == len(parts)
    assert all(len(rows) == part_lines for rows in cut_out[:-1])
    assert [row["sku"] for rows in cut_out for row in rows] == [f"S{number}" for number in range(21)]


@pytest.mark.parametrize("part_lines", [0, -1, FILE_LINES_LIMIT])
def test_a_part_of_another_size_is_refused(part_lines: int) -> None:
    with pytest.raises(InvalidArgument):
        parts_of("sku;x\nA;1\n", part_lines)


@pytest.mark.parametrize("where", [(0, 1), (0, 9), (4, 5), (8, 9), (3, 3)])
def test_both_lines_of_a_sku_are_taken_out(where: tuple[int, int]) -> None:
    skus = [f"S{number}" for number in range(10)]
    skus[where[1]] = skus[where[0]].lower()
    parts, text = parts_of("sku;x\n" + "".join(f"{sku};é\n" for sku in skus), 3, skip_bad_lines=True)
    left = [number for number in range(10) if where[0] == where[1] or number not in where]
    assert [number for part in parts for number in part.line_numbers] == [number + 2 for number in left]
    rows = [row for part in parts for row in part_rows(parts.header + text[part.offset :][: part.length])]
    assert [row["sku"] for row in rows] == [skus[number] for number in left]
    assert parts.length == len(text)


def test_lines_that_are_not_wanted_are_left_out() -> None:
    with open_source("sku;x\nA;1\nB;2\nC;3\n") as source, tempfile.TemporaryFile() as into:
        checked = Check(source, locale="fr-fr")
        parts = cut(checked, into, part_lines=5, choose=lambda rows: (row for row in rows if row[1][0] != "B"))
        assert [list(part.line_numbers) for part in parts] == [[2, 4]]


def test_no_line_may_be_wanted() -> None:
    with open_source("sku;x\nA;1\n") as source:
        parts = cut(Check(source, locale="fr-fr"), io.BytesIO(), part_lines=5, choose=lambda rows: list(rows)[:0])
    assert (list(parts), len(parts), parts.lines) == ([], 0, 0)


def test_nothing_good_is_refused() -> None:
    with pytest.raises(BulkFileRefused, match="No line"):
        parts_of("sku;x\n;1\n", skip_bad_lines=True)
    with pytest.raises(BulkFileRefused, match="No line"):
        parts_of("sku;x\nA;1\na;2\n", skip_bad_lines=True)
    with pytest.raises(BulkFileRefused, match="no listing below"):
        parts_of("sku;x\n\n;\n")


@pytest.mark.parametrize(("lines", "hours"), [(0, 0), (1, 0), (2000, 0), (2001, 1), (5000, 2), (1_000_000, 499)])
def test_the_quota_says_how_long_it_takes(lines: int, hours: int) -> None:
    assert expected_duration(lines, limit=2000, window=3600.0) == timedelta(hours=hours)
