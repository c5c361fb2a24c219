"""Bulk jobs as an application has them: files submitted, refused, compared, reported, waited for; and as commands."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from backmarket import BackMarket
from backmarket.bucket.keys import bulk_key, bulk_prefix
from backmarket.bulk import reports, submit
from backmarket.bulk.rows import JobState, Outcome
from backmarket.cli.app import app
from backmarket.errors import (
    BucketUnavailable,
    BulkFileRefused,
    BulkJobNotFound,
    ConnectionDisabled,
    EnvironmentMismatch,
    InvalidArgument,
    ObjectNotFound,
    SettingsError,
    TaskFailed,
    WaitTimeout,
)
from backmarket.organizations import lifecycle
from backmarket.sandbox.control.client import SandboxControl
from backmarket.standalone.embedded import Stack
from backmarket.standalone.programs import CHECKOUT
from tests.conftest import Bucket
from tests.support.bulk_files import as_csv, one_slice, opened_shop, run, settings_for
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.support.workbooks import text, workbook


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    settings = settings_for(shared_url, redis_url, s3)
    with opened_shop(settings, sandbox, org, listings=60) as shop:
        yield shop


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


def listed(shop: Shop, org: str) -> list[dict[str, Any]]:
    return shop.sandbox.truth(org, "listings")


def lines(shop: Shop, org: str, count: int) -> list[dict[str, Any]]:
    """Lines that give some listings another quantity."""
    return [{"sku": row["sku"], "quantity": row["quantity"] + 7} for row in listed(shop, org)[:count]]


def file_of(rows: list[dict[str, Any]]) -> str:
    return as_csv(rows).decode()


def objects(shop: Shop, org: str) -> list[str]:
    return [each.key for each in shop.services.bucket.list(bulk_prefix(org))]


def rows_of(shop: Shop) -> int:
    return int(shop.one("SELECT count(*) FROM backmarket.bulk_jobs"))


@pytest.mark.parametrize("way", ["text", "path", "open", "pipe"])
def test_a_file_is_submitted_however_it_comes(shop: Shop, bm: BackMarket, org: str, way: str, tmp_path: Path) -> None:
    text = file_of(lines(shop, org, 5))
    path = tmp_path / "my listings.csv"
    path.write_text(text)
    match way:
        case "text":
            handle = bm.create_or_update_listings(org, text)
        case "path":
            handle = bm.create_or_update_listings(org, path)
        case "open":
            with path.open("rb") as opened:
                handle = bm.create_or_update_listings(org, opened)
        case _:
            handle = bm.create_or_update_listings(org, Pipe(text.encode()))  # type: ignore[arg-type]
    assert handle.status().file_name == ("my listings.csv" if way in {"path", "open"} else None)
    assert handle.done() is None
    run(shop, org, handle.id)
    job = handle.wait(PATIENCE_SECONDS)
    assert (job.state, job.lines, job.lines_done) == (JobState.DONE, 5, 5)
    assert [each.line for each in handle.report()] == [2, 3, 4, 5, 6]
    assert {each.sku for each in handle.report()} == {row["sku"] for row in lines(shop, org, 5)}
    with shop.services.bucket.get(bulk_key(org, handle.id, "original")) as original:
        assert b"".join(original.chunks) == text.encode()


class Pipe:
    """Can be read, and nothing else."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 7))


def test_a_file_with_a_bad_line_is_refused_and_nothing_is_stored(shop: Shop, bm: BackMarket, org: str) -> None:
    text = "sku;price;comment\nA;12.50;\nB;1,5;\nC;3.00;" + "x" * 600 + "\na;9;\n"
    with pytest.raises(BulkFileRefused, match="4 of 4 lines are bad") as caught:
        bm.create_or_update_listings(org, text)
    assert [(fault.line, fault.column) for fault in caught.value.faults] == [
        (2, "sku"),
        (3, "price"),
        (4, "comment"),
        (5, "sku"),
    ]
    assert 'row 3, column B (price): "1,5" has a decimal comma' in str(caught.value.faults[1])
    assert "xxx" not in str(caught.value.faults[2]), "a comment may be personal"
    assert (rows_of(shop), objects(shop, org)) == (0, [])


