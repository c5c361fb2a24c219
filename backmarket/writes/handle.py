"""The caller's handle of a queued write: how it ended, or why it has not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backmarket.connections import check_usable, get
from backmarket.database import Database
from backmarket.errors import UnknownOutcome, UsageError, WriteNotFound, WriteRefused
from backmarket.work.wait import Poll, poll, wait_for
from backmarket.writes import rows
from backmarket.writes.models import ConfirmedBy, Write, WriteState


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """A write that succeeded.

    Attributes:
        confirmed_by: `answer`: the API confirmed it. `reading_back`: the answer was lost, but the change is there.
            `person`: a person confirmed it.
        requests: number of requests sent; more than 1: the earlier ones certainly did not arrive.
        settled_at: when the outcome was known.
    """

    write_id: int
    confirmed_by: ConfirmedBy
    requests: int
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class WriteHandle:
    """A queued write. A worker sends it; waiting is optional.

    Attributes:
        id: the write's id.
        nudged: a nudge was sent; False: the broker is away, and the dispatcher nudges a worker later.
    """

    organization_id: str
    id: int
    nudged: bool
    _database: Database = field(repr=False)

    def write(self) -> Write:
        """The write as it is now.

        Raises:
            ConnectionNotFound: if the connection was removed, and the write with it.
            WriteNotFound: if its retention is over.
        """
        found = rows.get(self._database, self.organization_id, self.id)
        if found is not None:
            return found
        get(self._database, self.organization_id)
        raise WriteNotFound(f"Write {self.id} is no longer stored, as it ended long ago.")

    def done(self) -> WriteOutcome | None:
        """How the write ended; None: it is still open, and continues without the caller.

        Raises:
            WriteRefused: if the API refused it, or it cannot be sent any more; nothing was changed.
            UnknownOutcome: if it may have happened, and a person has to look; the text says what is known.
            ConnectionNotFound, WriteNotFound: see `write`.
        """
        return _outcome(self.write())

    def wait(self, timeout: float = 60.0) -> WriteOutcome:
        """Wait until the write has ended.

        Args:
            timeout: seconds.

        Raises:
            WaitTimeout: if it has not ended in time; it continues. The text says what it waits for.
            WriteRefused, UnknownOutcome, ConnectionNotFound, WriteNotFound: see `done`.
        """
        return wait_for(self.poll(timeout))

    def poll(self, timeout: float = 60.0) -> Poll[WriteOutcome]:
        """`wait` read by read, for an event loop: yields the seconds to pause, and returns the outcome."""
        return poll(
            self.done, timeout, lambda: f"{_why_not_done(self._database, self.write())} (Waited {timeout:g} s.)"
        )


def _outcome(write: Write) -> WriteOutcome | None:
    marks: dict[str, Any] = {
        "status": write.error_status,
        "request_id": write.error_request_id,
        "cf_ray": write.error_cf_ray,
    }
    if write.state is WriteState.SUCCEEDED and write.settled_at is not None:
        return WriteOutcome(write.id, write.confirmed_by or "answer", write.sent, write.settled_at)
    if write.state is WriteState.REFUSED:
        text = f"Write {write.id} was refused: {write.error}"
        raise WriteRefused(text, reason=write.error_code or "refused", **marks)
    if write.undecided:
        raise UnknownOutcome(f"The outcome of write {write.id} is unknown: {write.error}", **marks)
    return None


def _why_not_done(database: Database, write: Write) -> str:
    """What an open write waits for."""
    try:
        check_usable(get(database, write.organization_id))
    except UsageError as error:
        return f"The write is kept, and waits: {error.message}"
    with database.transaction() as transaction:
        before = rows.select(transaction, write.organization_id, write.behind) if write.behind else None
        sender = rows.sender(transaction, write.organization_id)
    if before is not None:
        return _held_back_by(before)
    return _being_sent(write) or _not_sent_because(sender)


def _being_sent(write: Write) -> str:
    if write.state is not WriteState.PENDING:
        return f"{write.error or 'The write was sent, and has no answer yet.'} {_read_back(write)}"
    return f"The write was not sent yet: {write.error} {_again(write.due_at)}" if write.error else ""


def _not_sent_because(sender: rows.Sender) -> str:
    if sender.running:
        return "A worker is sending the writes of this organization; this one follows."
    if sender.paused:
        return (
            "The write waits: the requests of its account are used up for now, Redis is unreachable, or the API's"
            f" firewall refused another one; the worker's log says which. {_again(sender.due_at)}"
        )
    return (
        "No worker has claimed the write. Is a worker with the queue 'writes' running, and does it use the same"
        " broker? The write is kept."
    )


def _held_back_by(before: Write) -> str:
    if before.undecided:
        return (
            f"The write waits for write {before.id} of the same object, whose outcome is unknown:"
            f" {before.error} Settle it (`settle_write`, `backmarket writes settle`) or send it again"
            " (`retry_write`, `backmarket writes retry`)."
        )
    return f"The write waits for write {before.id} of the same object, which was submitted before it."


def _read_back(write: Write) -> str:
    return (
        f"A worker reads it back after {write.settle_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
        if write.settle_at
        else ""
    )


def _again(at: datetime | None) -> str:
    return f"A worker tries again after {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC." if at else ""
