"""What the command prints, and the exit codes, without any server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backmarket import cli, errors
from backmarket.cli import output
from backmarket.cli.app import app
from backmarket.cli.failures import exit_code
from backmarket.cli.output import Word, as_document, cell, print_json, print_table, printable
from backmarket.cli.parameters import state_number
from backmarket.cli.progress import how_far
from backmarket.cli.status import state, why
from backmarket.cli.times import moment, relative, seconds
from backmarket.errors import BackMarketError
from backmarket.observability.durations import duration, exactly
from backmarket.queries.orders import OrderState
from backmarket.status.sync_status import SyncStatus

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CHECKOUT = Path(__file__).parents[3]


class TestText:
    @pytest.mark.parametrize("text", ["auth0|1", "a/../b", '"q"', "[red]x[/red]", "Évora 東京", ":smile:", "a  b"])
    def test_what_can_be_seen_is_printed_as_it_is(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert printable(text) == text
        print_table(("A", "B"), [(text, 1)])
        assert text in capsys.readouterr().out

    def test_what_steers_a_terminal_is_escaped(self) -> None:
        assert printable("a\x1b[31mb\nc\u202ed\x07") == r"a\x1b[31mb\nc\u202ed\x07"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "-"),
            (True, "yes"),
            (0, "0"),
            (Decimal("607.40"), "607.40"),
            (OrderState.TO_BE_SHIPPED, "to_be_shipped"),
            (77, "77"),
            (datetime(2026, 1, 31, 13, 5, tzinfo=timezone(timedelta(hours=1))), "2026-01-31 12:05"),
            ({"city": "Évora"}, '{"city": "Évora"}'),
            ([], "-"),
            (["de-de", "es-es"], "de-de, es-es"),
            ([{"sku": "A"}], '[{"sku": "A"}]'),
        ],
    )
    def test_cells(self, value: object, text: str) -> None:
        assert cell(value) == text


class TestTable:
    ROWS = (("shop-1", Word("ok"), "x" * 40), ("[red]", Word("failing 3 h"), "why"))

    def test_a_pipe_gets_whole_lines_without_colours(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table(("ORG", "STATE", "WHY"), self.ROWS)
        assert capsys.readouterr().out.splitlines() == [
            "ORG     STATE        WHY",
            "shop-1  ok           " + "x" * 40,
            "[red]   failing 3 h  why",
        ]

    def test_long_cells_are_folded_and_never_cut(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = self.on_a_terminal_of(45, capsys, monkeypatch)
        assert lines[0].split() == ["ORG", "STATE", "WHY"]
        assert "".join(lines).count("x") == 40
        assert max(map(len, lines)) <= 45

    def test_where_even_that_is_too_wide_each_row_is_a_block(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = self.on_a_terminal_of(20, capsys, monkeypatch)
        assert lines[:2] == ["org    shop-1", "state  ok"]
        assert "".join(lines).count("x") == 40
        assert max(map(len, lines)) <= 20

    def on_a_terminal_of(
        self, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        for name, value in {"COLUMNS": str(width), "LINES": "25", "TERM": "dumb", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        print_table(("ORG", "STATE", "WHY"), self.ROWS)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@dataclass(frozen=True)
class Row:
    number: int
    price: Decimal
    at: datetime
    name: str = field(repr=False)


class TestJson:
    ROW = Row(1, Decimal("1.10"), NOW, "Zénobie\x1b")

    def test_what_a_repr_leaves_out_is_left_out(self) -> None:
        assert as_document(self.ROW) == {"number": 1, "price": Decimal("1.10"), "at": NOW}
        assert as_document(self.ROW, personal=True)["name"] == "Zénobie\x1b"

    def test_money_is_exact_and_the_text_is_ascii(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_json({"items": [as_document(self.ROW, personal=True)], "state": OrderState.PAID})
        text = capsys.readouterr().out
        assert text.isascii()
        assert "\x1b" not in text
        assert json.loads(text) == {
            "items": [{"number": 1, "price": "1.10", "at": "2026-01-31T12:00:00+00:00", "name": "Zénobie\x1b"}],
            "state": 1,
        }

    def test_a_type_without_a_form_is_a_fault_of_ours(self) -> None:
        with pytest.raises(TypeError):
            print_json({"x": object()})


class TestTimes:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 s"), (0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (200_000, "2 d")],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    @pytest.mark.parametrize(
        ("text", "length"),
        [("300", 300), ("90s", 90), ("5m", 300), ("5 min", 300), ("2h", 7200), (" 1D ", 86400), ("0.5h", 1800)],
    )
    def test_lengths_of_time(self, text: str, length: float) -> None:
        assert seconds(text) == length

    @pytest.mark.parametrize("text", ["", "5 w", "-5", "1e9", "h", "5mm", "\u0665", "inf", "1" * 10])
    def test_what_is_no_length_of_time(self, text: str) -> None:
        with pytest.raises(typer.BadParameter, match="300, 90s, 5m, 2h or 1d"):
            seconds(text)

    @pytest.mark.parametrize(
        ("length", "text"), [(300.0, "5 min"), (90.0, "90 s"), (86400.0, "1 d"), (5400.0, "90 min"), (1.5, "1.5 s")]
    )
    def test_exact_lengths(self, length: float, text: str) -> None:
        assert exactly(length) == text

    def test_relative(self) -> None:
        assert relative(None, NOW) == "never"
        assert relative(NOW, NOW) == "now"
        assert relative(NOW - timedelta(minutes=2), NOW) == "2 min ago"
        assert relative(NOW + timedelta(hours=3, minutes=5), NOW) == "in 3 h"

    @pytest.mark.parametrize(
        ("text", "at"),
        [
            ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
            ("2026-01-31T09:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
            (" 2026-01-31 09:00+01:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
            ("2026-01-31T09:00Z", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ],
    )
    def test_moments(self, text: str, at: datetime) -> None:
        assert moment(text) == at

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "31.1.2026", "0001-01-01T00:00+10:00"])
    def test_what_is_no_moment(self, text: str) -> None:
        with pytest.raises(typer.BadParameter):
            moment(text)


class TestStates:
    @pytest.mark.parametrize(
        ("text", "number"), [(None, None), ("3", 3), ("To-Be-Shipped", 3), ("paid", 1), ("77", 77)]
    )
    def test_by_number_known_or_not_and_by_name(self, text: str | None, number: int | None) -> None:
        assert state_number(text, OrderState) == number

    @pytest.mark.parametrize("text", ["", "-1", "1.5", "shipped", "²", "9999999999"])
    def test_what_is_no_state(self, text: str) -> None:
        with pytest.raises(typer.BadParameter, match="3 to_be_shipped"):
            state_number(text, OrderState)


def status(**parts: Any) -> SyncStatus:
    nothing = dict.fromkeys(SyncStatus.__dataclass_fields__)
    return SyncStatus(**{**nothing, "organization_id": "o", "resource": "orders", "state": "ok", **parts})


class TestStatus:
    def test_running_and_failing_are_told_with_since_when(self) -> None:
        assert state(status(), NOW) == "ok"
        minute, hour = NOW - timedelta(minutes=1), NOW - timedelta(hours=1)
        assert state(status(state="running", running_since=minute), NOW) == "running 1 min"
        assert state(status(state="running", running_since=minute, failing_since=hour), NOW) == (
            "running 1 min, failing 1 h"
        )
        assert state(status(state="unauthorized", failing_since=hour), NOW) == "unauthorized, failing 1 h"

    def test_why_carries_what_their_support_asks_for(self) -> None:
        failed = status(error_code="server_error", error="No.", error_request_id="r-1", error_cf_ray="c-1")
        assert why(failed) == "server_error: No. (requestId r-1, cf-ray c-1)"
        assert why(status()) is None
        assert "refuses the key" in str(why(status(state="unauthorized")))
        assert "`schedule set` turns it on" in str(why(status(state="off")))

    def test_of_one_that_runs_it_says_how_far_and_where(self) -> None:
        running = {"state": "running", "owner": "vm:7:1"}
        assert why(status(**running, rows_done=50, rows_expected=300)) == "50 of 300 rows, by vm:7:1"
        assert why(status(**running)) == "by vm:7:1"

    def test_how_far(self) -> None:
        assert how_far(status(rows_done=50, rows_expected=300)) == "50 of 300 rows"
        assert how_far(status(running_since=NOW)) == "running"
        assert how_far(status()) == "waiting for a worker"


def every_error(root: type[BackMarketError] = BackMarketError) -> Iterator[type[BackMarketError]]:
    yield root
    for branch in root.__subclasses__():
        yield from every_error(branch)


OTHERS = {
    "connection_not_found": 3,
    "not_stored": 3,
    "connection_disabled": 4,
    "api_key_missing": 4,
    "connection_unauthorized": 4,
    "unauthorized": 4,
    "label_not_found": 3,
    "not_stored_yet": 3,
    "write_not_found": 3,
    "bulk_job_not_found": 3,
    "broker_unavailable": 5,
    "database_unavailable": 5,
    "limiter_unavailable": 5,
    "bucket_unavailable": 5,
    "not_deleted": 5,
    "wait_timeout": 6,
}
"""The exit codes that are not those of the whole branch."""


class TestExitCodes:
    def test_each_error_has_the_one_that_is_documented(self) -> None:
        found = {kind.code: exit_code(kind("x")) for kind in every_error()}
        usual = {kind.code: 2 if issubclass(kind, errors.UsageError) else 1 for kind in every_error()}
        assert found == usual | OTHERS

    def test_the_help_and_the_package_tell_the_same(self) -> None:
        shown = CliRunner().invoke(app, ["--help"]).stdout
        codes = [line.split() for line in str(cli.__doc__).splitlines() if line.startswith("    ")]
        assert [words[0] for words in codes] == ["0", "1", "2", "3", "4", "5", "6", "130"]
        for words in codes:
            assert words in [line.split() for line in shown.splitlines()] or words[0] == "130"

    def test_an_argument_that_is_no_text_is_refused(self) -> None:
        result = CliRunner().invoke(app, ["connections", "show", "a\udcffb"])
        assert result.exit_code == 2
        assert r"a\udcffb is not valid text" in result.stderr


class TestHelp:
    def test_it_loads_nothing_heavy(self) -> None:
        show = "import backmarket.cli.app, sys; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", show], cwd=CHECKOUT, check=True, capture_output=True, text=True)
        heavy = {"backmarket.facade", "celery", "cryptography", "httpx", "psycopg", "pydantic", "rich", "structlog"}
        assert heavy & set(loaded.stdout.split()) == set()

    @pytest.mark.parametrize(
        "command",
        [
            "connections add|list|show|disable|enable|remove|check",
            "orders list|show|fetch",
            "orderlines list|show",
            "listings list|show|fetch",
            "deliveries list|show|fetch",
            "returns list|show|fetch",
            "labels list|url|download|fetch|sweep",
            "schedule show|set",
            "db init|migrate|upkeep",
            "doctor",
            "keys generate|rotate",
            "sync",
            "status",
            "sandbox",
            "demo",
            "up",
        ],
    )
    def test_every_command_has_one(self, command: str) -> None:
        group, _, names = command.partition(" ")
        for name in filter(None, ["", *names.split("|")]):
            result = CliRunner().invoke(app, [group, name, "--help"])
            assert (result.exit_code, result.stderr) == (0, "")
            assert f"{group} {name}" in result.stdout

    def test_no_option_takes_a_key_by_value(self) -> None:
        shown = CliRunner().invoke(app, ["connections", "add", "--help"]).stdout
        assert "--api-key " not in shown
        assert CliRunner().invoke(app, ["connections", "add", "x", "--api-key", "k"]).exit_code == 2

    def test_without_a_command_it_shows_the_help(self) -> None:
        for arguments in ([], ["orders"]):
            result = CliRunner().invoke(app, arguments)
            assert (result.exit_code, "Commands:" in result.output) == (2, True)

    def test_the_version(self) -> None:
        assert CliRunner().invoke(app, ["--version"]).stdout.startswith("backmarket ")

    def test_the_width_of_a_pipe_is_endless(self) -> None:
        assert output._width() > 10_000
