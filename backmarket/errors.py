"""What can go wrong, as one tree: the type of an error decides what happens next.

BackMarketError
├── TransientError              try again, with a growing and jittered pause
│   ├── NetworkError            no answer: connection refused, cut, timed out
│   ├── ServerError             the API answered 5xx
│   ├── BrokenAnswer            the API answered 200 and the body is cut or is not what it should be
│   ├── NotAPdf                 a file that should be a PDF is something else, such as an error page
│   ├── IncompleteWalk          the list ended before every row that it counted was seen
│   ├── LabelNotStored          a label is not in the bucket yet; it is tried by itself
│   ├── BrokerUnavailable       the Redis that carries the messages is away
│   ├── LimiterUnavailable      Redis is away; nothing is sent on a guess
│   ├── DatabaseUnavailable     PostgreSQL is away, full, or out of connections
│   └── BucketUnavailable       the S3 server is away, or can't take the work now
├── RateLimited                 429: everybody who shares the account pauses
├── FirewallBlocked             403 from the firewall in front of the API, not a bad token; pause
├── TerminalError               trying again changes nothing until somebody acts
│   ├── Unauthorized            401: the API refuses the key
│   ├── NotAvailable            403: this account may not use this resource
│   ├── Forbidden               403: as NotAvailable, but this resource has worked before, or must work
│   ├── NotFound                404
│   ├── OriginRefused           a file's address, or where it leads, may not be asked; a setting can allow it
│   ├── HostRefused             a host that is not the API's refused to give a file; it never saw the key
│   ├── LabelUnavailable        a label was given up; the text says why, and what would help
│   ├── TooLarge                a file has more bytes than it may have
│   ├── TaskFailed              the API broke the task of a bulk file off
│   ├── TaskVanished            the API no longer knows the task of a bulk file
│   ├── BulkStopped             parts of a bulk job are never sent
│   │   ├── BulkCancelled       somebody cancelled it
│   │   ├── BulkTooOld          the file became too old to be true
│   │   └── MarketLeft          the connection was changed to another market
│   ├── RequestRefused          any other 4xx, or a redirect
│   ├── ConnectionChanged       a write was meant for another market than the connection's
│   └── WriteRefused            a write that came to its end without having changed anything
├── UnknownOutcome              a write was sent and its answer was lost; read back, never resend
├── LeaseLost                   another process took the work over; write nothing
├── Crashed                     a fault of ours; the log has its place, never its text
└── UsageError                  the caller's to put right; the text says how
    ├── SettingsError
    │   └── BucketRefused       the S3 server does not accept the keys, or they may not do this
    ├── ObjectNotFound          nothing in the bucket has this key
    ├── LabelNotFound           no label of this delivery or return is known
    ├── ConnectionNotFound
    ├── ConnectionDisabled
    ├── ApiKeyMissing
    ├── ConnectionUnauthorized
    ├── EnvironmentMismatch
    ├── IdempotencyConflict     this idempotency key names another write
    ├── InvalidArgument
    ├── BulkFileRefused         lines of a bulk file are wrong, each with what is expected; nothing was sent
    ├── BulkJobNotFound
    ├── NotStoredYet            what is to be changed is not stored: sync or fetch it first
    ├── NotUndecided            this write is not a person's to decide
    ├── SchemaDiffers           the database's tables are those of another version
    ├── SchemaMissing
    ├── WaitTimeout
    └── WriteNotFound           no write has this id

No text in here ever carries a token, a name, an address, a phone number or an e-mail address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol


class BackMarketError(Exception):
    """Any error that this package raises on purpose.

    Args:
        message: one sentence for a person.
        status: the HTTP status that the API answered, if it answered.
        request_id: the API's `requestId`, for its support.
        cf_ray: Cloudflare's `cf-ray`, for its support.
    """

    code = "error"
    """A stable word for programs, kept in `sync_runs` and on the connection."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        cf_ray: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.cf_ray = cf_ray

    def __str__(self) -> str:
        marks = [
            f"{name} {value}"
            for name, value in (
                ("status", self.status),
                ("requestId", self.request_id),
                ("cf-ray", self.cf_ray),
            )
            if value is not None
        ]
        return f"{self.message} ({', '.join(marks)})" if marks else self.message


class TransientError(BackMarketError):
    """Worth trying again after a pause."""

    code = "transient"


RequestDelivery = Literal["not_sent", "finished", "in_doubt"]
"""Whether a request without an answer reached the API: it was not sent; the connection was cut, so that it arrived
before or never will; or its deadline passed, and it may still arrive."""


