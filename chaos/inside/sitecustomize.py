"""Python loads this by itself where this folder is on PYTHONPATH: in the workers and the beat of a round.

It makes short what is no setting (a lost nudge counts for 60 s, a failed walk waits for 15), names each process's
connections to PostgreSQL, and switches one safeguard off where `CHAOS_OFF` says so, which proves that a round notices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import local
from time import sleep
from typing import Any

from backmarket import messages
from backmarket.services import circuit_breaker
from chaos.pauses import MAX_SECONDS, short

messages.NUDGE_SECONDS = 6
circuit_breaker.INITIAL_PAUSE_SECONDS, circuit_breaker.MAX_PAUSE_SECONDS = 0.5, 1.5

from backmarket.limits import backoff, shared  # noqa: E402


def _short(pause: Callable[..., float | None]) -> Callable[..., Any]:
    """The same pauses, made short."""

    def shorter(*args: Any, **kwargs: Any) -> float | None:
        seconds = pause(*args, **kwargs)
        return seconds and short(seconds)

    return shorter


def no_pause(*_: Any, **__: Any) -> float:
    """What failed is retried at once."""
    return 0.0


OFF_NAME = os.environ.get("CHAOS_OFF", "")
backoff.growing = no_pause if OFF_NAME == "pauses" else _short(backoff.growing)  # before it is imported by name

from backmarket.limits import sku_quota  # noqa: E402

sku_quota.REFUSED_SECONDS = short(sku_quota.REFUSED_SECONDS)

from backmarket.work import backoff as pauses_of_rows  # noqa: E402
from backmarket.writes.engine import retry_policy as writes_policy  # noqa: E402

pauses_of_rows.DAY_SECONDS = MAX_SECONDS
writes_policy.pause_all_after = _short(writes_policy.pause_all_after)

from backmarket import work  # noqa: E402
from backmarket.bucket import client as bucket  # noqa: E402
from backmarket.bulk import transitions  # noqa: E402
from backmarket.bulk.engine import requests, verify  # noqa: E402
from backmarket.bulk.engine import slice as bulk_slice  # noqa: E402
from backmarket.database import connection as database  # noqa: E402
from backmarket.labels import engine as labels_engine  # noqa: E402
from backmarket.sync import checkpoints, leases, missing_rows, storing, upsert  # noqa: E402
from backmarket.work import queue  # noqa: E402

labels_engine._pause_after = _short(labels_engine._pause_after)
requests.LIMITER_AWAY = 1.0
verify.AFTER_FAILURE = 1.0
bulk_slice.GAVE_UP = 1.0
bucket.READ_SECONDS = 3.0


class _NamedPool(database.ConnectionPool[Any]):
    """A pool whose connections say which process they belong to."""

    def __init__(self, *args: Any, kwargs: dict[str, Any], **options: Any) -> None:
        super().__init__(*args, kwargs=kwargs | {"application_name": f"chaos-{os.getpid()}"}, **options)


database.ConnectionPool = _NamedPool


def no_lease_check() -> None:
    """A worker that slept past its lease writes all the same."""

    def unfenced(transaction: Any, lease: Any, assignments: str, values: dict[str, object]) -> None:
        transaction.execute(
            f"UPDATE backmarket.sync_state AS s SET {assignments}"
            " WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s",
            {**values, "organization": lease.organization_id, "resource": lease.resource, "market": lease.market},
        )

    leases._fenced = unfenced
    leases.hold = checkpoints._refuse_rolled_back = lambda *_: None
    work.hold = queue.hold = lambda *_, **__: None


def no_sentinel() -> None:
    """A Redis that lost its memory grants at once."""
    begin = shared.SharedLimiter.__init__

    def without(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self._recovery = 0.0

    shared.SharedLimiter.__init__ = without


def no_submitting() -> None:
    """A part that is being sent looks as if it was not."""
    mark = transitions.mark_submitting

    def unmarked(transaction: Any, part: Any, *args: Any, **kwargs: Any) -> str | None:
        marked = mark(transaction, part, *args, **kwargs)
        transaction.execute(
            "UPDATE backmarket.bulk_parts SET state = 'pending', due_at = now(), sent = sent - 1"
            " WHERE organization_id = %s AND job_id = %s AND number = %s",
            (part.organization_id, part.job_id, part.number),
        )
        return marked

    transitions.mark_submitting = unmarked


def no_outbox() -> None:
    """Events are written after the rows, in a transaction of their own."""
    waiting, write, transaction = local(), upsert.write, database.Database.transaction

    def write_alone(inner: Any, *args: Any, **kwargs: Any) -> Any:
        written = write(inner, *args, **kwargs)
        taken = inner.execute(
            "DELETE FROM backmarket.changes WHERE transaction_id = pg_current_xact_id()"
            " RETURNING organization_id, resource, external_id, kind, fields"
        ).fetchall()
        waiting.events = [*getattr(waiting, "events", ()), *taken]
        return written

    @contextmanager
    def followed(self: Any) -> Iterator[Any]:
        waiting.events = []
        with transaction(self) as inner:
            yield inner
        events, waiting.events = waiting.events, []
        if events:
            sleep(0.1)  # it takes its time, as any second transaction does
            with transaction(self) as inner, inner.cursor() as cursor:
                cursor.executemany(_EVENT, events)

    upsert.write = storing.write = write_alone
    database.Database.transaction = followed


_EVENT = (
    b"INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields) VALUES (%s, %s, %s, %s, %s)"
)


def no_turn() -> None:
    """A full walk that is unfinished goes before the syncs that are due."""
    turn = "CASE WHEN s.sync_due_at <= now() THEN 'incremental' ELSE 'full' END"
    assert turn in leases.PROBE
    leases.PROBE = leases.PROBE.replace(turn, "'full'")


def no_unread_rows() -> None:
    """A missing row that cannot be read fails the walk."""

    def fail(_: Any, key: Any, error: Exception) -> None:
        raise error

    missing_rows.MissingRows._leave = fail


OFF: dict[str, Callable[[], None]] = {
    "lease": no_lease_check,
    "sentinel": no_sentinel,
    "submitting": no_submitting,
    "outbox": no_outbox,
    "turn": no_turn,
    "unread": no_unread_rows,
}
OFF.get(OFF_NAME, partial(int))()
