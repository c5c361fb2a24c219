"""Sending: the worker sends the next part of the oldest job, once its account's quota has room.

A part is marked `submitting` before its request leaves, together with the prior values of its listings and its reserved
quota lines: a worker that finds such a part later knows that it may have arrived. A certain refusal frees its lines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from backmarket.bulk import rows, transitions
from backmarket.bulk.csv_file import comparison
from backmarket.bulk.csv_file.parts import DELIMITER, ENCODING, QUOTECHAR, part_rows
from backmarket.bulk.engine.context import SliceContext
from backmarket.bulk.engine.part_files import Line, part_text
from backmarket.bulk.models import Next, Part, PartState, Transition
from backmarket.client import Answer
from backmarket.database import Transaction
from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    BucketUnavailable,
    BulkStopped,
    BulkTooOld,
    FirewallBlocked,
    InvalidArgument,
    NetworkError,
    NotAvailable,
    NotFound,
    ObjectNotFound,
    RateLimited,
    RequestRefused,
    TerminalError,
    Unauthorized,
    UnknownOutcome,
    error_for,
)
from backmarket.limits import Slot, sku_quota
from backmarket.limits.backoff import growing
from backmarket.limits.sku_quota import Reserved
from backmarket.observability.logs import Logger
from backmarket.work.backoff import FIREWALL_SECONDS, MAX_TRIES
from backmarket.work.contested import may_be_stale
from backmarket.work.send_deadline import SEND_WITHIN, Stopwatch, late, send_deadline

MAX_TASK_ID_CHARS = 64

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A part that is marked as being sent."""

    reserved: Reserved
    began: Stopwatch


def hold_back(context: SliceContext) -> None:
    """Cancel the parts that are too old to send."""
    error = BulkTooOld("It was not sent before its file became older than `max_age` allows.")
    context.write(partial(transitions.cancel_expired, organization_id=context.organization_id, error=error))


def send_next(context: SliceContext) -> bool:
    """Send the next part, if one may be sent now; returns whether one was."""
    found = context.read(partial(rows.next_to_send, organization_id=context.organization_id))
    if found is None or context.over or not _has_room(context, found.part):
        return False
    text = _text(context, found.part)
    if text is None:
        return False
    body = _body(text)
    context.api.credentials(found.job.locale)
    slot = context.api.slot()
    if slot is None:
        return False
    mark = _mark(context, found, text, slot)
    if mark is not None:
        _send(context, found, body, slot, mark)
    return mark is not None


def settle_seconds(context: SliceContext) -> float:
    """Seconds from the mark until reading back is reliable."""
    return max(context.settings.bulk_settle_after, send_deadline(context.settings.request_longest))


def _has_room(context: SliceContext, part: Part) -> bool:
    """Whether the quota has room for a part; if not, note on its job until when it waits."""
    limit = context.settings.sku_lines_limit
    if part.lines > limit:
        error = InvalidArgument(
            f"A part of this job has {part.lines} lines, more than BACKMARKET_SKU_LINES_LIMIT ({limit}) ever allows:"
            " raise it, or cancel the job and submit the file again."
        )
        context.write(partial(_give_up, part=part, error=error))
        return False
    account = context.lease.encrypted.account
    free = context.read(partial(sku_quota.free, account=account, limit=limit, lines=part.lines))
    if free.wait_seconds > 0:
        context.write(partial(transitions.wait_for_quota, part=part, seconds=free.wait_seconds))
    return free.wait_seconds <= 0


def _text(context: SliceContext, part: Part) -> bytes | None:
    try:
        return part_text(context, part)
    except BucketUnavailable as error:
        if part.tries + 1 >= MAX_TRIES:
            context.write(partial(transitions.settle, part=part, transition=_given_up(part, error)))
        else:
            context.write(partial(transitions.put_back, part=part, pause=growing(part.tries), error=error))
    except ObjectNotFound as error:
        log.error("bulk.lines_lost", job=part.job_id, part=part.number)
        context.write(partial(_give_up, part=part, error=error))
    return None


def _body(text: bytes) -> bytes:
    fields = {"catalog": text.decode(ENCODING), "quotechar": QUOTECHAR, "delimiter": DELIMITER, "encoding": ENCODING}
    return json.dumps(fields).encode()