class NetworkError(TransientError):
    """No whole answer came.

    Args:
        message: one sentence for a person.
        delivery: what is known of the request; see `RequestDelivery`.
    """

    code = "network"

    def __init__(self, message: str, *, delivery: RequestDelivery = "in_doubt", **marks: Any) -> None:
        super().__init__(message, **marks)
        self.delivery = delivery


class ServerError(TransientError):
    """The API answered 5xx."""

    code = "server_error"


class BrokenAnswer(TransientError):
    """The API answered 200 with a body that is cut, is not JSON, or has another shape."""

    code = "broken_answer"


class NotAPdf(TransientError):
    """A file came that is not a PDF, such as an error page with status 200; the PDF may come another time."""

    code = "not_a_pdf"


class IncompleteWalk(TransientError):
    """A list ended before as many distinct rows were seen as it had counted."""

    code = "incomplete_walk"


class LabelNotStored(TransientError):
    """A label is known, and is not in the bucket yet; it is tried by itself."""

    code = "label_not_stored"


class BrokerUnavailable(TransientError):
    """The Redis that carries the messages can't be asked."""

    code = "broker_unavailable"


class LimiterUnavailable(TransientError):
    """Redis can't be asked, so no request may be sent."""

    code = "limiter_unavailable"


class DatabaseUnavailable(TransientError):
    """PostgreSQL can't be reached, or can't take the work now."""

    code = "database_unavailable"


class BucketUnavailable(TransientError):
    """The S3 server can't be reached, or can't take the work now."""

    code = "bucket_unavailable"


class RateLimited(BackMarketError):
    """The API answered 429.

    Args:
        message: one sentence for a person.
        retry_after: seconds until the API may be asked again, where it said so.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None, **marks: Any) -> None:
        super().__init__(message, **marks)
        self.retry_after = retry_after


class FirewallBlocked(BackMarketError):
    """The firewall in front of the API refused the request; the key may be good."""

    code = "firewall_blocked"


class TerminalError(BackMarketError):
    """Trying again changes nothing until somebody acts."""

    code = "refused"


class Unauthorized(TerminalError):
    """The API answered 401: it does not accept the key."""

    code = "unauthorized"


class NotAvailable(TerminalError):
    """The API answered 403 without the firewall's marks: not for this account."""

    code = "not_available"


class Forbidden(TerminalError):
    """The API answered 403 without the firewall's marks for a resource that has worked before, or for orders."""

    code = "forbidden"


class NotFound(TerminalError):
    """The API answered 404."""

    code = "not_found"


class OriginRefused(TerminalError):
    """A file is at an origin that may not be asked, or leads to one; nothing was sent there."""

    code = "origin_refused"


class HostRefused(TerminalError):
    """A host other than the API's answered a status that refuses; it says nothing about the key."""

    code = "host_refused"


class LabelUnavailable(TerminalError):
    """A label was given up; the text says why."""

    code = "label_unavailable"


class TooLarge(TerminalError):
    """A file has more bytes than the setting allows."""

    code = "too_large"


class RequestRefused(TerminalError):
    """The API answered with another 4xx, or with a redirect, which is never followed."""

    code = "refused"


class TaskFailed(TerminalError):
    """The API broke the task of a bulk file off (action status 8)."""

    code = "task_failed"


class TaskVanished(TerminalError):
    """The API no longer knows the task of a bulk file that it had accepted."""

    code = "task_vanished"


class BulkStopped(TerminalError):
    """What is left of a bulk job is never sent."""

    code = "stopped"


class BulkCancelled(BulkStopped):
    """Somebody cancelled the bulk job before this was sent."""

    code = "cancelled"


class BulkTooOld(BulkStopped):
    """The file of a bulk job became older than it may be before this was sent."""

    code = "too_old"


class MarketLeft(BulkStopped):
    """The connection's region, environment or base URL is another than the bulk job was meant for."""

    code = "market_left"


class ConnectionChanged(TerminalError):
    """A write was meant for another region, environment or base URL than the connection has now; it was not sent."""

    code = "connection_changed"


class WriteRefused(TerminalError):
    """A write came to its end without having changed anything: the API said no, or it can't be sent any more.

    Args:
        message: one sentence for a person.
        reason: the code of what refused it, such as `not_found` or `connection_changed`.
    """

    code = "write_refused"

    def __init__(self, message: str, *, reason: str = "refused", **marks: Any) -> None:
        super().__init__(message, **marks)
        self.reason = reason


class UnknownOutcome(BackMarketError):
    """A write was sent and its answer was lost: it may or may not have happened."""

    code = "unknown_outcome"