def test_a_check_says_what_would_be_sent_and_how_long_it_takes(shop: Shop, bm: BackMarket, org: str) -> None:
    rows = [{"sku": f"NEW-{number}", "quantity": 1} for number in range(4999)]
    found = bm.check_listings_file(org, file_of([*rows, {"sku": "bad", "quantity": "-1"}]), skip_bad_lines=True)
    assert (found.lines, found.bad_lines, found.lines_to_send, found.parts) == (5000, 1, 4999, 10)
    assert found.expected_duration == timedelta(hours=2)
    assert (found.columns, found.unknown_columns, found.is_refused) == (("sku", "quantity"), (), False)
    assert "delimiter ';'" in (found.dialect or "")
    strict = bm.check_listings_file(org, file_of([{"sku": "bad", "quantity": "-1"}, *rows]))
    assert (strict.is_refused, strict.lines_to_send, strict.fault_count) == (True, 0, 1)
    assert strict.reason is not None
    assert "--skip-bad-lines" in strict.reason
    assert bm.check_listings_file(org, "quantity;price\n1;2\n").fault_count == 1
    assert (rows_of(shop), objects(shop, org)) == (0, [])


def test_what_waits_already_makes_it_longer(shop: Shop, bm: BackMarket, org: str) -> None:
    shop.connect("another of the same key", f"token-of-{org}")
    first = bm.create_or_update_listings("another of the same key", file_of(lines(shop, org, 60)))
    assert first.expected_duration == timedelta()
    shop.restart(sku_lines_limit=50)
    with BackMarket(shop.settings) as later:
        found = later.check_listings_file(org, file_of(lines(shop, org, 60)))
    assert found.expected_duration == timedelta(hours=2), "120 lines, 50 an hour"


def test_bad_and_unchanged_lines_are_left_out_and_reported(shop: Shop, bm: BackMarket, org: str) -> None:
    """The report has each line of the file once, in its order."""
    shop.sync(org, "listings")
    rows = lines(shop, org, 12)
    rows[2]["quantity"] = "a few"
    rows[5]["quantity"] -= 7
    rows[9]["sku"] = rows[8]["sku"].swapcase()
    handle = bm.create_or_update_listings(org, file_of(rows), skip_bad_lines=True, skip_unchanged=True)
    job = run(shop, org, handle.id)
    assert (job.state, job.lines, job.bad_lines, job.unchanged_lines) == (JobState.DONE_WITH_ERRORS, 12, 3, 1)
    report = list(handle.report())
    assert [each.line for each in report] == list(range(2, 14))
    assert [each.sku for each in report] == [row["sku"] for row in rows]
    outcomes = {each.line: each.outcome for each in report}
    assert {line for line, outcome in outcomes.items() if outcome is Outcome.BAD} == {4, 10, 11}
    assert outcomes[7] is Outcome.UNCHANGED
    assert [each.message for each in report if each.outcome is Outcome.DONE] == [""] * 8
    assert '"a few"' in report[2].message
    assert shop.sandbox.stats().sellers[org].sku_lines == 8
    url = bm.get_bulk_report_url(org, handle.id, expires=60)
    told = list(csv.DictReader(io.StringIO(httpx.get(url, trust_env=False).text), delimiter=";"))
    assert [(int(row["line"]), row["sku"], row["outcome"], row["message"]) for row in told] == [
        (each.line, each.sku, each.outcome, each.message) for each in report
    ]


def test_a_file_that_changes_nothing_is_a_job_that_is_done(shop: Shop, bm: BackMarket, org: str) -> None:
    shop.sync(org, "listings")
    rows = [{"sku": row["sku"], "quantity": row["quantity"]} for row in listed(shop, org)]
    handle = bm.create_or_update_listings(org, file_of(rows), skip_unchanged=True)
    job = run(shop, org, handle.id)
    assert (job.state, job.unchanged_lines, job.parts) == (JobState.DONE, 60, 0)
    assert {each.outcome for each in handle.report()} == {Outcome.UNCHANGED}


def test_unchanged_lines_are_skipped_only_where_they_can_be_compared(shop: Shop, bm: BackMarket, org: str) -> None:
    with pytest.raises(InvalidArgument, match="never synced"):
        bm.check_listings_file(org, file_of(lines(shop, org, 1)), skip_unchanged=True)
    shop.sync(org, "listings")
    with pytest.raises(InvalidArgument, match="prices of fr-fr"):
        bm.check_listings_file(org, file_of(lines(shop, org, 1)), skip_unchanged=True, locale="de-de")


