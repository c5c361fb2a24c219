"""docs/security.md names only tests that are there, and goes through the whole standard."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_house import CHECKOUT

PAGE = (CHECKOUT / "docs" / "security.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| V")]
NAMED = re.compile(r"`([^`]+)`")


def missing_tests(cell: str) -> list[str]:
    """Files, classes and functions that a cell names and that are not there; a name belongs to the file before it."""
    missing, text = [], ""
    for name in NAMED.findall(cell):
        if name.startswith("tests/"):
            path = CHECKOUT / name
            text = path.read_text() if path.is_file() else ""
            found = bool(text)
        else:
            found = re.search(rf"^ *(class|def) {re.escape(name)}\b", text, re.MULTILINE) is not None
        if not found:
            missing.append(name)
    return missing


def test_each_test_that_is_named_is_there() -> None:
    cells = [
        line.strip().removesuffix("|").rpartition(" | ")[2]
        for line in PAGE.splitlines()
        if "`tests/" in line and line[0] == "|"
    ]
    assert len(cells) > 40
    assert [name for cell in cells for name in missing_tests(cell)] == []


@pytest.mark.parametrize(
    "cell", ["`tests/unit/none.py`", "`tests/unit/test_house.py` (`TestNone`)", "`test_without_a_file`"]
)
def test_a_test_that_is_not_there_is_found(cell: str) -> None:
    assert len(missing_tests(cell)) == 1


def test_each_chapter_has_its_rows_or_says_why_nothing_applies() -> None:
    chapters = re.findall(r"(?m)^## V(\d+) ", PAGE)
    assert chapters == [str(number) for number in range(1, 18)]
    assert {row[0].split(".")[0] for row in ROWS} == {f"V{number}" for number in range(1, 17)}
    assert "Not used." in PAGE.partition("## V17")[2].partition("\n## ")[0]


def test_what_is_met_names_a_test_and_what_is_not_says_why() -> None:
    assert {row[1] for row in ROWS} == {"yes", "partly"}
    documented = ("documentation", "inventory")
    assert [row[0] for row in ROWS if len(row) < 4 and not any(word in row[0] for word in documented)] == []
