"""The models of writes: the request, its progress and its next states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from backmarket.errors import BackMarketError, InvalidArgument

WriteKind = Literal["update_order", "update_orderline", "update_listing", "upload_order_invoice"]
KINDS: tuple[WriteKind, ...] = ("update_order", "update_orderline", "update_listing", "upload_order_invoice")

ConfirmedBy = Literal["answer", "reading_back", "person"]


class WriteState(StrEnum):
    """The progress of a write; see the table `api_writes`."""

    PENDING = "pending"
    SENDING = "sending"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_OPEN = frozenset({WriteState.PENDING, WriteState.SENDING, WriteState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A change to be made at Back Market. Its `repr` shows no personal data.

    Attributes:
        id: the write's id; within one organization, ids rise in the order of the calls.
        kind: the kind of change.
        object_id: the order's, the order line's or the listing's id.
        lane: writes of one lane are sent one after the other.
        request: the arguments, by our names; empty once its order was erased.
        locale: the market that prices and texts belong to.
        environment: the connection's when the write was queued; so are `region` and `base_url`.
        idempotency_key: the caller's own name for it.
        fingerprint: a hash of the request; None once its order was erased.
        object_key: of an invoice: its file in the bucket.
        state: its progress.
        prior: values before it was sent, as far as they are known.
        due_at: when a worker looks at it again, while it is open; None: a person has to decide.
        settle_at: from when reading back is reliable.
        sent: number of requests sent.
        tries: number of failed attempts in a row.
        error_code: why it was refused, or is not over yet; a code for programs.
        error: the same as a sentence.
        error_status: HTTP status that the API answered.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
        created_at: when it was queued.
        sent_at: when it was sent last.
        settled_at: when it ended.
        confirmed_by: if it succeeded: how that is known.
        behind: if it is open: the first open write of its lane, which holds it back; None: none does.
        decidable: whether a person could settle it when the row was read.
        asked_by: who asked for it and how that was proved, such as `anna (console login)`; None: before version 5 of
            the schema.
        sku: of the listing or the line that it changes, or of the lines of the parcel; None: it is not stored.
    """

    organization_id: str
    id: int
    kind: WriteKind
    object_id: str
    lane: str
    request: dict[str, Any] = field(repr=False)
    locale: str
    environment: str
    region: str
    base_url: str | None
    idempotency_key: str | None
    fingerprint: str | None = field(repr=False)
    object_key: str | None
    state: WriteState
    prior: dict[str, Any] | None = field(repr=False)
    due_at: datetime | None
    settle_at: datetime | None
    sent: int
    tries: int
    error_code: str | None
    error: str | None
    error_status: int | None
    error_request_id: str | None
    error_cf_ray: str | None
    created_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    confirmed_by: ConfirmedBy | None
    behind: int | None
    decidable: bool
    asked_by: str | None = None
    sku: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", WriteState(self.state))

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in _OPEN

    @property
    def undecided(self) -> bool:
        """Whether it waits for a person's decision."""
        return self.open and self.due_at is None


@dataclass(frozen=True, slots=True)
class NewWrite:
    """A write to insert; see `Write`."""

    organization_id: str
    kind: str
    object_id: str
    lane: str
    request: dict[str, Any] = field(repr=False)
    locale: str
    environment: str
    region: str
    base_url: str | None
    idempotency_key: str | None
    fingerprint: str
    object_key: str | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state of a write.

    Args:
        state: the next state.
        pause: seconds until a worker looks at it again, if it stays open; None: a person has to. A worker never looks
            at an unknown write before `settle_at`.
        error: why it is not over, or was refused.
        confirmed_by: if it succeeded: how that is known.
        unsent: the request never left; it does not count.
        waits: it only waits for its turn; that is no failed try.
    """

    state: WriteState
    pause: float | None = 0.0
    error: BackMarketError | None = None
    confirmed_by: ConfirmedBy | None = None
    unsent: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class WriteFilter:
    """A filter of writes; None does not restrict.

    Args:
        state: the writes' state.
        kind: the writes' kind.
        object_id: id of the order, order line or listing.
        lanes: any of these lanes.
    """

    state: WriteState | None = None
    kind: WriteKind | None = None
    object_id: str | None = None
    lanes: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, state: str | None, kind: str | None, object_id: object, lanes: tuple[str, ...] | None = None
    ) -> WriteFilter:
        """The filter for a caller's arguments.

        Raises:
            InvalidArgument: if there is no such state or kind.
        """
        if state is not None and state not in set(WriteState):
            raise InvalidArgument(f"There is no state {str(state)!r}. Choose one of {', '.join(WriteState)}.")
        known = next((each for each in KINDS if each == kind), None)
        if kind is not None and known is None:
            raise InvalidArgument(f"There is no kind {kind!r}. Choose one of {', '.join(KINDS)}.")
        return cls(WriteState(state) if state else None, known, None if object_id is None else str(object_id), lanes)