def test_a_key_names_one_job(shop: Shop, bm: BackMarket, org: str) -> None:
    text = file_of(lines(shop, org, 3))
    first = bm.create_or_update_listings(org, text, idempotency_key="monday")
    stored = objects(shop, org)
    assert bm.create_or_update_listings(org, text, idempotency_key="monday").id == first.id
    with pytest.raises(InvalidArgument, match="another file"):
        bm.create_or_update_listings(org, file_of(lines(shop, org, 4)), idempotency_key="monday")
    with pytest.raises(InvalidArgument, match="other options"):
        bm.create_or_update_listings(org, text, idempotency_key="monday", skip_bad_lines=True)
    assert (rows_of(shop), objects(shop, org)) == (1, stored), "what the others stored was deleted"
    assert [job.id for job in bm.get_bulk_jobs(org, idempotency_key="monday")] == [first.id]


def test_one_key_at_the_same_time_is_one_job(shop: Shop, bm: BackMarket, org: str) -> None:
    text = file_of(lines(shop, org, 3))
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: bm.create_or_update_listings(org, text, idempotency_key="x").id, range(4)))
    assert len(set(made)) == 1
    assert objects(shop, org) == [bulk_key(org, made[0], name) for name in ("lines.csv", "original")]


def test_a_caller_that_waits_for_the_sync_too_is_told_the_job(shop: Shop, bm: BackMarket, org: str) -> None:
    with pytest.raises(WaitTimeout, match=r"Bulk job 1 has not ended within 0\.2 s") as caught:
        bm.create_or_update_listings_and_sync(org, file_of(lines(shop, org, 3)), max_wait=0.2, poll_interval=0.05)
    assert "workers continue it" in str(caught.value)
    assert bm.get_bulk_job(org, 1) is not None


def test_jobs_are_listed_newest_first(shop: Shop, bm: BackMarket, org: str) -> None:
    made = [bm.create_or_update_listings(org, file_of(lines(shop, org, 1))).id for _ in range(3)]
    page = bm.get_bulk_jobs(org, limit=2)
    rest = bm.get_bulk_jobs(org, limit=2, cursor=page.next_cursor)
    assert [job.id for job in (*page, *rest)] == made[::-1]
    assert rest.next_cursor is None
    bm.cancel_bulk_job(org, made[0])
    assert [job.id for job in bm.get_bulk_jobs(org, state="cancelled")] == made[:1]
    assert not bm.get_bulk_jobs("another").items
    assert bm.get_bulk_job("another", made[0]) is None
    for wrong in ({"state": "over"}, {"cursor": "x"}, {"limit": 0}):
        with pytest.raises(InvalidArgument):
            bm.get_bulk_jobs(org, **wrong)
    with pytest.raises(BulkJobNotFound):
        bm.get_bulk_handle("another", made[0])


def test_a_caller_that_waits_is_told_what_for(shop: Shop, bm: BackMarket, org: str) -> None:
    first = bm.create_or_update_listings(org, file_of(lines(shop, org, 3)))
    shop.execute("UPDATE backmarket.work SET due_at = now() - interval '1 minute'")
    with pytest.raises(WaitTimeout, match="queue 'bulk'"):
        first.wait(0)
    second = bm.create_or_update_listings(org, file_of(lines(shop, org, 3)))
    assert f"after bulk job {first.id}" in second.waits_for()
    lifecycle.disable(shop.services.database, org)
    assert "disabled" in second.waits_for()
    with pytest.raises(ConnectionDisabled):
        bm.create_or_update_listings(org, file_of(lines(shop, org, 3)))
    lifecycle.enable(shop.services.database, org)
    shop.sandbox.settings(task_delay=3600.0)
    one_slice(shop, org)
    assert "Back Market processes 3 lines" in first.waits_for()
    shop.restart(sku_lines_limit=3)
    third = bm.create_or_update_listings(org, file_of(lines(shop, org, 3)))
    one_slice(shop, org)
    assert third.status().state is JobState.WAITING_FOR_QUOTA
    assert "for the quota of SKU lines; 3 lines are to be sent" in third.waits_for()