def _mark(context: SliceContext, found: Next, text: bytes, slot: Slot) -> _Mark | None:
    """Mark a part as being sent; None: it must not be sent now."""
    began = Stopwatch()
    part, settings = found.part, context.settings
    lines = [Line(*each) for each in zip(part.line_numbers, part_rows(text), strict=True)]

    def mark(transaction: Transaction) -> Reserved | None:
        prior = _prior(context, transaction, found, lines)
        state = transitions.mark_submitting(transaction, part, prior, settle_seconds=settle_seconds(context))
        if state is None:
            return None
        reserved = sku_quota.reserve(
            transaction,
            context.lease.encrypted.account,
            part.lines,
            limit=settings.sku_lines_limit,
            window=settings.sku_lines_window,
            deadline=send_deadline(settings.request_longest),
        )
        if not reserved.granted:
            transitions.put_back(transaction, part, pause=0.0, unsent=True, tried=False)
            transitions.wait_for_quota(transaction, part, reserved.wait_seconds)
        return reserved if state == "submitting" else None

    try:
        reserved = context.write(mark)
    except BaseException:
        context.services.limiter.release([slot])
        raise
    if reserved is None or not reserved.granted:
        context.services.limiter.release([slot])
        return None
    return _Mark(reserved, began)


def _prior(
    context: SliceContext, transaction: Transaction, found: Next, lines: list[Line]
) -> dict[int, dict[str, Any] | None]:
    """The prior values of the lines' listings, as of the latest sync; none of SKUs that it may not show as they are."""
    part, skus = found.part, [line.row["sku"] for line in lines]
    stored = rows.stored_listings(transaction, part.organization_id, skus, found.job.locale)
    if stored is None:
        return {}
    own, locale = (part.job_id, part.number), found.job.locale
    market = stored.locale if stored.locale in context.lease.encrypted.markets else ""
    stale = may_be_stale(transaction, part.organization_id, skus, part=own, locale=locale, market=market)
    prior: dict[int, dict[str, Any] | None] = {}
    for line in lines:
        if line.row["sku"] in stale:
            continue
        members = comparison.wanted(line.row)
        if stored.locale != found.job.locale:
            members = {name: value for name, value in members.items() if name not in comparison.OF_A_MARKET}
        listing = stored.listings.get(line.row["sku"])
        prior[line.number] = None if listing is None else comparison.seen(listing, members)
    return prior


def _send(context: SliceContext, found: Next, body: bytes, slot: Slot, mark: _Mark) -> None:
    part = found.part
    if mark.began.elapsed() > SEND_WITHIN:
        context.services.limiter.release([slot])
        _answered(context, part, mark, late())
        return
    log.info("bulk.sending", job=part.job_id, part=part.number, lines=part.lines)
    try:
        answer: Answer | BackMarketError = context.api.post(slot, "/ws/listings", body, found.job.locale)
    except BackMarketError as error:
        answer = error
    _answered(context, part, mark, answer)


def _answered(context: SliceContext, part: Part, mark: _Mark, answer: Answer | BackMarketError) -> None:
    of_quota = isinstance(answer, RateLimited) and answer.by_api
    if not of_quota:
        context.api.apply_backpressure(answer)
    match answer:
        case Answer():
            _accepted(context, part, answer)
        case BackMarketError() if part.tries + 1 >= MAX_TRIES and _never_arrived(answer):
            context.write(partial(_give_up_alone, part=part, mark=mark, error=answer))
        case Unauthorized():  # of the key, which pauses; or of this part's content: then the others continue
            context.write(partial(_return, part=part, mark=mark, pause=growing(part.tries), error=answer))
        case RateLimited(by_api=False):  # too many requests, from the firewall: the limiter handles it
            context.write(partial(_return, part=part, mark=mark, pause=0.0, error=answer))
        case RateLimited():
            window = context.settings.sku_lines_window
            closed = min(max(sku_quota.REFUSED_SECONDS, answer.retry_after or 0.0), window)
            context.write(partial(_refused_by_quota, part=part, mark=mark, closed=closed, error=answer))
        case FirewallBlocked() | NotFound():  # of the whole API; or of this part's content: then the others continue
            context.api.rest(FIREWALL_SECONDS)
            pause = growing(part.tries, FIREWALL_SECONDS)
            context.write(partial(_return, part=part, mark=mark, pause=pause, error=answer))
        case NetworkError(delivery="not_sent"):
            pause = growing(part.tries)
            context.api.rest(min(pause, FIREWALL_SECONDS))
            context.write(partial(_return, part=part, mark=mark, pause=pause, error=answer))
        case RequestRefused() | NotAvailable() if answer.status != HTTPStatus.REQUEST_TIMEOUT:
            log.warning("bulk.refused", job=part.job_id, part=part.number, status=answer.status)
            context.write(partial(_refused, part=part, mark=mark, error=answer))
        case _:
            accepted = isinstance(answer, BrokenAnswer) and answer.status in range(200, 300)
            _lost(context, part, answer, arrived=accepted)


