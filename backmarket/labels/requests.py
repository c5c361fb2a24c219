"""Request labels now, and read them from the bucket."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from backmarket import audit, connections, work
from backmarket.database import Database, Transaction
from backmarket.errors import BrokenAnswer, ObjectNotFound
from backmarket.labels.queries import Label, LabelState, need_label, need_stored
from backmarket.messages import Nudge
from backmarket.services import Services
from backmarket.work.wait import poll, wait_for


def queue_all(database: Database, organization_id: str) -> int:
    """Make labels that wait for a retry, and those that were given up, due now.

    Returns:
        Number of labels that are due now.
    """
    with database.transaction() as transaction:
        again = transaction.execute(
            f"{_AGAIN} AND (state = 'unavailable' OR state = 'wanted' AND due_at > now()) {_THEN}",
            {"organization": organization_id},
        ).rowcount
        if again:
            act = audit.Act("labels.requeue", organization_id, "labels", None, {"labels": again})
            audit.record(transaction, act, audit.Outcome.ASKED)
        return _want_due(transaction, organization_id)


def fetch_labels(services: Services, organization_id: str) -> int:
    """Like `queue_all`, with a message for a worker.

    Raises:
        ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the connection is not usable.
    """
    services.need_broker()
    connections.check_usable(connections.get(services.database, organization_id))
    due = queue_all(services.database, organization_id)
    if due:
        services.producer.nudge([Nudge("labels", organization_id)])
    return due


def link(services: Services, organization_id: str, resource: str, shipment_id: int, expires: int) -> str:
    """A link to a label in the bucket; see `BackMarket.get_label_url`."""
    key = need_stored(need_label(services.database, organization_id, resource, shipment_id))
    return services.bucket.presigned_url(key, expires=expires, filename=f"{shipment_id}.pdf")


def download(
    services: Services,
    organization_id: str,
    resource: str,
    shipment_id: int,
    *,
    to: Path | BinaryIO | None,
    timeout: float,
) -> Label:
    """A label, fetched now if it is not in the bucket; see `BackMarket.download_label`."""
    until = monotonic() + timeout
    label = need_label(services.database, organization_id, resource, shipment_id)
    if label.state is not LabelState.STORED:
        label = _fetched(services, label, until, timeout)
    if to is None:
        return label
    try:
        _read(services, label, to)
    except (ObjectNotFound, BrokenAnswer):  # missing in the bucket, or another file
        label = _fetched(services, label, until, timeout)
        _read(services, label, to)
    return label


def _fetched(services: Services, label: Label, until: float, timeout: float) -> Label:
    """Wait until a worker has stored the label.

    Raises:
        LabelNotStored, LabelUnavailable: if the worker failed; the text says why.
        WaitTimeout: if no worker has tried in time.
    """
    database, organization_id = services.database, label.organization_id
    services.need_broker()
    connections.check_usable(connections.get(database, organization_id))
    with database.transaction() as transaction:
        values = {"organization": organization_id, "resource": label.resource, "shipment": label.shipment_id}
        # of the row as it was changed: a worker may have tried since `label` was read
        asked = f"{_AGAIN} AND resource = %(resource)s AND shipment_id = %(shipment)s {_THEN} RETURNING tries"
        tries = (transaction.execute(asked, values).fetchone() or (0,))[0]
        work.make_due(transaction, organization_id, "labels")
        act = audit.Act("label.fetch", organization_id, label.resource, label.shipment_id)
        audit.record(transaction, act, audit.Outcome.ASKED)
    services.producer.nudge([Nudge("labels", organization_id)])

    def now() -> Label:
        return need_label(database, organization_id, label.resource, label.shipment_id)

    def tried() -> Label | None:
        found = now()
        if found.state is LabelState.WANTED and found.tries <= tries:
            connections.check_usable(connections.get(database, organization_id))
            return None
        need_stored(found)
        return found

    return wait_for(poll(tried, until - monotonic(), lambda: _why_not(now(), timeout)))


def _why_not(label: Label, timeout: float) -> str:
    if label.error:
        return f"The label was not fetched within {timeout:g} s; a worker retries it. So far: {label.error}"
    return (
        f"The label was not fetched within {timeout:g} s. Is a worker with the queue 'labels' running, and does it use"
        " the same broker? The label stays wanted."
    )


def _read(services: Services, label: Label, to: Path | BinaryIO) -> None:
    """Write a stored label to a file, and verify its bytes.

    Raises:
        ObjectNotFound: if it is not in the bucket any more.
        BrokenAnswer: if it is another file.
    """
    if not isinstance(to, Path):
        copy_stored(services, label, to)
        return
    with _replaced(to) as file:
        copy_stored(services, label, file)


def copy_stored(services: Services, label: Label, file: BinaryIO) -> None:
    """Write a stored label to an open file, once its bytes are verified.

    Raises:
        LabelNotStored, LabelUnavailable: if it is not stored.
        ObjectNotFound: if it is not in the bucket any more.
        BrokenAnswer: if it is another file.
    """
    digest = hashlib.sha256(usedforsecurity=False)
    with tempfile.SpooledTemporaryFile(1024 * 1024) as whole:
        with services.bucket.get(need_stored(label)) as content:
            for chunk in content.chunks:
                digest.update(chunk)
                whole.write(chunk)
        if digest.hexdigest() != label.sha256:
            raise BrokenAnswer("The bucket holds another file than the stored label.")
        whole.seek(0)
        while chunk := whole.read(65536):
            file.write(chunk)


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces another once it is complete."""
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:  # Ctrl-C too: nothing is left behind
        with suppress(OSError):
            os.unlink(name)
        raise


def _want_due(transaction: Transaction, organization_id: str) -> int:
    row = transaction.execute(
        "SELECT count(*) FROM backmarket.labels WHERE organization_id = %s AND state = 'wanted' AND due_at <= now()",
        (organization_id,),
    ).fetchone()
    due = row[0] if row else 0
    if due:
        work.make_due(transaction, organization_id, "labels")
    return int(due)


# Labels that were given up start over; the others keep their number of tries.
_AGAIN = """
WITH asked AS (
    SELECT organization_id, resource, shipment_id FROM backmarket.labels
    WHERE organization_id = %(organization)s
"""

_THEN = """
    ORDER BY resource, shipment_id FOR UPDATE
)
UPDATE backmarket.labels AS l SET state = 'wanted', due_at = now(),
    tries = CASE WHEN l.state = 'wanted' THEN l.tries ELSE 0 END,
    error_code = NULL, error = NULL,
    object_key = NULL, size = NULL, sha256 = NULL, etag = NULL, content_type = NULL, stored_at = NULL
FROM asked WHERE l.organization_id = asked.organization_id AND l.resource = asked.resource
  AND l.shipment_id = asked.shipment_id
"""