def test_a_job_of_which_nothing_was_done_raises(shop: Shop, bm: BackMarket, org: str) -> None:
    shop.sync(org, "listings")
    shop.sandbox.add_fault("task_fails", operation="listings.bulk", seller=org)
    handle = bm.create_or_update_listings(org, file_of(lines(shop, org, 2)))
    run(shop, org, handle.id)
    with pytest.raises(TaskFailed, match=f"Bulk job {handle.id} failed"):
        handle.wait(0)
    assert {each.outcome for each in handle.report()} == {Outcome.FAILED}


def test_a_report_is_there_when_the_job_has_ended(shop: Shop, bm: BackMarket, org: str) -> None:
    handle = bm.create_or_update_listings(org, file_of(lines(shop, org, 2)))
    with pytest.raises(InvalidArgument, match="has not ended"):
        handle.report_url()
    assert {each.outcome for each in handle.report()} == {Outcome.OPEN}
    bm.cancel_bulk_job(org, handle.id)
    assert handle.status().reported_at is None
    told = httpx.get(handle.report_url(), trust_env=False).text
    assert told.count("not_sent") == 2, "it was written for the link"
    with pytest.raises(InvalidArgument, match="7 days"):
        handle.report_url(expires=8 * 86400)
    shop.services.bucket.delete(objects(shop, org))
    assert [(each.line, each.sku) for each in handle.report()] == [(2, ""), (3, "")], "what the rows know"


def upload(shop: Shop, key: str, text: str) -> None:
    with io.BytesIO(text.encode()) as file:
        reports.store(shop.services, key, file)


def test_a_message_names_an_uploaded_file(shop: Shop, bm: BackMarket, org: str) -> None:
    upload(shop, "uploads/1/spring.csv", file_of(lines(shop, org, 4)))
    job_id = submit.submit_object(shop.services, org, "uploads/1/spring.csv", max_age=3600, locale=None)
    again = submit.submit_object(shop.services, org, "uploads/1/spring.csv", max_age=3600)
    assert again == job_id, "a message may come twice"
    job = run(shop, org, job_id)
    assert (job.state, job.lines_done, job.file_name) == (JobState.DONE, 4, "spring.csv")
    assert job.expires_at is not None
    upload(shop, "uploads/1/spring.csv", file_of(lines(shop, org, 5)))
    assert submit.submit_object(shop.services, org, "uploads/1/spring.csv", max_age=3600) != job_id


def test_an_uploaded_file_that_is_refused_is_a_failed_job(shop: Shop, bm: BackMarket, org: str) -> None:
    rows = lines(shop, org, 4)
    rows[1]["quantity"] = -1
    upload(shop, "uploads/bad.csv", file_of(rows))
    job_id = submit.submit_object(shop.services, org, "uploads/bad.csv", idempotency_key="bad")
    job = bm.get_bulk_job(org, job_id)
    assert job is not None
    assert (job.state, job.error_code, job.lines, job.bad_lines) == (JobState.FAILED, "bulk_file_refused", 4, 1)
    told = list(bm.get_bulk_handle(org, job_id).report())
    assert [(each.line, each.sku, each.outcome) for each in told] == [
        (line, row["sku"], Outcome.BAD if line == 3 else Outcome.NOT_SENT) for line, row in enumerate(rows, 2)
    ]
    upload(shop, "uploads/none.csv", "what;is;this\n")
    headless = submit.submit_object(shop.services, org, "uploads/none.csv")
    assert [(each.line, each.outcome) for each in bm.get_bulk_handle(org, headless).report()] == [(1, Outcome.BAD)]
    one_slice(shop, org)
    assert bm.get_bulk_job(org, job_id).reported_at is not None  # type: ignore[union-attr]
    assert org not in shop.sandbox.stats().sellers, "it was asked nothing"


