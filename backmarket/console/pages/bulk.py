"""Files of listings: check before sending, submit, follow, cancel, report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from io import SEEK_END
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response, StreamingResponse

from backmarket.bulk.csv_file.column_map import MAX_COLUMNS
from backmarket.bulk.formats import FileFormat
from backmarket.bulk.rows import Job, PartState
from backmarket.bulk.submit import PreparedFile
from backmarket.console import paths
from backmarket.console.request_context import RequestContext, status_of
from backmarket.errors import BackMarketError, InvalidArgument
from backmarket.facade.bulk import FileOptions

ROWS = 25
"""Number of jobs on a page."""
FAULTS = 100
"""Maximum number of a file's faults that are shown."""
PARTS = 20
"""Maximum number of a job's parts that are shown."""
LOOKED_AT = (PartState.UNKNOWN, PartState.FAILED, PartState.SUBMITTING, PartState.SUBMITTED)
"""States of the parts that are shown: those under way, and those that need attention."""
MAX_FILE_BYTES = 512 * 1024 * 1024
"""Maximum size of an uploaded file, in bytes: some millions of lines."""
MAX_FIELDS = 2 * MAX_COLUMNS + 20
"""Maximum number of fields of the form: two for each column of a file."""
PREVIEW_ROWS = 4
"""Number of lines of a preview."""
PIECE_BYTES = 256 * 1024
WORKBOOK_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SPACE = "space"
"""A space as a value of the form, which loses spaces."""
CHOICES: dict[str, Any] = {
    "decimals": {"": "point, like 229.00", ",": "comma, like 229,00"},
    "thousands": {
        "": "no separator",
        SPACE: "space, like 1 299",
        ".": "point, like 1.299",
        ",": "comma, like 1,299",
        "'": "apostrophe, like 1'299",
    },
    "encodings": {
        "": "detected",
        "cp1252": "Windows, Western Europe (cp1252)",
        "cp1250": "Windows, Central Europe (cp1250)",
        "cp1253": "Windows, Greek (cp1253)",
        "cp932": "Windows, Japanese (cp932)",
        "mac-roman": "Mac (mac-roman)",
        "cp850": "DOS, as of older programs (cp850)",
    },
}
"""The choices for how a file is written: each value of the form, and what a person reads."""
LINK_SECONDS = 300
"""Seconds for which the link to a report is valid."""


def show_all(context: RequestContext) -> Response:
    """The jobs, and the area to drop a file on."""
    connection = context.bm.get_connection_status(context.organization_id).connection
    found = context.bm.get_bulk_jobs(context.organization_id, limit=ROWS, cursor=context.asked("cursor"))
    written = context.bm.get_listings_file_format(context.organization_id)
    here, following = paths.organization(context.organization_id, "bulk"), found.next_cursor
    return context.render(
        "bulk.html",
        connection=connection,
        jobs=found.items,
        next_page=paths.with_query(here, {"cursor": following}) if following else None,
        first_page=here if context.asked("cursor") else None,
        tab="bulk",
        written=written,
        sign=SPACE if written.thousands == " " else written.thousands,
        max_bytes=MAX_FILE_BYTES,
        **CHOICES,
    )


def template(context: RequestContext) -> Response:
    """The file to fill in, with the seller's own listings."""
    name = f"listings-{datetime.now(UTC):%Y-%m-%d}.xlsx"
    return _download(name, lambda into: context.bm.write_listings_template(context.organization_id, into))


def preview(context: RequestContext) -> Response:
    """The first lines of a file as they are understood, and a choice for each of its columns."""
    file = context.file("file")
    if file is None:
        return HTMLResponse("")
    remembered = context.bm.get_listings_file_format(context.organization_id).columns
    chosen = _format(context).columns  # which may be those of the file before
    options = _reading(context, {**remembered, **chosen})
    try:
        found = context.bm.preview_listings_file(context.organization_id, file.file, rows=PREVIEW_ROWS, **options)
    except BackMarketError as error:
        return _refused(context, error)
    return context.render("_bulk_preview.html", preview=found)


def check(context: RequestContext) -> Response:
    """Show a file's faults, or how long it will take; nothing is sent. How the file is read is remembered."""
    try:
        with _prepared(context) as (prepared, digest):
            context.bm.save_listings_file_format(context.organization_id, _format(context))
            return _checked(context, prepared, digest)
    except BackMarketError as error:
        return _refused(context, error)


def submit(context: RequestContext) -> Response:
    """Submit the checked file; if the file has changed since, check it first."""
    try:
        with _prepared(context) as (prepared, digest):
            if prepared.check.is_refused or digest != context.given("checked"):
                return _checked(context, prepared, digest)
            handle = prepared.submit()
    except BackMarketError as error:
        return _refused(context, error)
    context.say("The file is submitted. Workers send it as the quota allows.")
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.headers["HX-Redirect"] = paths.organization(context.organization_id, "bulk", handle.id)
    return response


def faults(context: RequestContext) -> Response:
    """A copy of the file with its faults."""
    with _prepared(context) as (prepared, _):
        return _download("faults", prepared.write_faults)


def show(context: RequestContext) -> Response:
    """One job; for an htmx request, only the part that changes."""
    job = _job(context)
    connection = context.bm.get_connection_status(context.organization_id).connection
    template = "_job.html" if context.is_partial else "job.html"
    return context.render(template, connection=connection, tab="bulk", **_progress(context, job))


