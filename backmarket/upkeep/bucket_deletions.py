"""Deletions: objects that nothing needs any more, queued in the transaction that makes them so.

The S3 server may be unreachable just then, so the row is worked off later, with retries. A worker may be storing an
object at that moment, so each deletion is done twice, the second time when no such upload can still run. An
organization may have been connected again meanwhile: objects that a row refers to stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from backmarket.database import Database
from backmarket.errors import BucketUnavailable, SettingsError
from backmarket.limits import backoff
from backmarket.observability.logs import Logger
from backmarket.upkeep import bucket_reconcile

if TYPE_CHECKING:
    from backmarket.services import Services

QUIET_SECONDS = 300
"""Seconds after which every running upload has ended: a request, a lease and the retries together."""

YOUNG_SECONDS = 60
"""Seconds; an object younger than this and than the deletion is kept: its row may not be written yet."""

CLAIM_SECONDS = 120
"""Seconds after which another worker may take over a claim that was not renewed."""

KEYS = 1000
"""Maximum single keys worked off at a time."""

KEPT = "The S3 server did not delete the object: an object lock, or what the keys may do, may hold it."

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Deleted:
    """Result of a slice of deletions.

    Attributes:
        objects: number deleted; of single keys, missing ones count too.
        more: the time limit ended it; the next slice continues.
    """

    objects: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Deletion:
    """A row of `bucket_deletions` that this process has claimed."""

    id: int
    key: str
    step: bucket_reconcile.Step
    position: str
    age: float
    """Seconds since it was requested, by PostgreSQL's clock."""

    @property
    def is_prefix(self) -> bool:
        return self.key.endswith("/")


def work_off(services: Services, *, seconds: float | None = None) -> Deleted:
    """Work off due deletions, a page at a time; safe to run twice at once, and to kill.

    Failed ones are retried later. Without an S3 server all wait.

    Args:
        seconds: after which no new page begins; None: no limit.
    """
    if not services.settings.has_bucket:
        return Deleted()
    until = None if seconds is None else monotonic() + seconds
    objects = 0
    while claimed := _claim(services.database):
        try:
            objects += _delete_page(services, claimed)
        except (BucketUnavailable, SettingsError) as error:
            log.warning("deletions.put_off", code=error.code, error=error.message)
            _put_off(services.database, claimed, error.message)
            break
        if services.stopping.is_set() or (until is not None and monotonic() >= until):
            return Deleted(objects, more=True)
    return Deleted(objects)


def _delete_page(services: Services, claimed: list[_Deletion]) -> int:
    """Delete single keys, or a page of the objects under one prefix.

    Returns:
        Number of objects deleted.
    """
    (first, *_) = claimed
    if not first.is_prefix:
        found = bucket_reconcile.delete_garbage(services.database, services.bucket, [each.key for each in claimed])
        _finish(services.database, [each for each in claimed if each.key not in found.kept])
        _put_off(services.database, [each for each in claimed if each.key in found.kept], KEPT)
        return found.deleted
    min_age = min(first.age, YOUNG_SECONDS)
    here = bucket_reconcile.Position(first.key, first.step, first.position)
    position, found = bucket_reconcile.reconcile_page(services.database, services.bucket, here, min_age=min_age)
    if position is None:
        _finish(services.database, claimed)
    else:
        with services.database.transaction() as transaction:
            transaction.execute(_KEEP, (position.step, position.last_key, first.id))
    return found.deleted


def _claim(database: Database) -> list[_Deletion]:
    """Claim single keys that are due, or else one prefix; no other worker gets them for `CLAIM_SECONDS`."""
    for is_prefix, limit in ((False, KEYS), (True, 1)):
        values = {"prefix": is_prefix, "limit": limit, "claim": CLAIM_SECONDS, "quiet": QUIET_SECONDS}
        with database.transaction() as transaction:
            if rows := transaction.execute(_CLAIM, values).fetchall():
                return [_Deletion(*row) for row in rows]
    return []


def _finish(database: Database, claimed: list[_Deletion]) -> None:
    values = {"ids": [each.id for each in claimed], "quiet": QUIET_SECONDS}
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM backmarket.bucket_deletions WHERE id = ANY(%(ids)s) AND last", values)
        transaction.execute(_ONCE_MORE, values)


def _put_off(database: Database, claimed: list[_Deletion], why: str) -> None:
    if not claimed:
        return
    with database.transaction() as transaction:
        transaction.execute(_PUT_OFF, (why, [each.id for each in claimed]))


_CLAIM = """
UPDATE backmarket.bucket_deletions AS d
SET due_at = now() + make_interval(secs => %(claim)s),
    last = CASE WHEN step = 'objects' AND position = '' THEN requested_at + make_interval(secs => %(quiet)s) <= now()
        ELSE last END
FROM (
    SELECT id FROM backmarket.bucket_deletions
    WHERE due_at <= now() AND (right(object_key, 1) = '/') = %(prefix)s
    ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS due
WHERE d.id = due.id RETURNING d.id, d.object_key, d.step, d.position,
    extract(epoch FROM now() - d.requested_at)::float8
"""

_KEEP = """
UPDATE backmarket.bucket_deletions SET step = %s, position = %s, due_at = now(), tries = 0, error = NULL WHERE id = %s
"""

_ONCE_MORE = """
UPDATE backmarket.bucket_deletions SET step = 'objects', position = '', tries = 0, error = NULL,
    due_at = GREATEST(now(), requested_at + make_interval(secs => %(quiet)s))
WHERE id = ANY(%(ids)s)
"""

# Half a minute, one, two, and at most an hour.
_PUT_OFF = f"""
UPDATE backmarket.bucket_deletions SET tries = tries + 1, error = %s,
    due_at = now() + {backoff.doubled_sql("tries", 30, 3600)}
WHERE id = ANY(%s)
"""
