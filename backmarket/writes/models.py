"""What a write is: what was asked for, how far it is, and what may become of it."""

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
    """How far a write is; see the table `api_writes`."""

    PENDING = "pending"
    SENDING = "sending"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_OPEN = frozenset({WriteState.PENDING, WriteState.SENDING, WriteState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A change that was asked for at Back Market. Its `repr` shows nothing personal.

    Attributes:
        organization_id: whose.
        id: names it; those of one organization rise with the order in which they were asked for.
        kind: what is changed.
        object_id: the order's, the order line's or the listing's id.
        lane: writes of one lane are sent one after the other.
        request: what was asked for, by our names of the arguments; empty once its order was erased.
        locale: the market that prices and texts belong to.
        environment: that it was meant for; so are `region` and `base_url`.
        idempotency_key: the caller's own name for it.
        fingerprint: a hash of what was asked for; None once its order was erased.
        object_key: of an invoice, the file in the bucket.
        state: how far it is.
        prior: values before it was sent, as far as they are known.
        due_at: when it is looked at again, while it is open; None: a person has to decide.
        settle_at: from when reading back tells the truth.
        sent: requests that were sent.
        tries: in a row that came to no end.
        error_code: why it was refused, or is not over yet; a word for programs.
        error: the same as a sentence.
        error_status: HTTP status that the API answered.
        error_request_id: for Back Market's support.
        error_cf_ray: the same.
        created_at: when it was asked for.
        sent_at: when it was sent last.
        settled_at: when it came to an end.
        confirmed_by: of one that succeeded: how that is known.
        behind: of an open one: the first open write of its lane, which holds it back; None: nothing does.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", WriteState(self.state))

    @property
    def open(self) -> bool:
        """Whether it has not come to an end."""
        return self.state in _OPEN

    @property
    def undecided(self) -> bool:
        """Whether it waits for a person."""
        return self.open and self.due_at is None


@dataclass(frozen=True, slots=True)
class NewWrite:
    """What is asked for; see `Write`."""

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


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state of a write.

    Args:
        state: its next one.
        pause: seconds until it is looked at again, if it stays open; None: a person has to. What is unknown is never
            looked at before `settle_at`.
        error: why it is not over, or was refused.
        confirmed_by: of one that succeeded.
        unsent: the request never left; it does not count.
    """

    state: WriteState
    pause: float | None = 0.0
    error: BackMarketError | None = None
    confirmed_by: ConfirmedBy | None = None
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class WriteFilter:
    """Which writes; what is None does not restrict.

    Args:
        state: how far they are.
        kind: what they change.
        object_id: of this order, order line or listing.
        lanes: in one of these.
    """

    state: WriteState | None = None
    kind: WriteKind | None = None
    object_id: str | None = None
    lanes: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, state: str | None, kind: str | None, object_id: object, lanes: tuple[str, ...] | None = None
    ) -> WriteFilter:
        """What a caller asks for.

        Raises:
            InvalidArgument: there is no such state or kind.
        """
        if state is not None and state not in set(WriteState):
            raise InvalidArgument(f"There is no state {str(state)!r}: there are {', '.join(WriteState)}.")
        known = next((each for each in KINDS if each == kind), None)
        if kind is not None and known is None:
            raise InvalidArgument(f"There is no kind {kind!r}: there are {', '.join(KINDS)}.")
        return cls(WriteState(state) if state else None, known, None if object_id is None else str(object_id), lanes)
