"""Reconciliation: compare the bucket with the rows, and correct differences.

An object that no row refers to is deleted. A label whose object is missing or has changed is fetched again. It works
a page at a time, first through the objects, then through the rows: memory stays flat, and a killed process loses one
page. Syncs continue meanwhile, so deleted keys are looked up once more, and young objects are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from backmarket import work
from backmarket.database import Database
from backmarket.errors import BackMarketError, NotDeleted
from backmarket.observability.logs import Logger

if TYPE_CHECKING:
    from backmarket.bucket.client import Bucket
    from backmarket.bucket.objects import StoredObject

log = Logger(__name__)

PAGE = 1000
"""Objects, or rows, per page."""

ALARM_SHARE = 0.5
"""Maximum share of a page that may be garbage; above it, none is deleted unless an operator has accepted it."""

ALARM_OBJECTS = 20
"""Garbage objects of a page that are always deleted."""

NOTHING_IS_OLD = datetime.min.replace(tzinfo=UTC)
"""Limit of age where the server has no clock: all objects count as young."""

Step = Literal["objects", "rows"]
"""What the page consists of; see the table `bucket_sweep`."""


class ManyGarbage(BackMarketError):
    """Very many objects have no row: the bucket may be another deployment's, or the database an old copy."""

    code = "many_garbage"


