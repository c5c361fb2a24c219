"""Write what batches did: positions, retries, the log; only for endpoints whose lease is still held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backmarket import audit
from backmarket.database import Database, Transaction
from backmarket.events.delivery import DROPPED, GONE, BatchResult, Sent
from backmarket.limits.backoff import growing

INITIAL_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 3600.0
"""Seconds of the first and of the longest pause: of an endpoint after a failure, of an event until it is retried."""

DAY_SECONDS = 86400.0


def write(database: Database, results: Sequence[BatchResult], *, give_up_days: float) -> list[int]:
    """Write the results of batches in one transaction, and release their leases.

    Args:
        results: of different endpoints.
        give_up_days: days after which an event is given up, and an endpoint without a success is disabled.

    Returns:
        The endpoints that were disabled.
    """
    with database.transaction() as transaction:
        held = _held(transaction, results)
        kept = sorted((each for each in results if each.batch.endpoint.id in held), key=lambda r: r.batch.endpoint.id)
        if not kept:
            return []
        log_lines, retries, done = [], [], []
        for result in kept:
            for sent in result.sent:
                outcome = _outcome(result, sent, give_up_days)
                log_lines += [_log_line(result, sent, outcome)] if result.batch.endpoint.kind == "webhook" else []
                if outcome == "failed":
                    retries.append(_retry(result, sent))
                elif sent.delivery.retry:
                    done.append((result.batch.endpoint.id, *_text(sent.delivery.position)))
        _execute(transaction, _DONE, done)
        _execute(transaction, _RETRY, retries)
        _execute(transaction, _LOG, log_lines)
        rows = [_endpoint(each) for each in kept]
        disabled = _execute(transaction, _FINISH, rows, give_up=give_up_days * DAY_SECONDS)
        with audit.acting(audit.this_process()):
            for endpoint_id, organization_id, reason in disabled:
                act = audit.Act("event.disable", organization_id, "endpoint", endpoint_id, {"reason": reason})
                audit.record(transaction, act)
    return [endpoint_id for endpoint_id, *_ in disabled]


def _held(transaction: Transaction, results: Sequence[BatchResult]) -> set[int]:
    """Lock the endpoints whose leases are still the newest, in the order of their ids."""
    rows = [(each.batch.endpoint.id, each.batch.endpoint.number) for each in results]
    return {endpoint_id for (endpoint_id,) in _execute(transaction, _HELD, rows)}


def _outcome(result: BatchResult, sent: Sent, give_up_days: float) -> str:
    if sent.answer.error_code is None:
        return "delivered"
    if sent.answer is DROPPED or sent.delivery.age > give_up_days * DAY_SECONDS:
        return "given_up"
    return "failed"


def _log_line(result: BatchResult, sent: Sent, outcome: str) -> tuple[Any, ...]:
    answer = sent.answer
    return (
        result.batch.endpoint.id,
        *_text(sent.delivery.position),
        sent.delivery.tries + 1,
        outcome,
        answer.status,
        answer.error_code,
        round(answer.seconds * 1000),
    )


def _retry(result: BatchResult, sent: Sent) -> tuple[Any, ...]:
    event = sent.delivery.event or {}
    pause = growing(sent.delivery.tries, INITIAL_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
    return (
        result.batch.endpoint.id,
        *_text(sent.delivery.position),
        result.batch.history,
        event.get("organization_id"),
        pause,
    )


def _endpoint(result: BatchResult) -> tuple[Any, ...]:
    endpoint, failure = result.batch.endpoint, result.failure
    pause = 0.0
    if failure is not None:
        pause = growing(result.failures - 1, INITIAL_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        pause = max(pause, failure.retry_after or 0.0)
    return (
        endpoint.id,
        *_text(result.position),
        result.batch.history,
        result.batch.more or not result.whole,
        result.failures,
        result.succeeded,
        pause,
        failure.error_code if failure else None,
        failure.error if failure else None,
        bool(failure and failure.status == GONE),
    )


def _text(position: tuple[int, int]) -> tuple[str, int]:
    return str(position[0]), position[1]


def _execute(transaction: Transaction, statement: str, rows: Sequence[tuple[Any, ...]], **values: Any) -> list[Any]:
    """Run a statement for all rows at once; its columns are arrays named `c0`, `c1`, ..."""
    if not rows:
        return []
    columns = {f"c{at}": list(column) for at, column in enumerate(zip(*rows, strict=True))}
    cursor = transaction.execute(statement.encode(), columns | values)
    return cursor.fetchall() if cursor.description else []


_HELD = """
SELECT e.id FROM unnest(%(c0)s::bigint[], %(c1)s::bigint[]) AS r (id, number)
JOIN backmarket.event_endpoints e ON e.id = r.id AND e.lease_number = r.number
ORDER BY e.id FOR UPDATE OF e
"""

_DONE = """
DELETE FROM backmarket.event_retries r
USING unnest(%(c0)s::bigint[], %(c1)s::text[], %(c2)s::bigint[]) AS d (endpoint_id, transaction_id, change_id)
WHERE r.endpoint_id = d.endpoint_id AND r.transaction_id = d.transaction_id::xid8 AND r.change_id = d.change_id
"""

_RETRY = """
INSERT INTO backmarket.event_retries AS r
    (endpoint_id, transaction_id, change_id, reason, history, organization_id, tries, due_at)
