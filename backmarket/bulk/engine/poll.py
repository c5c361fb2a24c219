"""Polling tasks: when to poll, and what the answers mean."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from backmarket.bucket.keys import bulk_key
from backmarket.bulk import rows, transitions
from backmarket.bulk.api_tasks import ActionStatus
from backmarket.bulk.engine import task_report
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.engine.part_files import part_lines
from backmarket.bulk.engine.requests import WINDOW, ApiRequest
from backmarket.bulk.models import OF_A_LINE, LineOutcome, Outcome, Part, PartState, Transition
from backmarket.client import Answer
from backmarket.client.skus import sku_key
from backmarket.errors import (
    BackMarketError,
    BucketUnavailable,
    FirewallBlocked,
    NotFound,
    ObjectNotFound,
    TaskFailed,
    TaskVanished,
    UnknownOutcome,
)
from backmarket.limits.backoff import growing
from backmarket.observability.logs import Logger
from backmarket.observability.redaction import redact
from backmarket.settings import Settings
from backmarket.work.backoff import FIREWALL_SECONDS, MAX_LOOKS

WORKING = frozenset({ActionStatus.TO_DO, ActionStatus.IN_PROGRESS})
"""Statuses of a task that waits or runs; 3 and 7 exist, too, but are undocumented."""

MISSING_FOR = 60.0
"""Seconds of 404 answers before a task counts as vanished: a 404 also means maintenance."""

YOUNG = 1800.0
"""Age in seconds from which a task is polled less often."""

GROWTH = 1.5
"""Factor by which the pause grows from one poll to the next."""

MAX_STORED_RESPONSE_BYTES = 1_000_000
"""Maximum stored size of Back Market's report about a part, in bytes."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """A task's answer.

    Attributes:
        status: `action_status`; None: unreadable.
        error: `last_action_error`, safe to show.
        result: `result`, of any shape.
    """

    status: int | None
    error: str
    result: Any

    @classmethod
    def read(cls, body: bytes) -> Said:
        """Parse an answer's body."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return cls(None, "", None)
        if not isinstance(value, dict):
            return cls(None, "", None)
        status, error = value.get("action_status"), value.get("last_action_error")
        if isinstance(status, str) and status.isascii() and status.isdigit():
            status = int(status)
        known = status if isinstance(status, int) and not isinstance(status, bool) and 0 <= status < 2**31 else None
        return cls(known, redact(error) if isinstance(error, str) else "", value.get("result"))


def poll(context: SliceContext) -> bool:
    """Poll the due tasks, several at once; returns whether there were any."""
    states = [PartState.SUBMITTED]
    due = context.read(partial(rows.due_parts, organization_id=context.organization_id, states=states, limit=WINDOW))
    if not due or context.over:
        return False
    requests = [ApiRequest(f"/ws/tasks/{quote(part.task_id or '', safe='')}") for part in due]
    for part, answer in zip(due, context.api.ask(requests), strict=False):
        _heard(context, part, answer)
    return True


def pause_before_next(settings: Settings, part: Part) -> float:
    """Seconds until a task is polled again: growing with its age, and much longer once it is old."""
    age = max(0.0, part.submitted_seconds or 0.0)
    longest = settings.bulk_poll_max_seconds if age < YOUNG else settings.bulk_poll_max_late_seconds
    return min(max(settings.bulk_poll_initial_seconds, age * (GROWTH - 1)), longest)


def _heard(context: SliceContext, part: Part, answer: Answer | BackMarketError) -> None:
    pause = pause_before_next(context.settings, part)
    if isinstance(answer, Answer):
        try:
            _said(context, part, Said.read(answer.body), answer.body, pause)
            return
        except BucketUnavailable as error:
            log.warning("bulk.bucket_unavailable", job=part.job_id, part=part.number, error=error.message)
            answer = error
    if isinstance(answer, NotFound) and (part.missing_seconds or 0.0) > MISSING_FOR:
        log.warning("bulk.task_vanished", job=part.job_id, part=part.number)
        _read_back(context, part, error=TaskVanished("Back Market no longer knows the task that it had accepted."))
    elif part.tries + 1 >= MAX_LOOKS and _hangs(context, part):
        transition = _gave_up(f"The result of its task cannot be read: {answer.message}")
        context.write(partial(transitions.settle, part=part, transition=transition))
    else:
        missing = isinstance(answer, NotFound)
        if isinstance(answer, FirewallBlocked):
            pause = max(pause, growing(part.tries, FIREWALL_SECONDS))
        context.write(partial(transitions.ask_again, part=part, pause=pause, status=None, failed=True, missing=missing))


