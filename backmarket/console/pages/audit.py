"""The audit trail, for operators: it names colleagues and their addresses."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from backmarket.audit import ACTIONS
from backmarket.console import paths
from backmarket.console.request_context import RequestContext
from backmarket.errors import InvalidArgument

ROWS = 50
"""Number of entries on a page."""
FILTERS = ("organization", "actor", "what", "from", "until")


def show(context: RequestContext) -> Response:
    """The list, newest first."""
    if not context.person.is_operator:
        raise HTTPException(HTTPStatus.FORBIDDEN, "Your role is viewer. This needs the role operator.")
    values = {name: context.asked(name) or "" for name in FILTERS}
    found, fault = None, None
    try:
        found = context.bm.audit(limit=ROWS, cursor=context.asked("cursor"), **_filters(values))
    except InvalidArgument as error:
        fault = error.message
    following = found.next_cursor if found else None
    return context.render(
        "audit.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        entries=found.items if found else [],
        fault=fault,
        chosen=values,
        filtered=any(values.values()),
        actions=ACTIONS,
        next_page=paths.with_query("/audit", values | {"cursor": following}) if following else None,
        first_page=paths.with_query("/audit", values) if context.asked("cursor") else None,
    )


def _filters(values: dict[str, str]) -> dict[str, Any]:
    return {
        "organization_id": values["organization"] or None,
        "actor": values["actor"] or None,
        "what": values["what"] or None,
        "since": _midnight(values["from"], 0),
        "until": _midnight(values["until"], 1),
    }


def _midnight(text: str, days: int) -> datetime | None:
    """The beginning of a day in UTC, or of the day so many days after it.

    Raises:
        InvalidArgument: if it is no date.
    """
    if not text:
        return None
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError):
        raise InvalidArgument(f"{text[:40]!r} is not a date such as 2026-01-31.") from None
    return datetime.combine(day, time(), UTC)