SELECT endpoint_id, transaction_id::xid8, change_id, 'failed', history, organization_id, 1,
    now() + make_interval(secs => pause)
FROM unnest(%(c0)s::bigint[], %(c1)s::text[], %(c2)s::bigint[], %(c3)s::text[], %(c4)s::text[], %(c5)s::float8[])
    AS f (endpoint_id, transaction_id, change_id, history, organization_id, pause)
ON CONFLICT (endpoint_id, transaction_id, change_id) DO UPDATE SET tries = r.tries + 1, due_at = excluded.due_at
"""

_LOG = """
INSERT INTO backmarket.event_attempts
    (endpoint_id, transaction_id, change_id, attempt, outcome, status, error_code, milliseconds)
SELECT endpoint_id, transaction_id::xid8, change_id, attempt, outcome, status, error_code, milliseconds
FROM unnest(%(c0)s::bigint[], %(c1)s::text[], %(c2)s::bigint[], %(c3)s::integer[], %(c4)s::text[], %(c5)s::integer[],
    %(c6)s::text[], %(c7)s::integer[]) AS l
    (endpoint_id, transaction_id, change_id, attempt, outcome, status, error_code, milliseconds)
"""

# An endpoint for which the router found more meanwhile is due at once.
_FINISH = """
WITH finished AS (
    SELECT r.*, r.transaction_text::xid8 AS transaction_id, now() + make_interval(secs => r.pause) AS paused_until,
        (SELECT min(t.due_at) FROM backmarket.event_retries t WHERE t.endpoint_id = r.id) AS retry_at
    FROM unnest(%(c0)s::bigint[], %(c1)s::text[], %(c2)s::bigint[], %(c3)s::text[], %(c4)s::boolean[],
        %(c5)s::integer[], %(c6)s::boolean[], %(c7)s::float8[], %(c8)s::text[], %(c9)s::text[], %(c10)s::boolean[])
        AS r (id, transaction_text, change_id, history, more, failures, succeeded, pause, error_code, error, gone)
), written AS (
    UPDATE backmarket.event_endpoints AS e SET
        transaction_id = f.transaction_id, change_id = f.change_id, history = f.history,
        idle = NOT f.more AND (e.news_transaction_id, e.news_id) <= (f.transaction_id, f.change_id),
        due_at = GREATEST(f.paused_until, CASE
            WHEN f.more OR (e.news_transaction_id, e.news_id) > (f.transaction_id, f.change_id) THEN now()
            ELSE COALESCE(f.retry_at, 'infinity') END),
        paused_until = f.paused_until, lease_until = NULL, lease_owner = NULL,
        failures = f.failures,
        failing_since = CASE WHEN f.failures = 0 THEN NULL WHEN f.succeeded THEN now()
            ELSE COALESCE(e.failing_since, now()) END,
        error_code = CASE WHEN f.failures > 0 THEN COALESCE(f.error_code, e.error_code) END,
        error = CASE WHEN f.failures > 0 THEN COALESCE(f.error, e.error) END,
        last_success_at = CASE WHEN f.succeeded THEN now() ELSE e.last_success_at END,
        state = CASE WHEN d.reason IS NULL THEN e.state ELSE 'disabled' END,
        disabled_reason = CASE WHEN d.reason IS NULL THEN e.disabled_reason ELSE d.reason END
    FROM finished f JOIN backmarket.event_endpoints o USING (id) CROSS JOIN LATERAL (
        SELECT CASE WHEN f.gone THEN 'gone'
            WHEN o.kind = 'webhook' AND f.error_code IS NOT NULL AND NOT f.succeeded
                AND o.failing_since < now() - make_interval(secs => %(give_up)s) THEN 'failing' END AS reason
    ) AS d
    WHERE e.id = f.id AND e.state = 'enabled'
    RETURNING e.id, e.organization_id, e.state, e.disabled_reason
)
SELECT id, organization_id, disabled_reason FROM written WHERE state = 'disabled'
"""
