"""The models of bulk jobs, their parts and their lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from backmarket.errors import BackMarketError


class JobState(StrEnum):
    """The progress of a job; see the table `bulk_jobs`."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_FOR_QUOTA = "waiting_for_quota"
    DONE = "done"
    DONE_WITH_ERRORS = "done_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PartState(StrEnum):
    """The progress of a part; see the table `bulk_parts`."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """The outcome of a line; `unchanged` and `bad` lines are in no part."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    UNCHANGED = "unchanged"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """The outcome of a line.

    Attributes:
        line: its number in the seller's file.
        outcome: in one word; `open` while it is unknown.
        message: why the line is not done; empty if it is.
    """

    line: int
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A bulk job.

    Attributes:
        id: the job's id.
        state: its progress.
        file_name: the seller's name of the file.
        locale: the market that prices and texts belong to.
        environment: the connection's when the job was submitted.
        header: of lines.csv, with its line end.
        lines: number of listing lines in the seller's file.
        bad_lines: number of those left out because they are wrong.
        unchanged_lines: number of those left out because they change nothing.
        parts: number of parts.
        lines_pending: number of lines not sent yet that still will be.
        lines_submitted: number of lines sent whose outcome is not known yet.
        lines_done: number of lines that Back Market processed.
        lines_failed: number of lines that it refused.
        lines_unknown: number of lines whose outcome a person has to find out.
        lines_not_sent: number of lines that never will be sent: cancelled, too old, or after a refusal.
        idempotency_key: the caller's own name for it.
        expires_at: lines not sent by then never are.
        cancelled_at: when it was cancelled.
        waits_until: until when it waits for the quota, as far as known.
        error_code: why it failed, was cancelled, or does not continue now; a code for programs.
        error: the same as a sentence.
        created_at: when it was submitted.
        started_at: when its first part was sent.
        ended_at: when the outcome of every line was known, or left to a person.
        reported_at: when its report was written; None: not yet.
        report_error: why its report could not be written so far.
        asked_by: who submitted it and how that was proved, such as `anna (console login)`; None: before version 5 of
            the schema.
    """

    organization_id: str
    id: int
    state: JobState
    file_name: str | None
    locale: str
    environment: str
    header: str = field(repr=False)
    lines: int
    bad_lines: int
    unchanged_lines: int
    parts: int
    lines_pending: int
    lines_submitted: int
    lines_done: int
    lines_failed: int
    lines_unknown: int
    lines_not_sent: int
    idempotency_key: str | None
    expires_at: datetime | None
    cancelled_at: datetime | None
    waits_until: datetime | None
    error_code: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reported_at: datetime | None
    report_error: str | None
    asked_by: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", JobState(self.state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a job.

    Attributes:
        number: from 1.
        state: its progress.
        byte_offset: where its lines begin in lines.csv.
        byte_length: of its lines.
        lines: number of lines.
        line_numbers: of its lines in the seller's file, in their order.
        due_at: when a worker looks at it again, while it is open; None: a person has to decide.
        sent: number of times that it was sent.
        tries: number of failed attempts in a row.
        arrived: Back Market certainly has it.
        task_id: of Back Market's task.
        task_status: the task's status when last polled.
        sent_at: when it was sent last.
        submitted_at: when Back Market accepted it.
        sent_seconds: seconds since `sent_at` when the row was read, by PostgreSQL's clock, as all that follow.
        submitted_seconds: seconds since `submitted_at`.
        unexplained_seconds: for how long the task's status has been undocumented; None: it is documented.
        missing_seconds: for how long the API has not known the task; None: it knows it.
        prior: its listings before it was sent, by line number; missing ones are unknown.
        unread: lines to read back; None: reading back has not begun.
        readings: the results of reading back so far, by line number.
        read_page: the next page of the listings, while they are read by pages; None: one by one.
        looks: number of complete readings.
        outcomes: lines whose outcome differs from what the state says, by line number.
        error_code: why it is not done; a code for programs.
        error: the same as a sentence.
        error_status: HTTP status that the API answered.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
    """

    organization_id: str
    job_id: int
    number: int
    state: PartState
    byte_offset: int
    byte_length: int
    lines: int
    line_numbers: list[int] = field(repr=False)
    due_at: datetime | None
    sent: int
    tries: int
    arrived: bool
    task_id: str | None
    task_status: int | None
    sent_at: datetime | None
    submitted_at: datetime | None
    sent_seconds: float | None
    submitted_seconds: float | None
    unexplained_seconds: float | None
    missing_seconds: float | None
    prior: dict[str, Any] | None = field(repr=False)
    unread: list[int] | None = field(repr=False)
    readings: dict[str, str] | None = field(repr=False)
    read_page: int | None
    looks: int
    outcomes: dict[str, Any] = field(repr=False)
    error_code: str | None
    error: str | None
    error_status: int | None
    error_request_id: str | None
    error_cf_ray: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PartState(self.state))

    def is_decidable(self, *, deadline: float, hangs_after: float) -> bool:
        """Whether a person may settle it: its outcome can no longer change by itself.

        Args:
            deadline: seconds since it was sent after which its request can no longer arrive.
            hangs_after: seconds since it was accepted after which its task counts as hanging.
        """
        match self.state:
            case PartState.UNKNOWN if self.due_at is None:
                return True
            case PartState.SUBMITTING | PartState.UNKNOWN:
                return (self.sent_seconds or 0.0) >= deadline
            case PartState.SUBMITTED:
                return (self.submitted_seconds or 0.0) >= hangs_after
        return False

    def line_outcomes(self) -> Iterator[LineOutcome]:
        """The outcome of each of its lines, in the order of lines.csv."""
        default = OF_A_LINE[self.state]
        message = "" if default in {Outcome.DONE, Outcome.OPEN} else self.error or ""
        for line in self.line_numbers:
            known = self.outcomes.get(str(line))
            yield LineOutcome(line, Outcome(known[0]), known[1]) if known else LineOutcome(line, default, message)


OF_A_LINE = {
    PartState.PENDING: Outcome.OPEN,
    PartState.SUBMITTING: Outcome.OPEN,
    PartState.SUBMITTED: Outcome.OPEN,
    PartState.DONE: Outcome.DONE,
    PartState.FAILED: Outcome.FAILED,
    PartState.UNKNOWN: Outcome.UNKNOWN,
    PartState.CANCELLED: Outcome.NOT_SENT,
}


class NewPart(Protocol):
    """A part to send, from `csv_file.parts`."""

    @property
    def offset(self) -> int:
        """Where its lines begin in lines.csv, in bytes."""

    @property
    def length(self) -> int:
        """Their length in bytes."""

    @property
    def line_numbers(self) -> Sequence[int]:
        """The numbers of its lines in the seller's file."""

    @property
    def sku_hashes(self) -> Sequence[int]:
        """Of the SKUs of its lines."""


