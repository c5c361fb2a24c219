"""Reading back: decides the outcome of parts whose answer was lost, and of lines missing from their task's report.

It begins only after the sender's deadline. Each batch of readings is stored, so that a killed worker's successor
continues from there; `verdicts` decides from all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from backmarket.bulk import rows, transitions
from backmarket.bulk.api_tasks import ActionStatus
from backmarket.bulk.csv_file import comparison
from backmarket.bulk.csv_file.comparison import Members, Reading
from backmarket.bulk.engine import listing_pages, verdicts
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.engine.part_files import Line, part_lines
from backmarket.bulk.engine.requests import WINDOW, ApiRequest
from backmarket.bulk.models import Part, PartState, Transition
from backmarket.client import Answer
from backmarket.client.skus import sku_key
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
from backmarket.limits.backoff import growing
from backmarket.observability.logs import Logger
from backmarket.work.backoff import MAX_LOOKS
from backmarket.work.contested import set_since

KEPT_AT_ONCE = 64
"""Number of readings stored together; a killed worker's successor repeats at most these."""

AFTER_FAILURE = 30.0
"""Seconds until a part is read back again after a failure, doubled each time."""

MISSES = 3
"""Number of 404 answers in a row before a known listing counts as gone: a 404 also means maintenance."""

PAGE_TRIES = 3
"""Failed tries of a page of listings in a row, after which listings are read one by one."""

SILENT = "Back Market did not apply the line, and gave no reason."

log = Logger(__name__)


class _Look(NamedTuple):
    """What one look showed.

    Attributes:
        found: the readings: not of all lines, if some cannot be read or the slice must end.
        failed: some lines cannot be read.
        next_page: the page of the listings to continue with; None: they are read one by one.
    """

    found: dict[int, Reading]
    failed: bool
    next_page: int | None


def settle(context: SliceContext) -> bool:
    """Read back some lines of a due part, and decide the part once all are read; returns whether a part was due."""
    states = [PartState.SUBMITTING, PartState.UNKNOWN]
    due = context.read(partial(rows.due_parts, organization_id=context.organization_id, states=states, limit=1))
    if not due or context.over:
        return False
    part = due[0]
    known = {int(number): Reading(reading) for number, reading in (part.readings or {}).items()}
    unread = [line for line in (part.line_numbers if part.unread is None else part.unread) if line not in known]
    try:
        lines = part_lines(context, part)
    except BucketUnavailable as error:
        log.warning("bulk.bucket_unavailable", job=part.job_id, part=part.number, error=error.message)
        _failed(context, part, known, unread)
        return True
    except ObjectNotFound as error:
        why = f"The lines of this part are lost, so it cannot be read back: {error.message}"
        lost = UnknownOutcome(f"{why} {verdicts.PERSON}")
        context.write(
            partial(transitions.settle, part=part, transition=Transition(state=PartState.UNKNOWN, error=lost))
        )
        return True
    wanted = set(unread)
    look = _look(context, part, [line for line in lines if line.number in wanted])
    if len(look.found) == len(unread):
        _decide(context, part, known | look.found)
    elif look.found or look.next_page != part.read_page:
        context.write(partial(transitions.keep_readings, part=part, readings=look.found, page=look.next_page))
    elif look.failed:
        _failed(context, part, known, unread)
    return True


def _failed(context: SliceContext, part: Part, known: dict[int, Reading], unread: Sequence[int]) -> None:
    """A look that read nothing: look again later; after `MAX_LOOKS` in a row, decide without the unread lines."""
    if part.tries + 1 < MAX_LOOKS:
        context.write(partial(transitions.postpone, part=part, pause=growing(part.tries, AFTER_FAILURE)))
    else:
        _decide(context, part, known | dict.fromkeys(unread, Reading.UNREADABLE))


def _look(context: SliceContext, part: Part, lines: list[Line]) -> _Look:
    """Read the listings of some lines: many by pages of the list, few one by one."""
    locale = context.read(lambda transaction: rows.locale_of(transaction, part))
    context.api.credentials(locale)
    comparable = _without_contested(context, part, lines, locale)
    if part.read_page is None or len(lines) <= WINDOW:
        return _one_by_one(context, comparable, lines, locale)
    return _by_pages(context, comparable, lines, part.read_page, locale)


def _by_pages(context: SliceContext, part: Part, lines: list[Line], first: int, locale: str | None) -> _Look:
    """Pages show many listings at once; what they do not show, and was there before, is read once more by itself."""
    keys = {line.number: sku_key(line.row["sku"]) for line in lines}
    pages = listing_pages.read(context, first, set(keys.values()), locale)
    found: dict[int, Reading] = {}
    for line in lines:
        listing = pages.listings.get(keys[line.number])
        if listing is not None or (pages.whole and _prior(part, line) is None):
            found[line.number] = _compared(part, line, listing)
    gave_up = pages.failed and not found and part.tries + 1 >= PAGE_TRIES
    return _Look(found, pages.failed, None if gave_up else pages.next_page)


def _one_by_one(context: SliceContext, part: Part, lines: list[Line], locale: str | None) -> _Look:
    """Read each line's listing by itself: some of them at once, so that the slice continues with its other work."""
    found: dict[int, Reading] = {}
    first = part.tries * WINDOW % len(lines) if lines else 0  # another one after each failed look
    left = (lines[first:] + lines[:first])[:KEPT_AT_ONCE]
    failed = False
    while left and not context.over:
        batch, left = left[:WINDOW], left[WINDOW:]
        requests = [ApiRequest("/ws/listings/detail", (("sku", line.row["sku"]),), locale) for line in batch]
        answers = context.api.ask(requests)
        context.renew_if_old()
        read = {line.number: _reading(part, line, each) for line, each in zip(batch, answers, strict=False)}
        readings = {line: each for line, each in read.items() if each is not None}
        found |= readings
        failed |= len(readings) < len(read)
        if not readings:  # the API may be away
            break
    return _Look(found, failed, part.read_page)


def _without_contested(context: SliceContext, part: Part, lines: list[Line], locale: str | None) -> Part:
    """The part without the prior values of SKUs that something of ours set since: they would prove nothing."""
    query = partial(
        set_since,
        organization_id=part.organization_id,
        skus=[line.row["sku"] for line in lines],
        since=part.sent_at,
        part=(part.job_id, part.number),
        locale=locale,
    )
    contested = context.read(query)
    numbers = {str(line.number) for line in lines if line.row["sku"] in contested}
    return replace(part, prior={line: prior for line, prior in (part.prior or {}).items() if line not in numbers})


def _reading(part: Part, line: Line, answer: Answer | BackMarketError) -> Reading | None:
    """The reading of a line's listing; None: it could not be read."""
    if isinstance(answer, NotFound):
        if _prior(part, line) is not None and part.tries < MISSES:
            return None
        return _compared(part, line, None)
    if isinstance(answer, BackMarketError):
        return Reading.UNDECIDABLE if isinstance(answer, RequestRefused) else None
    try:
        listing = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listing, dict) or not comparison.is_of(listing, line.row["sku"]):
        return None
    return _compared(part, line, listing)


def _prior(part: Part, line: Line) -> Members | None:
    """What a line's listing was; None: it was not there, or that is not known."""
    return (part.prior or {}).get(str(line.number))


def _compared(part: Part, line: Line, listing: dict[str, Any] | None) -> Reading:
    asked, known = comparison.wanted(line.row), str(line.number) in (part.prior or {})
    now = None if listing is None else comparison.seen(listing, asked)
    return comparison.compare(asked, _prior(part, line), now, known=known)


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