class LeaseLost(BackMarketError):
    """The lease was taken over, or the connection changed; what was fetched is void."""

    code = "lease_lost"

    def __init__(
        self, message: str = "The lease was taken over, or the connection was changed: nothing more is written."
    ) -> None:
        super().__init__(message)


class Crashed(BackMarketError):
    """A fault of ours. The log says where; the original text may quote a customer's data and goes nowhere."""

    code = "crashed"


class UsageError(BackMarketError):
    """The caller's to put right; the text says how."""

    code = "usage"


class SettingsError(UsageError):
    """A setting is missing or wrong."""

    code = "settings"


class BucketRefused(SettingsError):
    """The S3 server does not accept the keys, or they may not do this; trying again changes nothing."""

    code = "bucket_refused"


class ObjectNotFound(UsageError):
    """Nothing in the bucket has this key."""

    code = "object_not_found"


class LabelNotFound(UsageError):
    """No label of this delivery or return is known."""

    code = "label_not_found"


class ConnectionNotFound(UsageError):
    """No connection has this organization id."""

    code = "connection_not_found"


class ConnectionDisabled(UsageError):
    """The connection was disabled."""

    code = "connection_disabled"


class ApiKeyMissing(UsageError):
    """The connection's key was cleared."""

    code = "api_key_missing"


class ConnectionUnauthorized(UsageError):
    """The API refused the connection's key, and it has not changed since."""

    code = "connection_unauthorized"


class EnvironmentMismatch(UsageError):
    """Another environment was named than the connection's."""

    code = "environment_mismatch"


class IdempotencyConflict(UsageError):
    """A write with this idempotency key was asked for before, and is another one."""

    code = "idempotency_conflict"


class InvalidArgument(UsageError):
    """An argument has a value that can't be meant."""

    code = "invalid_argument"


class FileFault(Protocol):
    """What is wrong with a line of a bulk file; `backmarket.bulk.csv_file.faults.Fault` is one."""

    @property
    def line(self) -> int:
        """Where the record begins in the file, from 1."""

    @property
    def column(self) -> str | None:
        """Its name, as the file has it; None: it is the line's as a whole."""

    @property
    def letter(self) -> str | None:
        """The column as Excel names it, such as C; None: not known."""

    @property
    def row(self) -> int | None:
        """The row as Excel numbers it; None: that of `line`."""

    @property
    def place_in_row(self) -> str:
        """The column, as Excel shows it: `column C (price)`; empty: the whole row."""

    @property
    def value(self) -> str | None:
        """What stands there, cut; None where it may be personal."""

    @property
    def problem(self) -> str:
        """What is wrong with it."""

    @property
    def expected(self) -> str:
        """What to write instead."""


class BulkFileRefused(UsageError):
    """Lines of a bulk file are wrong; nothing of it was stored or sent.

    Args:
        message: one sentence for a person.
        faults: what is wrong, by line; not more than 10,000 of them.
        count: how many there are in all.
    """

    code = "bulk_file_refused"

    def __init__(self, message: str, faults: Sequence[FileFault] = (), count: int | None = None, **marks: Any) -> None:
        super().__init__(message, **marks)
        self.faults = tuple(faults)
        self.count = len(self.faults) if count is None else count


class BulkJobNotFound(UsageError):
    """No bulk job of this organization has this id, or no part of it this number."""

    code = "bulk_job_not_found"


class NotStoredYet(UsageError):
    """What is to be changed is not stored, so what is asked for can't be checked."""

    code = "not_stored_yet"


class NotUndecided(UsageError):
    """A write that a person has nothing to decide about: it goes on by itself, or came to its end."""

    code = "not_undecided"


class SchemaDiffers(UsageError):
    """The database's tables are those of an older or a newer version."""

    code = "schema_differs"


class SchemaMissing(UsageError):
    """The database lacks our schema or has an older one."""

    code = "schema_missing"


class WriteNotFound(UsageError):
    """No write of this organization has this id, or its retention is over."""

    code = "write_not_found"


class WaitTimeout(UsageError):
    """What was waited for did not end in time; it goes on by itself."""

    code = "wait_timeout"


def error_for(code: str, message: str, **marks: Any) -> BackMarketError:
    """The error that was written down as a code and a text, such as in `sync_runs`.

    Args:
        code: of one of the classes here; another gives a plain `BackMarketError`.
        message: its text.
        **marks: `request_id` and `cf_ray`.
    """
    return _BY_CODE.get(code, BackMarketError)(message, **marks)


def _tree(root: type[BackMarketError]) -> dict[str, type[BackMarketError]]:
    found = {root.code: root}
    for branch in root.__subclasses__():
        found |= _tree(branch)
    return found


_BY_CODE = _tree(BackMarketError)
