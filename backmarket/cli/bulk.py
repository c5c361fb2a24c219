"""`backmarket bulk`: files of listings, from the check to the report on each line."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli import bulk_files
from backmarket.cli.bulk_check import SHOWN, confirm, planned, stop_if_refused, tell_bad_lines
from backmarket.cli.bulk_options import (
    Columns,
    Decimal,
    Delimiter,
    Encoding,
    ListingsFile,
    Market,
    MaxAge,
    Quote,
    Remembered,
    SkipBad,
    SkipUnchanged,
    SkusAsTheyAre,
    Thousands,
    completed,
    opened_file,
)
from backmarket.cli.bulk_watching import how_far, to_send, watch
from backmarket.cli.output import Word, as_document, note, print_facts, print_json, print_table, printable, say
from backmarket.cli.parameters import AsJson, Cursor, Limit, Organization, examples
from backmarket.cli.rows import Rows
from backmarket.cli.session import opened
from backmarket.cli.times import ago, seconds
from backmarket.errors import BulkJobNotFound, InvalidArgument, UsageError
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.bulk.reports import ReportLine
    from backmarket.bulk.rows import Job, Part
    from backmarket.facade import BackMarket
    from backmarket.facade.bulk import FileOptions

app = typer.Typer(no_args_is_help=True, help="Files of listings (CSV, Excel), created or updated in bulk.")

JOBS: Rows[Job] = Rows(
    "bulk job",
    {
        "JOB": lambda job: job.id,
        "STATE": lambda job: Word(job.state),
        "FILE": lambda job: job.file_name,
        "LINES": lambda job: job.lines,
        "DONE": lambda job: job.lines_done,
        "FAILED": lambda job: job.lines_failed,
        "UNKNOWN": lambda job: job.lines_unknown,
        "LEFT": lambda job: job.lines_pending + job.lines_submitted,
        "SUBMITTED": lambda job: ago(job.created_at),
    },
)

JobId = Annotated[int, typer.Argument(metavar="JOB")]


@app.command(
    epilog=examples("bulk submit shop-1 listings.csv --watch", "bulk submit shop-1 stock.csv --max-age 2h --yes --json")
)
def submit(
    context: typer.Context,
    organization: Organization,
    file: ListingsFile,
    watched: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Maximum time for --watch.")] = None,
    delimiter: Delimiter = None,
    quotechar: Quote = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    skus_as_they_are: SkusAsTheyAre = False,
    locale: Market = None,
    skip_bad_lines: SkipBad = False,
    skip_unchanged: SkipUnchanged = False,
    max_age: MaxAge = None,
    column: Columns = None,
    remembered: Remembered = False,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Idempotency key: the same key returns the same job.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Submit without asking, however long it takes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a file, then create or update its listings.

    If any line is bad, nothing is sent and every fault is shown. With --watch, the exit code is 1 unless every
    line is done.
    """
    options: FileOptions = {
        "delimiter": delimiter,
        "quotechar": quotechar,
        "encoding": encoding,
        "decimal": decimal,
        "thousands": thousands,
        "skus_as_they_are": skus_as_they_are,
        "locale": locale,
        "skip_bad_lines": skip_bad_lines,
        "skip_unchanged": skip_unchanged,
        "max_age": None if max_age is None else timedelta(seconds=max_age),
        "idempotency_key": key,
    }
    with opened() as bm:
        options = completed(bm, organization, options, column, remembered=remembered)
        with bm.prepare_listings_file(organization, opened_file(file), **options) as prepared:
            stop_if_refused(context, prepared.check, as_json=as_json)
            if not as_json:
                tell_bad_lines(prepared.check)
                note(planned(prepared.check))
            confirm(prepared.check, yes=yes)
            handle = prepared.submit()
        job = watch(bm, handle, timeout) if watched else handle.status()
        _print_job(bm, job, as_json=as_json)
    if watched and job.state != "done":
        raise typer.Exit(1)


bulk_files.add_commands(app)


