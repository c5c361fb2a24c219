"""Files of listings: check before sending, submit, follow, cancel, report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, BinaryIO

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.bulk.rows import Job, PartState
from backmarket.bulk.submit import PreparedFile
from backmarket.console import paths
from backmarket.console.request_context import RequestContext, status_of
from backmarket.errors import BackMarketError, InvalidArgument

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
LINK_SECONDS = 300
"""Seconds for which the link to a report is valid."""


def show_all(context: RequestContext) -> Response:
    """The jobs, and the area to drop a file on."""
    connection = context.bm.get_connection_status(context.organization_id).connection
    found = context.bm.get_bulk_jobs(context.organization_id, limit=ROWS, cursor=context.asked("cursor"))
    here, following = paths.organization(context.organization_id, "bulk"), found.next_cursor
    return context.render(
        "bulk.html",
        connection=connection,
        jobs=found.items,
        next_page=paths.with_query(here, {"cursor": following}) if following else None,
        first_page=here if context.asked("cursor") else None,
        tab="bulk",
    )


def check(context: RequestContext) -> Response:
    """Show a file's faults, or how long it will take; nothing is stored or sent."""
    try:
        with _prepared(context) as (prepared, digest):
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
    choices = {
        name: context.given(name) is not None for name in ("skip_bad_lines", "skip_unchanged", "skus_as_they_are")
    }
    signs = {name: context.given(name) or None for name in ("decimal", "thousands", "encoding")}
    thousands = " " if signs["thousands"] == "space" else signs["thousands"]
    told = hashlib.sha256(repr((digest, choices, signs)).encode()).hexdigest()
    once = context.given("once")
    with context.bm.prepare_listings_file(
        context.organization_id,
        file.file,
        file_name=file.filename,
        skip_bad_lines=choices["skip_bad_lines"],
        skip_unchanged=choices["skip_unchanged"],
        skus_as_they_are=choices["skus_as_they_are"],
        decimal=signs["decimal"],
        thousands=thousands,
        encoding=signs["encoding"],
        idempotency_key=f"console/{once[:64]}/{digest}" if once else None,
    ) as prepared:
        yield prepared, told


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(256 * 1024):
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