@dataclass(frozen=True, slots=True)
class Position:
    """Position of the reconciliation within one prefix.

    Attributes:
        prefix: ends in a slash.
        step: first the objects, then the rows.
        last_key: last key of the page before; empty at the beginning.
    """

    prefix: str
    step: Step = "objects"
    last_key: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Differences found and corrected.

    Attributes:
        objects: number compared.
        deleted: objects deleted, as no row refers to them.
        lost: labels that are wanted again.
        kept: keys of objects that the server did not delete, of one page.
    """

    objects: int = 0
    deleted: int = 0
    lost: int = 0
    kept: frozenset[str] = frozenset()

    def __add__(self, other: Found) -> Found:
        sums = (self.objects + other.objects, self.deleted + other.deleted, self.lost + other.lost)
        return Found(*sums, kept=other.kept)


@dataclass(frozen=True, slots=True)
class _Label:
    """A stored label, as in its row."""

    key: str
    organization_id: str
    size: int
    etag: str

    @property
    def directory(self) -> str:
        return self.key[: self.key.rindex("/") + 1]


def reconcile_page(
    database: Database, bucket: Bucket, position: Position, *, min_age: float, accept_garbage: bool = True
) -> tuple[Position | None, Found]:
    """Compare one page, and correct differences; safe to repeat, and to run twice at once.

    Args:
        database: has the rows.
        bucket: has the objects.
        position: where the page begins.
        min_age: in seconds; younger objects are kept: their rows may not be written yet. The server's own clock says
            how old an object is, since the clocks of two machines differ.
        accept_garbage: delete objects without a row, even if they are very many.

    Returns:
        The next position, or None at the end; and the differences found.

    Raises:
        BucketUnavailable: if the S3 server is unreachable; changes made so far stay.
        SettingsError: if the settings do not fit it.
        ManyGarbage: if more than half of the page has no row; nothing of it was deleted.
    """
    now = bucket.server_time()
    before = NOTHING_IS_OLD if now is None else now - timedelta(seconds=min_age)
    if position.step == "rows":
        return _reconcile_rows(database, bucket, position, before)
    return _reconcile_objects(database, bucket, position, before, accept_garbage=accept_garbage)


def delete_garbage(database: Database, bucket: Bucket, keys: Sequence[str]) -> Found:
    """Delete the objects that no row refers to; a label that was stored meanwhile is wanted again.

    Args:
        database: has the rows.
        bucket: has the objects.
        keys: at most some thousands.

    Raises:
        BucketUnavailable: if the S3 server is unreachable.
        SettingsError: if the settings do not fit it.
    """
    return _delete(database, bucket, _garbage(database, keys))


def _garbage(database: Database, keys: Sequence[str]) -> list[str]:
    """Keys that no row refers to."""
    with database.transaction() as transaction:
        return [key for (key,) in transaction.execute(_GARBAGE, (list(keys),))]


def _delete(database: Database, bucket: Bucket, garbage: list[str]) -> Found:
    if not garbage:
        return Found()
    kept: frozenset[str] = frozenset()
    try:
        bucket.delete(garbage)
    except NotDeleted as error:
        kept = error.keys
        log.warning("bucket.not_deleted", error=error.message)
    with database.transaction() as transaction:
        again = [_Label(*row) for row in transaction.execute(_LABELS_AT, (garbage,))]
    return Found(deleted=len(garbage) - len(kept), lost=_want_again(database, again), kept=kept)


def _reconcile_objects(
    database: Database, bucket: Bucket, position: Position, before: datetime, *, accept_garbage: bool
) -> tuple[Position, Found]:
    page = bucket.list(position.prefix, after=position.last_key, limit=PAGE)
    garbage = _garbage(database, [each.key for each in page if each.modified < before])
    if not accept_garbage and len(garbage) > max(ALARM_OBJECTS, ALARM_SHARE * len(page)):
        raise ManyGarbage(
            f"{len(garbage)} of {len(page)} objects have no row in this database, so none was deleted. If the bucket is"
            " another deployment's, too, set BACKMARKET_S3_BUCKET to one of its own; if they are garbage: UPDATE"
            " backmarket.bucket_sweep SET accept_garbage = true, due_at = now()."
        )
    done = Found(len(page)) + _delete(database, bucket, garbage)
    if len(page) < PAGE:
        return Position(position.prefix, "rows"), done
    return Position(position.prefix, "objects", page[-1].key), done


def _reconcile_rows(
    database: Database, bucket: Bucket, position: Position, before: datetime
) -> tuple[Position | None, Found]:
    end = f"{position.prefix[:-1]}0"  # the character after the slash
    with database.transaction() as transaction:
        rows = transaction.execute(_LABELS, (max(position.last_key, position.prefix), end, PAGE)).fetchall()
    labels = [_Label(*row) for row in rows]
    lost = []
    for directory, group in groupby(labels, attrgetter("directory")):
        lost += _lost(bucket, list(group), position.last_key if position.last_key.startswith(directory) else "", before)
    done = Found(lost=_want_again(database, lost))
    return (Position(position.prefix, "rows", labels[-1].key) if len(labels) == PAGE else None), done


def _lost(bucket: Bucket, labels: list[_Label], after: str, before: datetime) -> list[_Label]:
    """Labels of one directory that are missing in the bucket, or differ from what was stored.

    Every server lists a directory in byte order; the rows have the same order.
    """
    wanted = {label.key for label in labels}
    stored: dict[str, StoredObject] = {}
    while True:
        page = bucket.list(labels[0].directory, after=after, limit=PAGE)
        stored |= {each.key: each for each in page if each.key in wanted}
        if len(page) < PAGE or page[-1].key >= labels[-1].key:
            return [label for label in labels if _differs(label, stored.get(label.key), before)]
        after = page[-1].key


def _differs(label: _Label, stored: StoredObject | None, before: datetime) -> bool:
    """Whether an object differs from its row; a young one does not count, as its row is written after it."""
    return stored is None or ((stored.size, stored.etag) != (label.size, label.etag) and stored.modified < before)


def _want_again(database: Database, labels: Iterable[_Label]) -> int:
    """Queue labels to be fetched again, unless their rows have changed meanwhile.

    Returns:
        Number of labels queued.
    """
    wanted = 0
    of_organization = attrgetter("organization_id")
    for organization_id, group in groupby(sorted(labels, key=of_organization), of_organization):
        ours = list(group)
        with database.transaction() as transaction:
            if transaction.execute(_LOCK_CONNECTION, (organization_id,)).fetchone() is None:
                continue  # the organization was removed, and its labels with it
            # first the lease's row, then the labels, as the label worker does
            work.make_due(transaction, organization_id, "labels")
            values = ([each.key for each in ours], [each.etag for each in ours])
            wanted += transaction.execute(_WANT_AGAIN, values).rowcount
    return wanted


_GARBAGE = """
SELECT key FROM unnest(%s::text[]) AS listed (key)
WHERE NOT EXISTS (SELECT FROM backmarket.labels WHERE object_key = key COLLATE "C")
  AND NOT EXISTS (SELECT FROM backmarket.api_writes WHERE object_key = key COLLATE "C")
  AND NOT EXISTS (
    SELECT FROM backmarket.bulk_jobs
    WHERE object_prefix = (array_to_string((string_to_array(key, '/'))[:3], '/') || '/') COLLATE "C"
  )
"""

_COLUMNS = "object_key, organization_id, size, COALESCE(etag, '')"

_LABELS_AT = f"SELECT {_COLUMNS} FROM backmarket.labels WHERE object_key = ANY(%s)"

_LABELS = f"""
SELECT {_COLUMNS} FROM backmarket.labels WHERE object_key > %s AND object_key < %s ORDER BY object_key LIMIT %s
"""

_LOCK_CONNECTION = "SELECT 1 FROM backmarket.connections WHERE organization_id = %s FOR KEY SHARE"

_WANT_AGAIN = """
UPDATE backmarket.labels AS l SET state = 'wanted', due_at = now(), tries = 0, error_code = NULL, error = NULL,
    object_key = NULL, size = NULL, sha256 = NULL, etag = NULL, content_type = NULL, stored_at = NULL
FROM unnest(%s::text[], %s::text[]) AS lost (key, etag)
WHERE l.object_key = lost.key COLLATE "C" AND COALESCE(l.etag, '') = lost.etag
"""
