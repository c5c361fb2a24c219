"""The sweep: the daily reconciliation of the whole bucket, in slices that end after some seconds."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from backmarket.bucket.keys import PREFIXES
from backmarket.database import Database
from backmarket.errors import BackMarketError, BucketUnavailable, SettingsError
from backmarket.limits import backoff
from backmarket.observability.logs import Logger
from backmarket.upkeep.bucket_reconcile import Found, ManyGarbage, Position, reconcile_page

if TYPE_CHECKING:
    from backmarket.services import Services

INTERVAL_SECONDS = 86400
"""Seconds between the end of one sweep and the beginning of the next that beat starts."""

YOUNG_SECONDS = 3600
"""Seconds; younger objects are kept: the worker that stores one writes its row seconds later."""

CLAIM_SECONDS = 120
"""Seconds after which another worker may take over a claim that was not renewed; a page takes less than a second."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        objects: number compared.
        deleted: objects deleted, as no row refers to them.
        lost: labels that are wanted again: they were not in the bucket, or not as they had been stored.
        more: it has not reached the end; the next slice continues.
    """

    objects: int = 0
    deleted: int = 0
    lost: int = 0
    more: bool = False


def sweep(services: Services, *, seconds: float | None = None, accept_garbage: bool = False) -> Swept:
    """Sweep the bucket, from where the last sweep was interrupted, if it was; safe to run twice at once.

    Args:
        seconds: after which it stops early; None: no limit.
        accept_garbage: an operator has accepted that very many objects have no row: they are deleted.

    Raises:
        BucketUnavailable: if the S3 server is unreachable; changes made so far stay.
        SettingsError: if the settings do not fit it.
        ManyGarbage: if more than half of a page has no row; nothing of it was deleted.
    """
    until = None if seconds is None else monotonic() + seconds
    found = Found()
    position, accepted = _begin(services.database, accept_garbage=accept_garbage)
    while True:
        following, page = reconcile_page(
            services.database, services.bucket, position, min_age=YOUNG_SECONDS, accept_garbage=accepted
        )
        found += page
        following = following or _next_prefix(position)
        if following is None:
            _finish(services.database)
            return _swept(found)
        position = following
        over = services.stopping.is_set() or (until is not None and monotonic() >= until)
        _keep(services.database, position, pause=0 if over else CLAIM_SECONDS)
        if over:
            return _swept(found, more=True)


def _swept(found: Found, *, more: bool = False) -> Swept:
    return Swept(found.objects, found.deleted, found.lost, more)


def sweep_if_due(services: Services, *, seconds: float) -> Swept | None:
    """Sweep if a sweep is due; only the first caller does it. A failed sweep is retried later.

    Args:
        seconds: see `sweep`.

    Returns:
        None if no sweep was due, or it was put off, or there is no bucket.
    """
    if not services.settings.has_bucket:
        return None
    with services.database.transaction() as transaction:
        if transaction.execute(_CLAIM, (CLAIM_SECONDS,)).fetchone() is None:
            return None
    try:
        return sweep(services, seconds=seconds)
    except (BucketUnavailable, SettingsError, ManyGarbage) as error:
        _put_off(services.database, error)
        return None


def _begin(database: Database, *, accept_garbage: bool) -> tuple[Position, bool]:
    """Where to begin, and whether an operator has accepted that there is much garbage."""
    with database.transaction() as transaction:
        rows = transaction.execute(_BEGIN, (CLAIM_SECONDS, accept_garbage)).fetchall()
    ((prefix, step, position, accepted),) = rows
    return Position(prefix, step, position) if prefix else Position(PREFIXES[0]), accepted


def _next_prefix(position: Position) -> Position | None:
    """The beginning of the next prefix; None after the last one."""
    at = PREFIXES.index(position.prefix) + 1
    return Position(PREFIXES[at]) if at < len(PREFIXES) else None


def _keep(database: Database, position: Position, *, pause: float) -> None:
    with database.transaction() as transaction:
        transaction.execute(_KEEP, (position.prefix, position.step, position.last_key, pause))


def _finish(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute(_FINISH, (INTERVAL_SECONDS,))


def _put_off(database: Database, error: BackMarketError) -> None:
    with database.transaction() as transaction:
        transaction.execute(_PUT_OFF, (error.message,))
    log.warning("sweep.put_off", code=error.code, error=error.message)


# Writes nothing and locks no row unless a sweep is due.
_CLAIM = """
INSERT INTO backmarket.bucket_sweep AS s (due_at) SELECT now() + make_interval(secs => %s)
WHERE NOT EXISTS (SELECT FROM backmarket.bucket_sweep WHERE due_at > now())
ON CONFLICT (only_row) DO UPDATE SET due_at = excluded.due_at WHERE s.due_at <= now()
RETURNING due_at
"""

_BEGIN = """
INSERT INTO backmarket.bucket_sweep AS s (due_at, accept_garbage) VALUES (now() + make_interval(secs => %s), %s)
ON CONFLICT (only_row) DO UPDATE
SET due_at = excluded.due_at, accept_garbage = s.accept_garbage OR excluded.accept_garbage
RETURNING prefix, step, position, accept_garbage
"""

_KEEP = """
UPDATE backmarket.bucket_sweep SET prefix = %s, step = %s, position = %s, tries = 0, error = NULL,
    due_at = now() + make_interval(secs => %s)
"""

_FINISH = """
UPDATE backmarket.bucket_sweep SET prefix = NULL, step = 'objects', position = '', accept_garbage = false, tries = 0,
    error = NULL, finished_at = now(), due_at = now() + make_interval(secs => %s)
"""

# A minute, two, four, and at most an hour.
_PUT_OFF = f"""
UPDATE backmarket.bucket_sweep SET tries = tries + 1, error = %s,
    due_at = now() + {backoff.doubled_sql("tries", 60, 3600)}
"""