def cancel(context: RequestContext) -> Response:
    """Cancel a job: send nothing more of it."""
    job = context.bm.cancel_bulk_job(context.organization_id, context.number("job"))
    context.say("Cancelled. Back Market finishes the parts that it already has.")
    return context.go(paths.organization(context.organization_id, "bulk", job.id))


def report(context: RequestContext) -> Response:
    """Redirect to the report of each line, by a link that is valid for minutes."""
    return context.go(
        context.bm.get_bulk_report_url(context.organization_id, context.number("job"), expires=LINK_SECONDS)
    )


def settle(context: RequestContext) -> Response:
    """Settle a part whose outcome is unknown."""
    job, outcome = context.number("job"), context.given("outcome")
    here = paths.organization(context.organization_id, "bulk", job)
    try:
        if outcome not in {"arrived", "not_arrived"}:
            raise InvalidArgument("Choose the outcome.")
        arrived = outcome == "arrived"
        context.bm.settle_bulk_part(context.organization_id, job, context.number("part"), arrived=arrived)
        context.say("The lines of the part count as done." if arrived else "A worker sends the part again.")
    except BackMarketError as error:
        return context.go_back(here, error)
    return context.go_back(here)


@contextmanager
def _prepared(context: RequestContext) -> Iterator[tuple[PreparedFile, str]]:
    """The form's file, checked, and its fingerprint.

    Raises:
        BackMarketError: if it cannot be checked.
    """
    file = context.file("file")
    if file is None:
        raise InvalidArgument("Choose a CSV or Excel file, or drop one here.")
    digest = _digest(file.file)
    once = context.given("once")
    # until its columns are shown, they are matched as last time
    columns = _format(context).columns or context.bm.get_listings_file_format(context.organization_id).columns
    options: FileOptions = {
        **_reading(context, columns),
        "skip_bad_lines": context.given("skip_bad_lines") is not None,
        "skip_unchanged": context.given("skip_unchanged") is not None,
    }
    told = hashlib.sha256(repr((digest, options)).encode()).hexdigest()
    options |= {"file_name": file.filename, "idempotency_key": f"console/{once[:64]}/{digest}" if once else None}
    with context.bm.prepare_listings_file(context.organization_id, file.file, **options) as prepared:
        yield prepared, told


def _format(context: RequestContext) -> FileFormat:
    """How the form says that the file is written."""
    thousands = context.given("thousands")
    return FileFormat(
        encoding=context.given("encoding"),
        decimal=context.given("decimal"),
        thousands=" " if thousands == SPACE else thousands,
        columns=dict(zip(context.given_all("column"), context.given_all("sent_as"), strict=False)),
    )


def _reading(context: RequestContext, columns: Mapping[str, str]) -> FileOptions:
    """The options for reading the form's file."""
    chosen = _format(context)
    return {
        "encoding": chosen.encoding,
        "decimal": chosen.decimal,
        "thousands": chosen.thousands,
        "skus_as_they_are": context.given("skus_as_they_are") is not None,
        "columns": dict(sorted(columns.items())),
        "market": context.given("market") or None,
    }


def _download(name: str, write: Callable[[BinaryIO], object]) -> Response:
    """A file that is written now, and streamed from a temporary file.

    Args:
        name: under which the browser saves it, unless `write` returns one.
        write: writes it.
    """
    with ExitStack() as opened:
        file = cast(BinaryIO, opened.enter_context(TemporaryFile()))
        returned = write(file)
        size = file.seek(0, SEEK_END)
        file.seek(0)
        close = opened.pop_all().close  # with the answer
    saved_as = returned if isinstance(returned, str) else name
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(saved_as, safe='')}",
        "Content-Length": str(size),
        "Content-Type": "text/csv" if saved_as.endswith(".csv") else WORKBOOK_TYPE,
    }
    return StreamingResponse(
        iter(lambda: file.read(PIECE_BYTES), b""), headers=headers, background=BackgroundTask(close)
    )


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _checked(context: RequestContext, prepared: PreparedFile, digest: str) -> Response:
    found = prepared.check
    return context.render(
        "_bulk_check.html",
        organization_id=context.organization_id,
        check=found,
        faults=found.faults[:FAULTS],
        has_copy=found.lines > 0 and found.bad_lines > 0,
        digest=digest,
    )


def _refused(context: RequestContext, error: BackMarketError) -> Response:
    return context.render("_failed.html", status=status_of(error), code=int(status_of(error)), why=str(error))


def _job(context: RequestContext) -> Job:
    found = context.bm.get_bulk_job(context.organization_id, context.number("job"))
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This bulk job does not exist, or its retention is over.")
    return found


def _progress(context: RequestContext, job: Job) -> dict[str, Any]:
    handle = context.bm.get_bulk_handle(context.organization_id, job.id)
    parts = context.bm.get_bulk_parts_in(context.organization_id, job.id, LOOKED_AT, limit=PARTS + 1)
    return {
        "job": job,
        "waits_for": handle.waits_for(),
        "at_least": handle.expected_duration.total_seconds(),
        "parts": parts[:PARTS],
        "may_settle": handle.may_settle,
        "more_parts": len(parts) > PARTS,
    }


FORMS = (("/bulk", submit), ("/bulk/check", check), ("/bulk/preview", preview), ("/bulk/faults", faults))
"""The forms with a file: the path of each below the organization's, and its view."""
