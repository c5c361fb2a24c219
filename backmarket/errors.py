"""All errors of this package, as one tree. The type of an error decides what happens next.

BackMarketError
├── TransientError              retry with growing, jittered pauses
│   ├── NetworkError            no answer: connection refused, cut, timed out
│   ├── ServerError             the API answered 5xx
│   ├── BrokenAnswer            the API answered 200 with a truncated or unexpected body
│   ├── NotAPdf                 a file that should be a PDF is something else, such as an error page
│   ├── IncompleteWalk          the list ended with fewer rows than its own count
│   ├── LabelNotStored          a label is not in the bucket yet; it is retried automatically
│   ├── BrokerUnavailable       the Redis that carries the messages is away
│   ├── LimiterUnavailable      Redis is away; no request is sent
│   ├── DatabaseUnavailable     PostgreSQL is away, full, or out of connections
│   │   └── StatementTimedOut   a statement took longer than it may
│   └── BucketUnavailable       the S3 server is away, or cannot take the work now
│       └── NotDeleted          it kept some of the objects to delete; the others are deleted
├── RateLimited                 429: every worker that uses the account pauses
├── FirewallBlocked             403 from the firewall in front of the API, not a bad key; pause
├── TerminalError               a retry is useless until a person acts
│   ├── Unauthorized            401: the API refuses the key
│   ├── NotAvailable            403: this account may not use this resource
│   ├── Forbidden               403: as NotAvailable, but this resource has worked before, or must work
│   ├── NotFound                404
│   ├── OriginRefused           a file's address, or its redirect, is not allowed; a setting can allow it
│   ├── HostRefused             a host other than the API's refused a file; it never saw the key
│   ├── LabelUnavailable        a label was given up; the text says why, and what would help
│   ├── TooLarge                a file is larger than allowed
│   ├── TaskFailed              the API aborted the task of a bulk file
│   ├── TaskVanished            the API no longer knows the task of a bulk file
│   ├── BulkStopped             parts of a bulk job are never sent
│   │   ├── BulkCancelled       a person cancelled it
│   │   ├── BulkTooOld          the file passed its maximum age
│   │   └── MarketLeft          the connection was changed to another market
│   ├── RequestRefused          any other 4xx, or a redirect
│   ├── ConnectionChanged       a write was queued for another market than the connection's
│   ├── Erased                  a write's order was erased, and the request with it
│   └── WriteRefused            a write ended without changing anything
├── UnknownOutcome              a write was sent and its answer was lost; read it back, never resend it blindly
├── LeaseLost                   another process took over the work; write nothing
├── Crashed                     an internal error; the log has its location, never its text
└── UsageError                  the caller must fix it; the text says how
    ├── SettingsError
    │   └── BucketRefused       the S3 server does not accept the keys, or they may not do this
    ├── ObjectNotFound          nothing in the bucket has this key
    ├── LabelNotFound           no label of this delivery or return is known
    ├── ConnectionNotFound
    ├── ConnectionDisabled
    ├── ApiKeyMissing
    ├── ConnectionUnauthorized
    ├── EndpointNotFound        no endpoint for events has this id
    ├── EnvironmentMismatch
    ├── IdempotencyConflict     this idempotency key belongs to another write
    ├── InvalidArgument
    ├── BulkFileRefused         lines of a bulk file are wrong; the faults say what to write; nothing was sent
    ├── BulkJobNotFound
    ├── NotStoredYet            the object to change is not stored: sync or fetch it first
    ├── NotUndecided            this write needs no decision by a person
    ├── SchemaDiffers           the database's tables belong to another version
    ├── SchemaMissing
    ├── WaitTimeout
    └── WriteNotFound           no write has this id

No error text ever contains a token, a name, an address, a phone number or an e-mail address.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, Protocol

ENV_PREFIX = "BACKMARKET_"
"""Prefix of the variables that settings come from, as errors name them."""


class BackMarketError(Exception):
    """Base class of the errors that this package raises on purpose.

    Args:
        message: one sentence for a person.
        status: the HTTP status that the API answered, if any.
        request_id: the API's `requestId`, for its support.
        cf_ray: Cloudflare's `cf-ray`, for its support.
    """

    code = "error"
    """A stable code for programs, stored in `sync_runs` and on the connection."""

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
    """Worth a retry after a pause."""

    code = "transient"


RequestDelivery = Literal["not_sent", "finished", "in_doubt"]
"""What happened to a request without an answer. `not_sent`: it was never sent. `finished`: the connection was cut, so
the request arrived before that or never will. `in_doubt`: its deadline passed, and it may still arrive."""


class NetworkError(TransientError):
    """No complete answer arrived.

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
    """The API answered 200 with a body that is truncated, not JSON, or of another shape."""

    code = "broken_answer"