def _never_arrived(error: BackMarketError) -> bool:
    """Whether a part is queued again after an error, as it certainly did not arrive."""
    not_sent = isinstance(error, NetworkError) and error.delivery == "not_sent"
    return not_sent or isinstance(error, RateLimited | FirewallBlocked | NotFound | Unauthorized)


def _accepted(context: SliceContext, part: Part, answer: Answer) -> None:
    task_id = _task_id(answer.body)
    if task_id is None:
        is_page = answer.body.lstrip()[:1] == b"<"  # not from the API: a maintenance page with status 200
        _lost(context, part, BrokenAnswer("The answer of 2xx names no task."), arrived=not is_page)
        return
    log.info("bulk.submitted", job=part.job_id, part=part.number, api_task=task_id)
    context.write(
        partial(
            transitions.mark_submitted, part=part, task_id=task_id, pause=context.settings.bulk_poll_initial_seconds
        )
    )


def _lost(context: SliceContext, part: Part, error: BackMarketError, *, arrived: bool) -> None:
    """The part may have arrived: it is read back, never resent blindly."""
    why = UnknownOutcome(
        f"{error.message} Whether it arrived is read back later.",
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )
    transition = Transition(state=PartState.UNKNOWN, pause=settle_seconds(context), error=why, arrived=arrived)
    context.write(partial(transitions.settle, part=part, transition=transition))


def _task_id(body: bytes) -> str | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for name in ("bodymessage", "task_id", "taskId"):
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(found, int | str) and not isinstance(found, bool) and 0 < len(str(found)) <= MAX_TASK_ID_CHARS:
            return str(found)
    return None


def _refused_by_quota(
    transaction: Transaction, *, part: Part, mark: _Mark, closed: float, error: BackMarketError
) -> None:
    """The account sends no lines for so many seconds, and this part not before others had their turn."""
    pause = closed + sku_quota.after_others(part.tries + 1)
    transitions.put_back(transaction, part, pause=pause, error=error, unsent=True)
    transitions.wait_for_quota(transaction, part, closed)
    sku_quota.release(transaction, mark.reserved)
    sku_quota.block(transaction, mark.reserved.account, closed)


def _return(
    transaction: Transaction,
    *,
    part: Part,
    mark: _Mark,
    pause: float,
    error: BackMarketError,
) -> None:
    transitions.put_back(transaction, part, pause=pause, error=error, unsent=True)
    sku_quota.release(transaction, mark.reserved)


def _refused(transaction: Transaction, *, part: Part, mark: _Mark, error: TerminalError) -> None:
    _give_up(transaction, part=part, error=error)
    sku_quota.release(transaction, mark.reserved)


def _given_up(part: Part, error: BackMarketError) -> Transition:
    marks = {"status": error.status, "request_id": error.request_id, "cf_ray": error.cf_ray}
    why = f"It could not be sent in {part.tries + 1} tries: {error.message}"
    return Transition(state=PartState.FAILED, error=error_for(error.code, why, **marks))


def _give_up_alone(transaction: Transaction, *, part: Part, mark: _Mark, error: BackMarketError) -> None:
    """Fail a part that could not be sent in a day of tries; the others of its job go on."""
    transitions.settle(transaction, part, _given_up(part, error))
    sku_quota.release(transaction, mark.reserved)


def _give_up(transaction: Transaction, *, part: Part, error: BackMarketError) -> None:
    """Fail a part that cannot be sent, and cancel the rest of its job, which has the same fault."""
    transitions.settle(transaction, part, Transition(state=PartState.FAILED, error=error))
    why = BulkStopped(f"It was not sent, because part {part.number} could not be: {error.message}")
    transitions.cancel_unsent(transaction, part.organization_id, why, part.job_id)
