"""No cell of a report is calculated by the spreadsheet that a person opens it with."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from backmarket.bulk import reports
from backmarket.bulk.models import Outcome
from backmarket.bulk.reports import ReportLine
from backmarket.bulk.rows import Job
from backmarket.cli import bulk as command
from backmarket.services import Services

STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d")
LINES = [ReportLine(number, f"{start}HYPERLINK(1)", Outcome.BAD, f"{start}cmd|'/c calc'!A1") for number, start in
         enumerate(STARTS)]  # fmt: skip


def check(text: str) -> None:
    header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    assert header == ["line", "sku", "outcome", "message"]
    assert [(row[1], row[3]) for row in rows] == [(f"'{each.sku}", f"'{each.message}") for each in LINES]


def test_in_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bytes] = []

    def store(_: Services, __: str, file: BinaryIO) -> None:
        file.seek(0)
        stored.append(file.read())

    monkeypatch.setattr(reports, "lines", lambda *_: iter(LINES))
    monkeypatch.setattr(reports, "store", store)
    monkeypatch.setattr(reports, "bulk_key", lambda *_: "key")
    job: Any = type("Job", (), {"organization_id": "shop", "id": 1})
    reports.write(cast("Services", None), cast("Job", job))
    check(stored[0].decode("utf-8-sig"))


def test_from_the_command(tmp_path: Path) -> None:
    assert command._write(tmp_path / "report.csv", iter(LINES)) == len(LINES)
    check((tmp_path / "report.csv").read_bytes().decode())
