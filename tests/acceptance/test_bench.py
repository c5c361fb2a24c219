"""The benchmarks in their short form: they run, and what they count, which hangs on no machine, is right."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import drawing, growth, report, shipped
from bench.compare import Result, Scenario, faulty, run

ORDERS = 400
PAGES = ORDERS // 50


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Result]]:
    chain = [
        Scenario("first", "at first", "orders", ORDERS),
        Scenario("changed", "20 changed", "orders", ORDERS, changes=20),
    ]
    return run([chain], 0.0, ("ours", "bare"), warm=False)


@pytest.mark.slow
def test_a_first_load_asks_for_each_page_and_writes_each_row_once(results: dict[str, dict[str, Result]]) -> None:
    ours, bare = results["first"]["ours"], results["first"]["bare"]
    assert (ours.error, bare.error, ours.complete) == (None, None, 1.0)
    assert ours.requests == bare.requests == PAGES
    # each has a seller of its own, whose orders have a few lines more or less
    assert ours.rows == pytest.approx(bare.rows, rel=0.1), "orders, their lines and events, and little beside them"


@pytest.mark.slow
def test_twenty_changes_write_twenty_orders(results: dict[str, dict[str, Result]]) -> None:
    changed = results["changed"]["ours"]
    assert changed.complete == 1.0
    assert changed.requests <= 3, "what changed within the overlap comes again"
    assert 20 + 20 <= changed.rows < 20 + 20 + 35, (
        "the orders and their events; lines that changed, and the states of syncs, too"
    )


def test_everybody_meets_the_same_faults_and_each_kind_of_them() -> None:
    met = faulty(Scenario("faults", "2% faults", "orders", 20_000, faults=0.02))
    assert [page for _, page in met] == [45, 89, 134, 178, 223, 267, 312, 356]
    assert [kind for kind, _ in met] == ["status", "reset", "cut", "garbage"] * 2


@pytest.mark.slow
def test_what_an_organization_costs_hangs_on_no_other() -> None:
    few, many = growth.of_organizations([20, 60], rounds=1, syncs=60).values()
    for point in (few, many):
        assert (point.statements, point.requests, point.slices) == pytest.approx((2, 1, 1), abs=0.2)


@pytest.mark.slow
def test_what_is_shipped_and_the_bare_script_do_the_same_work() -> None:
    found = shipped.loads(1, {"one": 120, "two": 60})
    for figures in (*found["ours"], *found["bare"]):
        assert figures["rows"] == 180
    assert shipped.said({who: shipped.middle(runs) for who, runs in found.items()}).count("wall") == 3


def test_the_report_is_well_formed() -> None:
    one = {"wall": 1.0, "cpu": 0.5, "memory": 2**20, "requests": 3, "span": 0.1, "rows": 9, "complete": 1.0}
    found = {"first": {"ours": one | {"violations": 0, "error": None}, "dlt": one | {"violations": 1, "error": "x"}}}
    assert "| 20,000 orders at first | failed | failed | failed |" in report.comparison(found)
    point = {"wall": 3.0, "ours": 1.0, "postgres": 2.0, "memory": 99.6, "statements": 2, "requests": 1, "slices": 1}
    assert "| 1,000 orders | 3.000 ms | 1.000 ms | 2.000 ms | 100 MB | 2 | 1 | 1 |" in report.grown(
        {"organizations": {"100": point}, "orders": {"1000": point}}
    )
    for drawn in (
        drawing.bars("a < b", "s", {"one": {"ours": 0.02, "dlt": 30}, "two": {"ours": 1.0}}),
        drawing.lines("c", "ms", {"ours": {100: 1.0, 1000: 1.1}}),
    ):
        assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_a_page_of_the_report_links_to_how_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = (report.REPORT / "measurements.md").read_text()
    for title in report.TITLES.values():
        assert f"\n## {title}\n" in described
    monkeypatch.setattr(report, "REPORT", tmp_path)
    report.write("growth", "| a table |", ["![A plot](plot.svg)"])
    page = (tmp_path / "growth.md").read_text()
    assert page.startswith("# How the costs grow\n")
    assert "(measurements.md#how-the-costs-grow)" in page
    assert page.endswith("| a table |\n\n![A plot](plot.svg)\n")