class NotAPdf(TransientError):
    """A file is not a PDF, such as an error page with status 200; a later attempt may return the PDF."""

    code = "not_a_pdf"


class IncompleteWalk(TransientError):
    """A list ended with fewer distinct rows than its own count."""

    code = "incomplete_walk"


class LabelNotStored(TransientError):
    """A label is known but not in the bucket yet; a worker retries it automatically."""

    code = "label_not_stored"


class BrokerUnavailable(TransientError):
    """The Redis that carries the messages does not answer."""

    code = "broker_unavailable"


class LimiterUnavailable(TransientError):
    """Redis does not answer, so no request may be sent."""

    code = "limiter_unavailable"


class DatabaseUnavailable(TransientError):
    """PostgreSQL is unreachable, or cannot take the work now."""

    code = "database_unavailable"


class StatementTimedOut(DatabaseUnavailable):
    """PostgreSQL gave a statement up that took longer than it may."""


class BucketUnavailable(TransientError):
    """The S3 server is unreachable, or cannot take the work now."""

    code = "bucket_unavailable"


class NotDeleted(BucketUnavailable):
    """The S3 server deleted some objects, but not all.

    Args:
        message: what happened.
        keys: the keys of the objects that the server kept.
    """

    code = "not_deleted"

    def __init__(self, message: str, keys: Collection[str] = (), **marks: Any) -> None:
        super().__init__(message, **marks)
        self.keys = frozenset(keys)


class RateLimited(BackMarketError):
    """The API answered 429.

    Args:
        message: one sentence for a person.
        retry_after: seconds until the next request is allowed, if the API said so.
        by_api: the API itself answered, in JSON, not the firewall in front of it. If so, and the operation
            counts SKU lines, those lines are used up, not the requests.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None, by_api: bool = False, **marks: Any) -> None:
        super().__init__(message, **marks)
        self.retry_after = retry_after
        self.by_api = by_api


class FirewallBlocked(BackMarketError):
    """The firewall in front of the API refused the request; the key may be good."""

    code = "firewall_blocked"


class TerminalError(BackMarketError):
    """A retry is useless until a person acts."""

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
    """A file's origin, or the origin it redirects to, is not allowed; nothing was sent there."""

    code = "origin_refused"


class HostRefused(TerminalError):
    """A host other than the API's refused the request; this says nothing about the key."""

    code = "host_refused"


class LabelUnavailable(TerminalError):
    """A label was given up; the text says why."""

    code = "label_unavailable"


class TooLarge(TerminalError):
    """A file is larger than the setting allows."""

    code = "too_large"


class RequestRefused(TerminalError):
    """The API answered with another 4xx, or with a redirect, which is never followed."""

    code = "refused"


class TaskFailed(TerminalError):
    """The API aborted the task of a bulk file (action status 8)."""

    code = "task_failed"


class TaskVanished(TerminalError):
    """The API no longer knows the task of a bulk file that it had accepted."""

    code = "task_vanished"


class BulkStopped(TerminalError):
    """The rest of a bulk job is never sent."""

    code = "stopped"


class BulkCancelled(BulkStopped):
    """The bulk job was cancelled before this part was sent."""

    code = "cancelled"


class BulkTooOld(BulkStopped):
    """The file of a bulk job passed its maximum age before this part was sent."""

    code = "too_old"


class MarketLeft(BulkStopped):
    """The connection's region, environment or base URL differs from the one that the bulk job was meant for."""

    code = "market_left"


class ConnectionChanged(TerminalError):
    """A write was meant for another region, environment or base URL than the connection has now; it was not sent."""

    code = "connection_changed"


class Erased(TerminalError):
    """A write's order was erased, and the request with it."""

    code = "erased"