@pytest.mark.parametrize(
    ("key", "options", "error"),
    [
        ("labels/1.pdf", {}, InvalidArgument),
        ("uploads/nothing.csv", {}, ObjectNotFound),
        ("uploads/../a.csv", {}, InvalidArgument),
        ("uploads/./a.csv", {}, InvalidArgument),
        ("uploads/a\0.csv", {}, InvalidArgument),
        ("uploads/\ud800.csv", {}, InvalidArgument),
        (f"uploads/{'é' * 512}.csv", {}, InvalidArgument),
        ("uploads/a.csv", {"separator": ","}, InvalidArgument),
        ("uploads/a.csv", {"delimiter": 7}, InvalidArgument),
        ("uploads/a.csv", {"skip_bad_lines": "yes"}, InvalidArgument),
        ("uploads/a.csv", {"max_age": True}, InvalidArgument),
        ("uploads/a.csv", {"max_age": -1}, InvalidArgument),
        ("uploads/a.csv", {"max_age": 1e300}, InvalidArgument),
        ("uploads/a.csv", {"locale": "xx-xx"}, InvalidArgument),
        ("uploads/a.csv", {"environment": "sandbox"}, EnvironmentMismatch),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(
    shop: Shop, org: str, key: str, options: dict[str, Any], error: type[Exception]
) -> None:
    upload(shop, "uploads/a.csv", "sku;quantity\nA;1\n")
    with pytest.raises(error):
        submit.submit_object(shop.services, org, key, **options)
    assert rows_of(shop) == 0


def closed(file: io.BytesIO) -> io.BytesIO:
    file.close()
    return file


def test_a_file_that_can_t_be_read_is_said_to(bm: BackMarket, org: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="No such file"):
        bm.create_or_update_listings(org, tmp_path / "none.csv")
    with pytest.raises(InvalidArgument, match="'rb'"):
        bm.create_or_update_listings(org, io.StringIO("sku;quantity\nA;1\n"))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="not as bytes"):
        bm.create_or_update_listings(org, b"sku;quantity\nA;1\n")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="its path is invalid"):
        bm.create_or_update_listings(org, Path("a\0b"))
    with pytest.raises(InvalidArgument, match="file is closed"):
        bm.create_or_update_listings(org, closed(io.BytesIO(b"sku;quantity\nA;1\n")))
    with pytest.raises(BulkFileRefused, match="pathlib"):
        bm.create_or_update_listings(org, "listings.csv")
    with pytest.raises(InvalidArgument, match="max_age"):
        bm.create_or_update_listings(org, "sku;quantity\nA;1\n", max_age=timedelta())


