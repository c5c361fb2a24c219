"""Endpoints and attempts, as callers see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from backmarket.errors import InvalidArgument
from backmarket.resources import RESOURCE_NAMES

EventKind = Literal["created", "updated", "removed"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)

EVENT_RESOURCES = (*RESOURCE_NAMES, "bulk_jobs", "inbox")
"""What events are about."""

EndpointState = Literal["enabled", "disabled"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook, or the host application's Celery task.

    Attributes:
        kind: `webhook` or `task`.
        organization_id: events of this organization; None: of all.
        url: of a webhook.
        resources: events of these; None: of all.
        kinds: events of these kinds; None: of all.
        fields: updated events that changed one of these fields; None: all.
        initial: also events of an organization's first walk.
        disabled_reason: `person`, `failing` or `gone` (it answered 410); None: it is enabled.
        cursor: events up to here were sent, or are waiting to be sent again.
        waiting: there are events to send now or later.
        failures: failed attempts in a row.
        failing_since: when the first of them was.
    """

    id: int
    kind: Literal["webhook", "task"]
    organization_id: str | None
    url: str | None
    description: str
    resources: list[str] | None
    kinds: list[str] | None
    fields: list[str] | None
    initial: bool
    state: EndpointState
    disabled_reason: str | None
    cursor: str
    waiting: bool
    failures: int
    failing_since: datetime | None
    error_code: str | None
    error: str | None
    last_success_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook that was just created.

    Attributes:
        secret: for its receiver; it is not shown again.
    """

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver an event to a webhook.

    Attributes:
        event_id: as in the header `webhook-id`.
        cursor: the event's position; `redeliver_events` takes it.
        organization_id: of the event; None: the event is not in the feed any more.
        resource: the same.
        external_id: the same.
        kind: the same.
        attempt: number of this attempt, from 1.
        outcome: `delivered`, `failed` (it is tried again) or `given_up`.
        status: that the receiver answered; None: it did not.
        milliseconds: that the call took.
    """

    id: int
    event_id: str
    cursor: str
    organization_id: str | None
    resource: str | None
    external_id: str | None
    kind: str | None
    attempt: int
    outcome: Literal["delivered", "failed", "given_up"]
    status: int | None
    error_code: str | None
    milliseconds: int
    attempted_at: datetime


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events an endpoint gets; what is None does not restrict.

    Args:
        resources: of `EVENT_RESOURCES`.
        kinds: of `EVENT_KINDS`.
        fields: the API's names of fields, of which an updated event must have one.
        initial: also events of first walks.

    Raises:
        InvalidArgument: if a resource or a kind is unknown, or a list is empty.
    """

    resources: Collection[str] | None = None
    kinds: Collection[str] | None = None
    fields: Collection[str] | None = None
    initial: bool = False

    def __post_init__(self) -> None:
        for name, known in (("resources", EVENT_RESOURCES), ("kinds", EVENT_KINDS), ("fields", None)):
            chosen = getattr(self, name)
            if chosen is None:
                continue
            if not chosen or isinstance(chosen, str):
                raise InvalidArgument(f"{name} is a list with at least one word, or None for all.")
            if known and (unknown := sorted(set(chosen) - set(known))):
                raise InvalidArgument(f"There is no {name[:-1]} {unknown[0]!r}. Choose from {', '.join(known)}.")

    def values(self) -> dict[str, list[str] | bool | None]:
        """The values of the columns."""
        chosen = {name: getattr(self, name) for name in ("resources", "kinds", "fields")}
        return {name: sorted(set(each)) if each is not None else None for name, each in chosen.items()} | {
            "initial": self.initial
        }