def _said(context: SliceContext, part: Part, said: Said, body: bytes, pause: float) -> None:
    if said.status in {ActionStatus.SUCCESS, ActionStatus.FAILED}:
        _over(context, part, said, body)
        return
    after, unexplained = context.settings.bulk_unexplained_after, said.status not in WORKING
    why = None
    if unexplained and (part.unexplained_seconds or 0.0) > after:
        why = f"Its task has had the status {said.status} for {after:g} s, which Back Market does not explain."
    elif not unexplained and _hangs(context, part):
        why = f"Its task has not ended within {after:g} s."
    if why is not None:
        context.write(partial(transitions.settle, part=part, transition=_gave_up(why), status=said.status))
        return
    context.write(partial(transitions.ask_again, part=part, pause=pause, status=said.status, unexplained=unexplained))


def _hangs(context: SliceContext, part: Part) -> bool:
    return (part.submitted_seconds or 0.0) > context.settings.bulk_unexplained_after


def _gave_up(why: str) -> Transition:
    """A task that is not polled any more: a person finds out its outcome."""
    todo = "Ask Back Market's support for its outcome, look at the listings, then settle it"
    how = "(`settle_bulk_part`, `backmarket bulk settle`)."
    return Transition(state=PartState.UNKNOWN, error=UnknownOutcome(f"{why} {todo} {how}"))


def _over(context: SliceContext, part: Part, said: Said, body: bytes) -> None:
    """A task has ended: trust what it reports of each line, and read back the lines that it does not report."""
    error = None
    if said.status == ActionStatus.FAILED:
        error = TaskFailed(f"Back Market aborted the task: {said.error or task_report.NO_REASON}")
    try:
        lines = part_lines(context, part)
    except ObjectNotFound as lost:
        transition = _gave_up(f"The lines of this part are lost: {lost.message}")
        context.write(partial(transitions.settle, part=part, transition=transition, status=said.status))
        return
    _keep(context, part, body)
    skus = [line.row["sku"] for line in lines]
    ids = context.read(partial(rows.listing_ids, organization_id=context.organization_id, skus=skus))
    verdicts = task_report.read(said.result, skus, ids)
    outcomes, silent = {}, []
    for line in lines:
        reasons = verdicts.get(sku_key(line.row["sku"]))
        if reasons is None:
            silent.append(line.number)
        else:
            outcomes[line.number] = LineOutcome(
                line.number, Outcome.FAILED if reasons else Outcome.DONE, " ".join(reasons)
            )
    if silent:
        _read_back(context, part, error=error, outcomes=outcomes, lines=silent, status=said.status)
        return
    state = PartState.FAILED if error else PartState.DONE
    transition = Transition(state=state, outcomes=_exceptions(outcomes, state), error=error)
    context.write(partial(transitions.settle, part=part, transition=transition, status=said.status))


def _read_back(
    context: SliceContext,
    part: Part,
    *,
    error: BackMarketError | None,
    outcomes: dict[int, LineOutcome] | None = None,
    lines: list[int] | None = None,
    status: int | None = None,
) -> None:
    """Queue the listings of some lines to be read back now."""
    unread = part.line_numbers if lines is None else lines
    transition = Transition(
        state=PartState.UNKNOWN, pause=0.0, error=error, outcomes=outcomes or {}, arrived=True, unread=unread
    )
    context.write(partial(transitions.settle, part=part, transition=transition, status=status))


def _exceptions(outcomes: dict[int, LineOutcome], state: PartState) -> dict[int, LineOutcome]:
    """The outcomes that differ from what the part's state implies."""
    usual = LineOutcome(0, OF_A_LINE[state])
    return {line: each for line, each in outcomes.items() if (each.outcome, each.message) != (usual.outcome, "")}


def _keep(context: SliceContext, part: Part, body: bytes) -> None:
    """Store Back Market's answer unchanged."""
    kept = body[:MAX_STORED_RESPONSE_BYTES]
    key = bulk_key(part.organization_id, part.job_id, f"tasks/{part.number}.json")
    digest = hashlib.sha256(kept).hexdigest()
    context.services.bucket.put(key, io.BytesIO(kept), size=len(kept), content_type="application/json", sha256=digest)
