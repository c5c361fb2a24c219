"""Files of listings: checked before anything is sent, submitted, followed, cancelled, reported."""

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
from backmarket.console.visit import Visit, status_of
from backmarket.errors import BackMarketError, InvalidArgument

ROWS = 25
"""Jobs on a page."""
FAULTS = 100
"""Faults of a file that are shown."""
PARTS = 20
"""Parts of a job that are shown."""
LOOKED_AT = (PartState.UNKNOWN, PartState.FAILED, PartState.SUBMITTING, PartState.SUBMITTED)
"""States of parts that are shown: those that are under way, or need a look."""
MAX_FILE_BYTES = 512 * 1024 * 1024
"""Maximum size of an uploaded file: some millions of lines."""
LINK_SECONDS = 300
"""How long the link to a report counts."""


def show_all(visit: Visit) -> Response:
    """The jobs, and where a file is dropped."""
    connection = visit.bm.get_connection_status(visit.organization_id).connection
    found = visit.bm.get_bulk_jobs(visit.organization_id, limit=ROWS, cursor=visit.asked("cursor"))
    here, following = paths.organization(visit.organization_id, "bulk"), found.next_cursor
    return visit.render(
        "bulk.html",
        connection=connection,
        jobs=found.items,
        next_page=paths.with_query(here, {"cursor": following}) if following else None,
        first_page=here if visit.asked("cursor") else None,
        tab="bulk",
    )


def check(visit: Visit) -> Response:
    """Say what is wrong with a file, or how long it takes; nothing is stored or sent."""
    try:
        with _prepared(visit) as (prepared, digest):
            return _checked(visit, prepared, digest)
    except BackMarketError as error:
        return _refused(visit, error)


def submit(visit: Visit) -> Response:
    """Submit the file that was checked; if it is another one by now, that is checked first."""
    try:
        with _prepared(visit) as (prepared, digest):
            if prepared.check.is_refused or digest != visit.given("checked"):
                return _checked(visit, prepared, digest)
            handle = prepared.submit()
    except BackMarketError as error:
        return _refused(visit, error)
    visit.say("The file is submitted: workers send it as the quota allows.")
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.headers["HX-Redirect"] = paths.organization(visit.organization_id, "bulk", handle.id)
    return response


def show(visit: Visit) -> Response:
    """One job; of it, the part that changes, where that is asked for."""
    job = _job(visit)
    connection = visit.bm.get_connection_status(visit.organization_id).connection
    template = "_job.html" if visit.is_partial else "job.html"
    return visit.render(template, connection=connection, tab="bulk", **_progress(visit, job))


def cancel(visit: Visit) -> Response:
    """Send nothing more of it."""
    job = visit.bm.cancel_bulk_job(visit.organization_id, visit.number("job"))
    visit.say("Nothing more of it is sent. What Back Market has already, it works off.")
    return visit.go(paths.organization(visit.organization_id, "bulk", job.id))


def report(visit: Visit) -> Response:
    """Lead to the report of each line, by a link that counts for minutes."""
    return visit.go(visit.bm.get_bulk_report_url(visit.organization_id, visit.number("job"), expires=LINK_SECONDS))


def resolve(visit: Visit) -> Response:
    """Decide what became of a part whose outcome is unknown."""
    job, outcome = visit.number("job"), visit.given("outcome")
    try:
        if outcome not in {"arrived", "not_arrived"}:
            raise InvalidArgument("Choose what became of it.")
        arrived = outcome == "arrived"
        visit.bm.resolve_bulk_part(
            visit.organization_id, job, visit.number("part"), "arrived" if arrived else "not_arrived"
        )
        visit.say("Its lines count as done." if arrived else "It is sent again.")
    except BackMarketError as error:
        visit.say(str(error), bad=True)
    return visit.go(paths.organization(visit.organization_id, "bulk", job))


@contextmanager
def _prepared(visit: Visit) -> Iterator[tuple[PreparedFile, str]]:
    """The file of the form, checked, and what tells it from another one.

    Raises:
        BackMarketError: it can't be checked.
    """
    file = visit.file("file")
    if file is None:
        raise InvalidArgument("Choose a CSV file, or drop one here.")
    digest = _digest(file.file)
    choices = {name: visit.given(name) is not None for name in ("skip_bad_lines", "skip_unchanged")}
    told = f"{digest}:{choices['skip_bad_lines']:d}{choices['skip_unchanged']:d}"
    once = visit.given("once")
    with visit.bm.prepare_listings_file(
        visit.organization_id,
        file.file,
        file_name=file.filename,
        skip_bad_lines=choices["skip_bad_lines"],
        skip_unchanged=choices["skip_unchanged"],
        idempotency_key=f"console/{once[:64]}/{digest}" if once else None,
    ) as prepared:
        yield prepared, told


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(256 * 1024):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _checked(visit: Visit, prepared: PreparedFile, digest: str) -> Response:
    found = prepared.check
    return visit.render(
        "_bulk_check.html",
        organization_id=visit.organization_id,
        check=found,
        faults=found.faults[:FAULTS],
        digest=digest,
    )


def _refused(visit: Visit, error: BackMarketError) -> Response:
    return visit.render("_failed.html", status=status_of(error), code=int(status_of(error)), why=str(error))


def _job(visit: Visit) -> Job:
    found = visit.bm.get_bulk_job(visit.organization_id, visit.number("job"))
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such bulk job, or its retention is over.")
    return found


def _progress(visit: Visit, job: Job) -> dict[str, Any]:
    handle = visit.bm.get_bulk_handle(visit.organization_id, job.id)
    parts = visit.bm.get_bulk_parts_in(visit.organization_id, job.id, LOOKED_AT, limit=PARTS + 1)
    return {
        "job": job,
        "waits_for": handle.waits_for(),
        "at_least": handle.expected_duration.total_seconds(),
        "parts": parts[:PARTS],
        "more_parts": len(parts) > PARTS,
    }
