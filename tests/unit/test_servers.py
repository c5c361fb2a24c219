"""`make test-servers`: its table tells what failed from what could not be had, and no other tier collects its tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.servers import __main__ as target
from tests.servers import conftest, run
from tests.servers.table import Row, markdown

PASSED = Row("one", "1.0", "all", "3 passed", passed=True)
FAILED = Row("another", "", "a|b", "1 passed, 1 failed: test_x", passed=False)
NOT_HAD = Row("a third", "2", "all", "there is no Go here", passed=None)


def test_the_table_tells_what_failed_from_what_could_not_be_had() -> None:
    lines = markdown([PASSED, FAILED, NOT_HAD]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["one", "1.0", "all", "3 passed"]
    assert cells[1] == ["another", "-", "a/b", "FAILED: 1 passed, 1 failed: test_x"]
    assert cells[2] == ["a third", "2", "all", "not tried: there is no Go here"]


@pytest.mark.parametrize(("rows", "code"), [([PASSED, NOT_HAD], 0), ([PASSED, FAILED], 1)])
def test_what_failed_fails_the_target(monkeypatch: pytest.MonkeyPatch, rows: list[Row], code: int) -> None:
    monkeypatch.setattr(target, "FAMILIES", {"s3": lambda: iter(rows)})
    assert target.main(["s3"]) == code


def test_a_report_names_what_failed_and_what_was_not_there(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase>"
        "<testcase name='c'><skipped message='no lock'/></testcase></testsuite>"
    )
    assert run._result(report, 1) == ("1 passed, 1 not there: no lock, 1 failed: b", False)


def test_no_other_tier_collects_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run.COLLECT, raising=False)
    assert importlib.reload(conftest).collect_ignore_glob == ["*"]
