"""The rows of labels that are being fetched: read due ones, and write results.

Every writer locks the labels first, in the order of their keys, and then the row of the organization's work, as syncs
do, so that no two deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from backmarket import work
from backmarket.database import Database, Transaction
from backmarket.errors import RateLimited
from backmarket.labels.download import PDF, DownloadResult, Wanted
from backmarket.labels.retry_policy import MIN_TRIES, GiveUp, Retry, retry_decision


def due(database: Database, organization_id: str, limit: int) -> list[Wanted]:
    """Due labels of an organization, the longest due first.

    Args:
        limit: maximum number of labels.
    """
    with database.transaction() as transaction:
        rows = transaction.execute(_DUE, (organization_id, limit)).fetchall()
    return [Wanted(*row) for row in rows]


def write_down(
    transaction: Transaction, organization_id: str, results: Sequence[DownloadResult], *, give_up_days: int
) -> int:
    """Write the results of labels. A label that has another URL by now, or is gone, is skipped.

    Args:
        transaction: the caller then checks in it that it holds the lease.
        results: of the labels.
        give_up_days: days after which a failing label is given up.

    Returns:
        Number of fetched labels that were skipped: they are due again, if they are still wanted.
    """
    stored = [_stored_row(each) for each in results if each.stored]
    failed = [_failed_row(each) for each in results if each.error and not isinstance(each.error, RateLimited)]
    values = {"organization": organization_id, "days": give_up_days, "fewest": MIN_TRIES, "type": PDF}
    left = len(stored)
    if stored:
        left -= transaction.execute(_STORE, {**values, **_columns(stored)}).rowcount
    if failed:
        transaction.execute(_FAIL, {**values, **_columns(failed)})
    return left


def next_due(transaction: Transaction, organization_id: str) -> datetime | None:
    """When the next label is due; None: no label is wanted."""
    row = transaction.execute(_NEXT_DUE, (organization_id,)).fetchone()
    return row[0] if row else None


def mend(database: Database, organization_id: str, results: Iterable[DownloadResult]) -> int:
    """Repair after objects were put under a lost lease: a label whose object was overwritten is wanted again.

    Args:
        results: those whose rows were not written.

    Returns:
        Number of labels that are wanted again.
    """
    put = [_stored_row(each) for each in results if each.stored]
    if not put:
        return 0
    with database.transaction() as transaction:
        again = transaction.execute(_MEND, {"organization": organization_id, **_columns(put)}).rowcount
        if again:
            work.make_due(transaction, organization_id, "labels")
    return again


def _stored_row(result: DownloadResult) -> tuple[Any, ...]:
    label, stored = result.label, result.stored
    assert stored is not None  # noqa: S101 - the callers ask for it
    return label.resource, label.shipment_id, label.url, stored.object_key, stored.size, stored.sha256, stored.etag


def _failed_row(result: DownloadResult) -> tuple[Any, ...]:
    label, error = result.label, result.error
    assert error is not None  # noqa: S101 - the caller asks for it
    decision = retry_decision(error)
    pause = decision.pause(label.tries) if isinstance(decision, Retry) else None
    return label.resource, label.shipment_id, label.url, isinstance(decision, GiveUp), pause, error.code, error.message


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """The rows in the order of their keys, as arrays."""
    return {f"c{number}": list(column) for number, column in enumerate(zip(*sorted(rows), strict=True))}


_DUE = """
SELECT resource, shipment_id, url, tries FROM backmarket.labels
WHERE organization_id = %s AND state = 'wanted' AND due_at <= now() ORDER BY due_at LIMIT %s
"""

_STORE = """
WITH came AS (
    SELECT l.organization_id, l.resource, l.shipment_id, c.object_key, c.size, c.sha256, c.etag
    FROM unnest(%(c0)s::text[], %(c1)s::bigint[], %(c2)s::text[], %(c3)s::text[], %(c4)s::bigint[], %(c5)s::text[],
        %(c6)s::text[]) AS c (resource, shipment_id, url, object_key, size, sha256, etag)
    JOIN backmarket.labels l USING (resource, shipment_id, url)
    WHERE l.organization_id = %(organization)s AND l.state = 'wanted'
    ORDER BY l.resource, l.shipment_id FOR UPDATE OF l
)
UPDATE backmarket.labels AS l SET state = 'stored', object_key = came.object_key, size = came.size,
    sha256 = came.sha256, etag = came.etag, content_type = %(type)s, stored_at = now(), error_code = NULL, error = NULL
FROM came WHERE l.organization_id = came.organization_id AND l.resource = came.resource
  AND l.shipment_id = came.shipment_id
"""

# Without a pause, the failure is not the label's: it stays due, and no try is counted.
_FAIL = """
WITH came AS (
    SELECT l.organization_id, l.resource, l.shipment_id, c.give_up, c.pause, c.code, c.error
    FROM unnest(%(c0)s::text[], %(c1)s::bigint[], %(c2)s::text[], %(c3)s::boolean[], %(c4)s::float8[], %(c5)s::text[],
        %(c6)s::text[]) AS c (resource, shipment_id, url, give_up, pause, code, error)
    JOIN backmarket.labels l USING (resource, shipment_id, url)
    WHERE l.organization_id = %(organization)s AND l.state = 'wanted'
    ORDER BY l.resource, l.shipment_id FOR UPDATE OF l
)
UPDATE backmarket.labels AS l SET error_code = came.code, error = came.error,
    tries = l.tries + (came.give_up OR came.pause IS NOT NULL)::int,
    due_at = CASE WHEN came.pause IS NULL THEN l.due_at ELSE now() + make_interval(secs => came.pause) END,
    state = CASE WHEN came.give_up OR came.pause IS NOT NULL AND l.tries + 1 >= %(fewest)s
        AND l.noted_at < now() - make_interval(days => %(days)s) THEN 'unavailable' ELSE 'wanted' END
FROM came WHERE l.organization_id = came.organization_id AND l.resource = came.resource
  AND l.shipment_id = came.shipment_id
"""

_NEXT_DUE = "SELECT min(due_at) FROM backmarket.labels WHERE organization_id = %s AND state = 'wanted'"

_MEND = """
WITH put AS (
    SELECT l.organization_id, l.resource, l.shipment_id
    FROM unnest(%(c0)s::text[], %(c1)s::bigint[], %(c3)s::text[], %(c6)s::text[])
        AS c (resource, shipment_id, object_key, etag)
    JOIN backmarket.labels l USING (resource, shipment_id, object_key)
    WHERE l.organization_id = %(organization)s AND l.state = 'stored' AND l.etag <> c.etag
    ORDER BY l.resource, l.shipment_id FOR UPDATE OF l
)
UPDATE backmarket.labels AS l SET state = 'wanted', due_at = now(), tries = 0, object_key = NULL, size = NULL,
    sha256 = NULL, etag = NULL, content_type = NULL, stored_at = NULL
FROM put WHERE l.organization_id = put.organization_id AND l.resource = put.resource
  AND l.shipment_id = put.shipment_id
"""