class WriteRefused(TerminalError):
    """A write ended without changing anything: the API refused it, or it cannot be sent any more.

    Args:
        message: one sentence for a person.
        reason: the code of the reason, such as `not_found` or `connection_changed`.
    """

    code = "write_refused"

    def __init__(self, message: str, *, reason: str = "refused", **marks: Any) -> None:
        super().__init__(message, **marks)
        self.reason = reason


class UnknownOutcome(BackMarketError):
    """A write was sent and its answer was lost: it may or may not have happened."""

    code = "unknown_outcome"


class LeaseLost(BackMarketError):
    """Another process took over the lease, or the connection changed; discard what was fetched."""

    code = "lease_lost"

    def __init__(
        self,
        message: str = "The lease was taken over, or the connection was changed. This process writes nothing more.",
    ) -> None:
        super().__init__(message)


class Crashed(BackMarketError):
    """An internal error. The log has its location; the original text may quote a customer's data and is dropped."""

    code = "crashed"

    @classmethod
    def of(cls, error: Exception) -> Crashed:
        """The internal error for an exception that no code expected."""
        return cls(f"Internal error, {type(error).__name__}. See the worker's log.")


class UsageError(BackMarketError):
    """The caller must fix it; the text says how."""

    code = "usage"


class SettingsError(UsageError):
    """A setting is missing or wrong."""

    code = "settings"


class BucketRefused(SettingsError):
    """The S3 server does not accept the keys, or they do not permit this; a retry is useless."""

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


class EndpointNotFound(UsageError):
    """No endpoint for events has this id."""

    code = "endpoint_not_found"


class EnvironmentMismatch(UsageError):
    """The given environment is not the connection's."""

    code = "environment_mismatch"


class IdempotencyConflict(UsageError):
    """Another write was queued with this idempotency key before."""

    code = "idempotency_conflict"


class InvalidArgument(UsageError):
    """An argument has an invalid value."""

    code = "invalid_argument"


class FileFault(Protocol):
    """One fault in a line of a bulk file; `backmarket.bulk.csv_file.faults.Fault` is one."""

    @property
    def line(self) -> int:
        """Where the record begins in the file, from 1."""

    @property
    def column(self) -> str | None:
        """The column's name as in the file; None: the fault concerns the whole line."""

    @property
    def letter(self) -> str | None:
        """The column as Excel names it, such as C; None: unknown."""

    @property
    def row(self) -> int | None:
        """The row as Excel numbers it; None: the same as `line`."""

    @property
    def place_in_row(self) -> str:
        """The column, as Excel shows it: `column C (price)`; empty: the whole row."""

    @property
    def value(self) -> str | None:
        """The cell's value, truncated; None if it may be personal data."""

    @property
    def problem(self) -> str:
        """What is wrong."""

    @property
    def expected(self) -> str:
        """What to write instead."""


class BulkFileRefused(UsageError):
    """Lines of a bulk file are wrong; nothing was stored or sent.

    Args:
        message: one sentence for a person.
        faults: the faults, by line; at most 10,000.
        count: number of all faults.
    """

    code = "bulk_file_refused"

    def __init__(self, message: str, faults: Sequence[FileFault] = (), count: int | None = None, **marks: Any) -> None:
        super().__init__(message, **marks)
        self.faults = tuple(faults)
        self.count = len(self.faults) if count is None else count


class BulkJobNotFound(UsageError):
    """No bulk job of this organization has this id, or the job has no part with this number."""

    code = "bulk_job_not_found"


class NotStoredYet(UsageError):
    """The object to change is not stored, so the change cannot be checked."""

    code = "not_stored_yet"


class NotUndecided(UsageError):
    """A write that needs no decision by a person: it continues automatically, or has ended."""

    code = "not_undecided"


class SchemaDiffers(UsageError):
    """The database's tables belong to an older or a newer version."""

    code = "schema_differs"


class SchemaMissing(UsageError):
    """The database lacks our schema or has an older one."""

    code = "schema_missing"


class WriteNotFound(UsageError):
    """No write of this organization has this id, or its retention is over."""

    code = "write_not_found"


class WaitTimeout(UsageError):
    """The awaited work did not end in time; it continues without the caller."""

    code = "wait_timeout"


def error_for(code: str, message: str, **marks: Any) -> BackMarketError:
    """Rebuild an error that was stored as a code and a text, such as in `sync_runs`.

    Args:
        code: the code of one of these classes; any other gives a plain `BackMarketError`.
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
