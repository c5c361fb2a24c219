"""What an event says to its receivers; ids, names of fields, and values that are not personal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from backmarket.changes import Change, decode_cursor

MISSED = "missed"
"""Kind of the event that says that others were missed."""


def event_id(cursor: str, *, missed: bool = False) -> str:
    """The id of an event, the same at each attempt and for each endpoint."""
    position, history = decode_cursor(cursor)
    return f"evt_{'missed_' if missed else ''}{position[0]}-{position[1]}-{history}"


def event_of(change: Change) -> dict[str, Any]:
    """An event of the feed."""
    return {
        "id": event_id(change.cursor),
        "cursor": change.cursor,
        "organization_id": change.organization_id,
        "resource": change.resource,
        "external_id": change.external_id,
        "kind": change.kind,
        "fields": change.fields,
        "values": change.values or {},
        "initial": change.initial,
        "market": change.market,
        "recorded_at": change.recorded_at.astimezone(UTC).isoformat(),
    }


def missed_event(cursor: str, after: str, organization_id: str | None) -> dict[str, Any]:
    """The event that says that those after a cursor cannot be sent.

    Args:
        cursor: where the endpoint goes on.
        after: where it had come to.
        organization_id: of the endpoint; None: of all.
    """
    return {
        "id": event_id(cursor, missed=True),
        "cursor": cursor,
        "after": after,
        "organization_id": organization_id,
        "resource": None,
        "external_id": None,
        "kind": MISSED,
        "fields": [],
        "values": {},
        "initial": False,
        "market": "",
        "recorded_at": datetime.now(UTC).isoformat(),
    }


def webhook_body(event: dict[str, Any]) -> bytes:
    """The body of a webhook, in the form of the specification."""
    subject = "feed" if event["kind"] == MISSED else event["resource"]
    body = {"type": f"{subject}.{event['kind']}", "timestamp": event["recorded_at"], "data": event}
    return json.dumps(body, separators=(",", ":")).encode()