def test_without_room_for_temporary_files_it_is_said(shop: Shop, bm: BackMarket, org: str) -> None:
    text = file_of([{"sku": f"NEW-{number}", "quantity": 1} for number in range(30_000)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(text) // 2, limits[1]))
    try:
        with pytest.raises(SettingsError, match="TMPDIR"):
            bm.create_or_update_listings(org, text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (rows_of(shop), objects(shop, org)) == (0, [])


def test_with_the_bucket_away_nothing_is_submitted(shop: Shop, bm: BackMarket, org: str, stack: Stack) -> None:
    text = file_of(lines(shop, org, 2))
    stack.s3.kill()
    try:
        with pytest.raises(BucketUnavailable):
            bm.create_or_update_listings(org, text)
    finally:
        stack.s3.start()
    assert rows_of(shop) == 0
    assert bm.create_or_update_listings(org, text).status().state is JobState.PENDING


@pytest.fixture
def command(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, with the environment of this test; its exit code is looked at, too."""
    for name, value in environment(shop.settings).items():
        monkeypatch.setenv(name, value)

    def run_it(exit_code: int, *arguments: str, **options: Any) -> Result:
        result = CliRunner().invoke(app, ["bulk", *arguments], **options)
        assert result.exit_code == exit_code, result.output
        return result

    return run_it


def test_a_command_shows_every_fault_of_a_file(
    shop: Shop, org: str, command: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("sku,price\nA,1.50\nB,free\n\nC;2\nB,3\n")
    for name in ("check", "submit"):
        result = command(2, name, org, str(path))
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["ROW", "3", "5", "6"]
        assert "3 of 4 lines are bad" in result.stderr
    result = command(2, "submit", org, "-", "--json", input=path.read_bytes())
    document = json.loads(result.stdout)
    assert [fault["line"] for fault in document["faults"]] == [3, 5, 6]
    assert json.loads(result.stderr)["error"]["code"] == "bulk_file_refused"
    assert rows_of(shop) == 0
    told = command(0, "check", org, str(path), "--skip-bad-lines")
    assert "1 of 4 lines can be sent (utf-8, delimiter ','" in told.stdout
    assert json.loads(command(0, "check", org, str(path), "--skip-bad-lines", "--json").stdout)["bad_lines"] == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04 cut off", "damaged or incomplete"),
        (b"sku;price\r\n", "no listing below"),
        (b"<html></html>", "web page"),
    ],
    ids=["damaged", "empty", "page"],
)
def test_a_file_without_a_single_fault_is_refused_with_one_sentence(
    command: Callable[..., Result], tmp_path: Path, org: str, content: bytes, told: str
) -> None:
    path = tmp_path / "stock.csv"
    path.write_bytes(content)
    result = command(2, "check", org, str(path))
    assert (result.stdout, result.stderr[:7], told in result.stderr) == ("", "Error: ", True)


def test_a_command_reads_excel_files_and_the_signs_that_are_chosen(
    org: str, command: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "listings.csv"
    rows = f'<row r="1">{text("A1", "sku")}{text("B1", "price")}</row><row r="2">{text("A2", "001")}'
    path.write_bytes(workbook(rows + text("B2", "1 299,00") + "</row>"))
    assert "may have a thousands separator" in command(2, "check", org, str(path)).stdout
    told = command(0, "check", org, str(path), "--decimal", ",", "--thousands", " ")
    assert "1 of 1 lines can be sent (Excel workbook, sheet 'Stock')" in told.stdout
    path.write_text("sku;price\n3.53E+14;1.00\n")
    assert "--skus-as-they-are" in command(2, "check", org, str(path)).stdout.replace("\n", "")
    command(0, "check", org, str(path), "--skus-as-they-are")


def test_a_job_from_the_command_line(shop: Shop, org: str, command: Callable[..., Result], tmp_path: Path) -> None:
    shop.sync(org, "listings")
    rows = [*lines(shop, org, 3), {"sku": "nobody has this", "quantity": 1}]
    path = tmp_path / "listings.csv"
    path.write_text(file_of(rows))
    submitted = command(0, "submit", org, str(path), "--max-age", "2h", "--key", "one", "--json")
    assert submitted.stderr == ""
    job = json.loads(submitted.stdout)
    number = str(job["id"])
    assert (job["state"], job["lines"], job["file_name"]) == ("pending", 4, "listings.csv")
    assert json.loads(command(0, "submit", org, str(path), "--max-age", "2h", "--key", "one", "--json").stdout) == job
    assert "has not ended" in command(2, "report", org, number, "--url").stderr
    run(shop, org, job["id"])
    assert "done_with_errors" in command(0, "list", org).stdout
    shown = json.loads(command(0, "show", org, number, "--parts", "--json").stdout)
    assert (shown["state"], shown["waits_for"], len(shown["parts"])) == ("done_with_errors", None, 1)
    assert "listings.csv" in command(0, "show", org, number).stdout
    told = command(0, "report", org, number).stdout.splitlines()
    assert (len(told), told[1].split()[0]) == (2, "5")
    assert len(json.loads(command(0, "report", org, number, "--json").stdout)["items"]) == 4
    command(0, "report", org, number, "--output", str(tmp_path / "report.csv"))
    link = command(0, "report", org, number, "--url").stdout.strip()
    assert httpx.get(link, trust_env=False).text == (tmp_path / "report.csv").read_text()
    watched = command(1, "submit", org, str(path), "--max-age", "2h", "--key", "one", "--watch")
    assert "done_with_errors: 4 accepted, 3 done, 1 failed." in watched.stdout
    assert "bulk report" in watched.stderr
    assert command(0, "submit", org, str(path), "--json").exit_code == 0
    assert json.loads(command(0, "list", org, "--state", "pending", "--json").stdout)["items"][0]["lines"] == 4


def test_a_command_that_can_t_be_meant_says_so(shop: Shop, org: str, command: Callable[..., Result]) -> None:
    assert "bulk list" in command(3, "show", org, "99").stderr
    assert command(3, "list", "nobody").stdout == ""
    assert command(3, "cancel", org, "99").stdout == ""
    assert "--arrived or --not-arrived" in command(2, "settle", org, "1", "1").stderr
    assert "No such file" in command(2, "submit", org, "/nowhere/listings.csv").stderr
    handle = command(0, "submit", org, "-", "--json", input=file_of(lines(shop, org, 1)))
    number = str(json.loads(handle.stdout)["id"])
    assert "it is pending" in command(2, "settle", org, number, "1", "--arrived").stderr
    shop.execute("UPDATE backmarket.work SET due_at = now() - interval '1 minute'")
    late = command(6, "submit", org, "-", "--watch", "--timeout", "0", input=file_of(lines(shop, org, 1)))
    assert "has not ended; workers continue it" in late.stderr
    assert "is cancelled" in command(0, "cancel", org, number).stdout


def test_a_person_decides_about_a_part_that_is_unknown(
    shop: Shop, org: str, bm: BackMarket, command: Callable[..., Result]
) -> None:
    """Its answer was lost, twice, and its listings are as they were."""
    shop.sync(org, "listings")
    shop.restart(bulk_settle_after=0.0)
    shop.sandbox.add_fault("close", operation="listings.bulk", seller=org)
    handle = bm.create_or_update_listings(org, file_of(lines(shop, org, 3)))
    one_slice(shop, org)
    assert "3 lines may or may not have arrived" in handle.waits_for()
    job = run(shop, org, handle.id)
    assert (job.state, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, 3)
    assert "bulk settle" in command(0, "show", org, str(handle.id)).stdout
    assert command(0, "report", org, str(handle.id)).stdout.count("unknown") == 3
    shop.sandbox.remove_faults()
    assert "0 done. " in command(0, "settle", org, str(handle.id), "1", "--not-arrived").stdout
    assert run(shop, org, handle.id).state is JobState.DONE
    assert {each.outcome for each in handle.report()} == {Outcome.DONE}
    assert "There is nothing to settle" in command(2, "settle", org, str(handle.id), "1", "--arrived").stderr
    assert "`backmarket bulk settle` now" in command(2, "resolve", org, str(handle.id), "1", "--arrived").stderr


def test_a_file_of_another_encoding(shop: Shop, org: str, command: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    sku = listed(shop, org)[0]["sku"]
    path.write_bytes(f"sku;comment\r\n{sku};très bon état\r\n".encode("cp1252"))
    assert "cp1252" in command(2, "check", org, str(path)).stdout
    job = json.loads(command(0, "submit", org, str(path), "--encoding", "cp1252", "--json").stdout)
    run(shop, org, job["id"])
    assert listed(shop, org)[0]["comment"] == "très bon état"


def test_a_long_job_is_asked_about(shop: Shop, org: str, command: Callable[..., Result]) -> None:
    text = as_csv([{"sku": f"NEW-{number}", "quantity": 1} for number in range(6001)])
    refused = command(2, "submit", org, "-", input=text)
    assert "in 3 h at the earliest" in refused.stderr
    assert "Give --yes" in refused.stderr
    assert (rows_of(shop), objects(shop, org)) == (0, [])
    assert json.loads(command(0, "submit", org, "-", "--yes", "--json", input=text).stdout)["lines_pending"] == 6001


def test_ctrl_c_ends_the_watching_and_not_the_job(shop: Shop, org: str, bm: BackMarket, tmp_path: Path) -> None:
    """On a terminal: a bar with what the job waits for; then Ctrl-C."""
    path = tmp_path / "listings.csv"
    path.write_text(file_of(lines(shop, org, 3)))
    fd, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from backmarket.cli import main; main()", "bulk", "submit", org, str(path), "--watch"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=CHECKOUT,
        env={**os.environ, **environment(shop.settings), "COLUMNS": "200", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def shows(text: str) -> bool:
        nonlocal shown
        if select.select([fd], [], [], 0)[0]:
            try:
                shown += os.read(fd, 65536).decode(errors="replace")
            except OSError:
                return text in shown
        return text in shown

    wait_until(lambda: shows("3 accepted, 0 done") or process.poll() is not None, "the bar")
    assert "3 accepted" in shown, shown
    process.send_signal(signal.SIGINT)
    wait_until(lambda: shows("Workers continue the job") and process.poll() is not None, "it has ended")
    os.close(fd)
    assert process.wait() == 130
    (job,) = bm.get_bulk_jobs(org)
    assert job.state is JobState.PENDING