BY_LINE = {Outcome.DONE: "lines_done", Outcome.FAILED: "lines_failed", Outcome.UNKNOWN: "lines_unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The next state of a part that was sent.

    Args:
        state: the next state.
        pause: seconds until a worker looks at it again; None: never.
        error: why it is not done, or not over.
        outcomes: lines whose outcome differs from what the state says.
        arrived: Back Market certainly has it now.
        unread: lines to read back.
        looked: all lines were read back.
    """

    state: PartState
    pause: float | None = None
    error: BackMarketError | None = None
    outcomes: Mapping[int, LineOutcome] = field(default_factory=dict)
    arrived: bool = False
    unread: Sequence[int] | None = None
    looked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to insert; see `Job` and the table `bulk_jobs`."""

    organization_id: str
    id: int
    object_prefix: str
    file_name: str | None
    locale: str
    environment: str
    region: str
    base_url: str | None
    header: str = field(repr=False)
    lines: int
    bad_lines: int
    unchanged_lines: int
    idempotency_key: str | None
    fingerprint: str
    max_age: float | None
    error: BackMarketError | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The part to send next, and its job."""

    part: Part
    job: Job


@dataclass(frozen=True, slots=True)
class StoredListings:
    """Listings as the latest sync left them.

    Attributes:
        locale: the market of their prices and texts.
        listings: the API's objects, by the requested SKUs.
    """

    locale: str
    listings: dict[str, dict[str, Any]] = field(repr=False)
