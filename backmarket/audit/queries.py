"""Reading the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from backmarket.audit.actions import ACTIONS
from backmarket.audit.actor import ProvedBy
from backmarket.audit.record import Outcome
from backmarket.database import Database
from backmarket.errors import InvalidArgument
from backmarket.queries.pagination import Page, check_limit, date, decode_cursor, whole, with_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act.

    Attributes:
        id: the entry's number.
        recorded_at: when its transaction began.
        actor: who acted; None: the actor was not named.
        proved_by: how that is known.
        origin: the client's address, the process's host, or the sender that a message names.
        action: what was done, such as `connection.remove`.
        organization_id: whose object it is; None: of no single organization.
        object_kind: what was acted on, such as `order`.
        object_id: its id.
        outcome: `done`, `asked`, `refused` or `failed`.
        code: why it was refused, or failed.
        details: names of fields, numbers and ids.
    """

    id: int
    recorded_at: datetime
    actor: str | None
    proved_by: ProvedBy
    origin: str | None
    action: str
    organization_id: str | None
    object_kind: str | None
    object_id: str | None
    outcome: Outcome
    code: str | None
    details: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "proved_by", ProvedBy(self.proved_by))
        object.__setattr__(self, "outcome", Outcome(self.outcome))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of entries; None does not restrict.

    Args:
        organization_id: of this organization.
        actor: of the actor with this name.
        what: an action, or the word before its dot, such as `connection`.
        since: recorded then or later; without an offset, it is UTC.
        until: recorded earlier.

    Raises:
        InvalidArgument: if there is no such action.
    """

    organization_id: str | None = None
    actor: str | None = None
    what: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        groups = sorted({each.partition(".")[0] for each in ACTIONS})
        if self.what is not None and self.what not in {*ACTIONS, *groups}:
            raise InvalidArgument(
                f"There is no action {self.what!r}. Choose one of {', '.join(groups)}, or with a dot, such as"
                " connection.remove."
            )
        object.__setattr__(self, "since", with_offset(self.since))
        object.__setattr__(self, "until", with_offset(self.until))


def page(database: Database, where: AuditFilter, *, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
    """Entries, the newest first.

    Args:
        where: the filter.
        limit: 1 to 1000.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidArgument: if the limit or the cursor is invalid.
    """
    check_limit(limit)
    values: dict[str, Any] = {"limit": limit + 1}
    conditions = ["true"]
    for name, condition in _CONDITIONS.items():
        if (value := getattr(where, name)) is not None:
            conditions.append(condition)
            values[name] = value
    if cursor is not None:
        conditions.append("(recorded_at, id) < (%(after)s::timestamptz, %(after_id)s)")
        values["after"], values["after_id"] = decode_cursor(cursor, date, whole)
    statement = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY recorded_at DESC, id DESC LIMIT %(limit)s"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(AuditEntry)) as found:
        rows = found.execute(statement.encode(), values).fetchall()
    return Page.of(rows, limit, lambda entry: [entry.recorded_at, entry.id])


_CONDITIONS = {
    "organization_id": "organization_id = %(organization_id)s",
    "actor": "actor = %(actor)s",
    "what": "(action = %(what)s OR starts_with(action, %(what)s || '.'))",
    "since": "recorded_at >= %(since)s",
    "until": "recorded_at < %(until)s",
}

_SELECT = """
SELECT id, recorded_at, actor, proved_by, origin, action, organization_id, object_kind, object_id, outcome, code,
    details
FROM backmarket.audit
"""
