"""The history of an order: what happened at Back Market and when it was seen here, and what was requested here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backmarket.changes import Change
from backmarket.console.choices import FIELD_NAMES
from backmarket.queries.orders import Order, OrderState
from backmarket.queries.pagination import enum_or_value
from backmarket.writes.models import Write

_ITS_OWN = "date_modification"
"""The field with the time of a change, which every change has."""


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One line of the history.

    Attributes:
        at: when it happened, or was requested; if Back Market does not say it, when it was seen here.
        seen_at: of a change: when it was seen here, if that is another time.
        change: what was seen; None: a write.
        write: what was requested; None: a change.
    """

    at: datetime
    seen_at: datetime | None = None
    change: Change | None = None
    write: Write | None = None

    @property
    def fields(self) -> str:
        """The changed fields by the names that people know, the state with its old and new value."""
        assert self.change is not None  # noqa: S101 - the template asks for it of changes only
        told = self.change.values or {}
        return ", ".join(
            f"{_name(each)} from {_state(told[each][0])} to {_state(told[each][1])}"
            if each == "state" and each in told
            else _name(each)
            for each in self.change.fields
            if each != _ITS_OWN
        )


def history_of(order: Order | None, writes: Iterable[Write], changes: Iterable[Change]) -> list[HistoryEvent]:
    """The events of an order, the newest first."""
    events = [HistoryEvent(each.created_at, write=each) for each in writes]
    for each in changes:
        at = _happened_at(order, each)
        events.append(HistoryEvent(at or each.recorded_at, each.recorded_at if at else None, each))
    return sorted(events, key=lambda event: event.at, reverse=True)


def _happened_at(order: Order | None, change: Change) -> datetime | None:
    """When a change happened at Back Market; None: it does not say."""
    if change.kind == "created":
        return order.date_creation if order else None
    try:
        at = datetime.fromisoformat((change.values or {})[_ITS_OWN][1])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else None


def _name(field: str) -> str:
    return FIELD_NAMES.get(field, field.replace("_", " "))


def _state(number: Any) -> str:
    state = enum_or_value(OrderState, number)
    return state.name.lower().replace("_", " ") if isinstance(state, OrderState) else str(state)