@app.command("list", epilog=examples("bulk list shop-1 --state waiting_for_quota"))
def show_all(
    organization: Organization,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only in this state, such as running.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List bulk jobs, the newest first."""
    with opened() as bm:
        page = bm.get_bulk_jobs(organization, state=state, limit=limit, cursor=cursor)
        JOBS.print_page(bm, organization, page, as_json=as_json)


@app.command(epilog=examples("bulk show shop-1 12", "bulk show shop-1 12 --parts"))
def show(
    organization: Organization,
    job_id: JobId,
    parts: Annotated[bool, typer.Option("--parts", help="Show all parts, not only those that need a person.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one job, what it waits for, and its parts that failed or are under way."""
    with opened() as bm:
        job = _found(bm, organization, job_id)
        waits = bm.get_bulk_handle(organization, job_id).waits_for()
        found = [part for part in bm.get_bulk_parts(organization, job_id) if parts or _needs_a_look(part)]
    if as_json:
        print_json(as_document(job) | {"waits_for": waits or None, "parts": [as_document(part) for part in found]})
        return
    print_facts(as_document(job) | {"state": Word(job.state)} | ({"waits_for": waits} if waits else {}))
    if found:
        say()
        columns = ("PART", "STATE", "LINES", "TASK", "NEXT", "WHY")
        print_table(columns, [[p.number, Word(p.state), p.lines, p.task_id, _next(p), p.error] for p in found])


@app.command()
def cancel(organization: Organization, job_id: JobId, as_json: AsJson = False) -> None:
    """Send nothing more of a job; Back Market finishes what it already has."""
    with opened() as bm:
        job = bm.cancel_bulk_job(organization, job_id)
        _print_job(bm, job, as_json=as_json)


@app.command(
    epilog=examples("bulk report shop-1 12", "bulk report shop-1 12 --output report.csv", "bulk report shop-1 12 --url")
)
def report(
    organization: Organization,
    job_id: JobId,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all lines to this CSV file.")] = None,
    url: Annotated[bool, typer.Option("--url", help="Print a link to the CSV file in the bucket.")] = False,
    expires: Annotated[float, typer.Option(metavar="TIME", parser=seconds, help="Time until the link expires.")] = "1h",  # type: ignore[assignment]
    as_json: AsJson = False,
) -> None:
    """Show the outcome of the lines that are not done; in JSON, of all lines."""
    with opened() as bm:
        if url:
            link = bm.get_bulk_report_url(organization, job_id, expires=int(expires))
            print_json({"url": link}) if as_json else say(link)
            return
        lines = bm.get_bulk_handle(organization, job_id).report()
        if output is not None:
            note(f"Wrote {counted(_write(output, lines), 'line')} to {printable(str(output))}.")
        elif as_json:
            print_json({"items": [as_document(line) for line in lines], "next_cursor": None})
        else:
            _print_report(line for line in lines if line.outcome != "done")


@app.command(epilog=examples("bulk settle shop-1 12 3 --arrived", "bulk settle shop-1 12 3 --not-arrived"))
def settle(
    organization: Organization,
    job_id: JobId,
    part: Annotated[int, typer.Argument(metavar="PART")],
    arrived: Annotated[
        bool | None,
        typer.Option("--arrived/--not-arrived", help="Whether it arrived; if not, it is sent again."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Settle a part whose outcome is unknown, once you have looked at Back Market."""
    if arrived is None:
        raise typer.BadParameter("Give --arrived or --not-arrived.", param_hint="--arrived")
    with opened() as bm:
        job = bm.settle_bulk_part(organization, job_id, part, arrived=arrived)
        _print_job(bm, job, as_json=as_json)


@app.command("resolve", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def renamed_to_settle() -> None:
    """Renamed: use `bulk settle`."""
    raise UsageError("`backmarket bulk resolve` is `backmarket bulk settle` now.")


def _found(bm: BackMarket, organization: str, job_id: int) -> Job:
    job = bm.get_bulk_job(organization, job_id)
    if job is None:
        bm.get_connection_status(organization)
        raise BulkJobNotFound(f"This organization has no bulk job {job_id}. See `backmarket bulk list`.")
    return job


def _needs_a_look(part: Part) -> bool:
    return part.state not in {"pending", "done", "cancelled"}


def _next(part: Part) -> str | None:
    if part.state == "unknown" and part.due_at is None:
        return "you: bulk settle"
    return (
        ago(part.due_at) if part.due_at is not None and part.state in {"submitting", "submitted", "unknown"} else None
    )


def _print_job(bm: BackMarket, job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(as_document(job))
        return
    handle = bm.get_bulk_handle(job.organization_id, job.id)
    say(f"Bulk job {job.id} is {job.state}: {how_far(job, handle.expected_duration)} {handle.waits_for()}".rstrip())
    if job.error and job.ended_at:
        note(f"Why: {printable(job.error)}")
    if job.report_error:
        note(f"The report could not be written: {printable(job.report_error)}")
    words = printable(shlex.quote(job.organization_id))
    if job.ended_at is None:
        note(f"Workers continue it. Check it with `backmarket bulk show {words} {job.id}`.")
    elif job.lines_done < job.lines or not to_send(job):
        note(f"`backmarket bulk report {words} {job.id}` names the lines that are not done.")


def _print_report(lines: Iterator[ReportLine]) -> None:
    some = list(islice(lines, SHOWN + 1))
    if not some:
        note("Every line is done.")
        return
    print_table(("LINE", "SKU", "OUTCOME", "WHY"), [[e.line, e.sku, Word(e.outcome), e.message] for e in some[:SHOWN]])
    if len(some) > SHOWN:
        note("There are more. Write all of them with --output FILE.")


def _write(path: Path, lines: Iterator[ReportLine]) -> int:
    count = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(("line", "sku", "outcome", "message"))
            for line in lines:
                writer.writerow(line.cells)
                count += 1
    except OSError as error:
        raise InvalidArgument(f"The report cannot be written: {error.strerror}. Choose another --output.") from None
    return count
