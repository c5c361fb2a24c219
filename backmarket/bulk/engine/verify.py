"""Reading back: decides the outcome of parts whose answer was lost, and of lines missing from their task's report.

It begins only after the sender's deadline. Each batch of readings is stored, so that a killed worker's successor
continues from there; `verdicts` decides from all of them.
"""

from __future__ import annotations

import json
from functools import partial

import structlog

from backmarket.bulk import rows, transitions
from backmarket.bulk.api_tasks import ActionStatus
from backmarket.bulk.csv_file import comparison
from backmarket.bulk.csv_file.comparison import Reading
from backmarket.bulk.engine import verdicts
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.engine.part_files import Line, part_lines
from backmarket.bulk.engine.requests import WINDOW, ApiRequest
from backmarket.bulk.models import Part, PartState, Transition
from backmarket.client import Answer
from backmarket.errors import (
    BackMarketError,
    BucketUnavailable,
    NotFound,
    ObjectNotFound,
    RequestRefused,
    TaskFailed,
    TaskVanished,
    UnknownOutcome,
)
from backmarket.work.backoff import growing

KEPT_AT_ONCE = 64
"""Number of readings stored together; a killed worker's successor repeats at most these."""

AFTER_FAILURE = 30.0
"""Seconds until a part is read back again after a failure, doubled each time."""

MISSES = 3
"""Number of 404 answers in a row before a known listing counts as gone: a 404 also means maintenance."""

SILENT = "Back Market did not apply the line, and gave no reason."

log = structlog.get_logger(__name__)


def settle(context: SliceContext) -> bool:
    """Read back some lines of a due part, and decide the part once all are read; returns whether a part was due."""
    states = [PartState.SUBMITTING, PartState.UNKNOWN]
    due = context.read(partial(rows.due_parts, organization_id=context.organization_id, states=states, limit=1))
    if not due or context.over:
        return False
    part = due[0]
    try:
        lines = part_lines(context, part)
    except BucketUnavailable as error:
        log.warning("bulk.bucket_unavailable", job=part.job_id, part=part.number, error=error.message)
        context.write(partial(transitions.postpone, part=part, pause=growing(part.tries, AFTER_FAILURE)))
        return True
    except ObjectNotFound as error:
        lost = UnknownOutcome(f"The lines of this part are lost, so it cannot be read back: {error.message}")
        context.write(
            partial(transitions.settle, part=part, transition=Transition(state=PartState.UNKNOWN, error=lost))
        )
        return True
    known = {int(number): Reading(reading) for number, reading in (part.readings or {}).items()}
    wanted = set(part.line_numbers if part.unread is None else part.unread)
    missing = [line for line in lines if line.number in wanted and line.number not in known]
    found = _read(context, part, missing[:KEPT_AT_ONCE])
    if len(found) == len(missing):
        _decide(context, part, known | found)
    elif found:
        context.write(partial(transitions.keep_readings, part=part, readings=found))
    elif not context.over:
        context.write(partial(transitions.postpone, part=part, pause=growing(part.tries, AFTER_FAILURE)))
    return True


def _read(context: SliceContext, part: Part, lines: list[Line]) -> dict[int, Reading]:
    """The readings of some lines' listings; only of the first few, if the slice must end or the API fails."""
    locale = context.read(lambda transaction: rows.locale_of(transaction, part))
    context.api.credentials(locale)
    found: dict[int, Reading] = {}
    left = lines
    while left and not context.over:
        batch = left[:WINDOW]
        requests = [ApiRequest("/ws/listings/detail", (("sku", line.row["sku"]),), locale) for line in batch]
        answers = context.api.ask(requests)
        context.renew_if_old()
        readings = [_reading(part, line, answer) for line, answer in zip(batch, answers, strict=False)]
        found |= {line.number: each for line, each in zip(batch, readings, strict=False) if each is not None}
        if len(readings) < len(batch) or None in readings:
            break
        left = left[WINDOW:]
    return found


def _reading(part: Part, line: Line, answer: Answer | BackMarketError) -> Reading | None:
    """The reading of a line's listing; None: it could not be read."""
    asked = comparison.wanted(line.row)
    known = part.prior is not None and str(line.number) in part.prior
    prior = part.prior[str(line.number)] if part.prior is not None and known else None
    if isinstance(answer, NotFound):
        if prior is not None and part.tries < MISSES:
            return None
        return comparison.compare(asked, prior, None, known=known)
    if isinstance(answer, BackMarketError):
        return Reading.UNDECIDABLE if isinstance(answer, RequestRefused) else None
    try:
        listing = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listing, dict) or not comparison.is_of(listing, line.row["sku"]):
        return None
    return comparison.compare(asked, prior, comparison.seen(listing, asked), known=known)


def _decide(context: SliceContext, part: Part, readings: dict[int, Reading]) -> None:
    transition = _transition(context, part, readings)
    log.info(
        "bulk.settled", job=part.job_id, part=part.number, outcome=transition.state if transition else "not_arrived"
    )
    if transition is None:
        error = UnknownOutcome("Its answer was lost, and it did not arrive: it is sent once more.")
        context.write(partial(transitions.put_back, part=part, pause=0.0, error=error, tried=False))
    else:
        context.write(partial(transitions.settle, part=part, transition=transition))


def _transition(context: SliceContext, part: Part, readings: dict[int, Reading]) -> Transition | None:
    if part.task_status == ActionStatus.SUCCESS:
        return verdicts.arrived(part, readings, state=PartState.DONE, reason=SILENT, believed=True)
    if part.task_id is not None:
        vanished = part.error_code == TaskVanished.code
        error = (TaskVanished if vanished else TaskFailed)(part.error or "Its task failed.")
        return verdicts.arrived(part, readings, state=PartState.FAILED, reason=error.message, error=error)
    return verdicts.unproven(part, readings, look_again=context.settings.bulk_settle_after)
