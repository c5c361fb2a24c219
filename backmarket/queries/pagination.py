"""Read stored rows: one by its id, or a page of a list with a cursor to the next page.

A list has the order of an index, and a cursor says where in it the next page begins: the cost of a page does not grow
with the rows before it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument

T = TypeVar("T")
Key = int | UUID

MAX_PAGE_SIZE = 1000
"""Maximum number of rows in one page."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and the cursor to the next ones.

    Attributes:
        items: the rows.
        next_cursor: pass it as `cursor` for the next page; None: this is the last page.
    """

    items: list[T]
    next_cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Stored(Generic[T]):
    """A table of stored rows that can be read.

    Args:
        table: its name; conditions name its columns `table.column`.
        row: the type of its rows, whose fields are its columns.
        key: the column that identifies a row within its organization.
        order: of a list: `newest` creation first, or the `highest` or `lowest` key first.
        filters: an SQL condition for each field of a list's filter.
        key_type: type of the key.
        others: SQL expressions of fields that are not columns.
    """

    table: str
    row: type[T]
    key: str
    order: Literal["newest", "highest", "lowest"]
    filters: Mapping[str, str] = field(default_factory=dict)
    key_type: type[int | UUID] = int
    others: Mapping[str, str] = field(default_factory=dict)

    def page(
        self, database: Database, organization_id: str, where: Any = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[T]:
        """Rows of one organization; those that the API no longer knows are left out.

        Args:
            where: a dataclass with the names of `filters`; None does not restrict.
            limit: 1 to 1000.
            cursor: of the page before.

        Raises:
            InvalidArgument: if the limit or cursor is invalid.
        """
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise InvalidArgument(f"limit must be 1 to {MAX_PAGE_SIZE}, not {limit}.")
        asked = {} if where is None else {each.name: _with_offset(getattr(where, each.name)) for each in fields(where)}
        conditions = [f"{self.table}.removed_at IS NULL"]
        conditions += [self.filters[name] for name, value in asked.items() if value is not None]
        if cursor is not None:
            conditions.append(self._after())
            asked["after"], asked["after_key"] = _decode(cursor, self.key_type)
        rows = self._select(
            database, organization_id, f"{' AND '.join(conditions)} ORDER BY {self._order()}", asked, limit + 1
        )
        return Page(rows[:limit], self._cursor(rows[limit - 1]) if len(rows) > limit else None)

    def get(self, database: Database, organization_id: str, key: Key) -> T | None:
        """One row, also one that the API no longer knows; None: it is not stored."""
        with database.transaction() as transaction:
            return self.select(transaction, organization_id, key)

    def select(self, transaction: Transaction, organization_id: str, key: Key) -> T | None:
        """The same, within a transaction."""
        with transaction.cursor(row_factory=class_row(self.row)) as cursor:
            return cursor.execute(
                self._statement(f"{self.table}.{self.key} = %(key)s"), {"organization": organization_id, "key": key}
            ).fetchone()

    def find(self, database: Database, organization_id: str, condition: str, values: Mapping[str, Any]) -> T | None:
        """The first row that meets an SQL condition (with ORDER BY, if any); also one that the API no longer knows."""
        rows = self._select(database, organization_id, condition, values, 1)
        return rows[0] if rows else None

    @property
    def columns(self) -> str:
        """The SQL column list of a row."""
        names = [each.name for each in fields(self.row)]  # type: ignore[arg-type]
        return ", ".join(f"{self.others.get(name, f'{self.table}.{name}')} AS {name}" for name in names)

    def _select(
        self, database: Database, organization_id: str, condition: str, values: Mapping[str, Any], limit: int
    ) -> list[T]:
        with database.transaction() as transaction, transaction.cursor(row_factory=class_row(self.row)) as cursor:
            return cursor.execute(
                self._statement(f"{condition} LIMIT %(limit)s"),
                {**values, "organization": organization_id, "limit": limit},
            ).fetchall()

    def _statement(self, condition: str) -> bytes:
        return (
            f"SELECT {self.columns} FROM backmarket.{self.table}"
            f" WHERE {self.table}.organization_id = %(organization)s AND {condition}"
        ).encode()

    def _order(self) -> str:
        match self.order:
            case "newest":
                return f"{created(self.table)} DESC, {self.table}.{self.key} DESC"
            case "highest":
                return f"{self.table}.{self.key} DESC"
            case "lowest":
                return f"{self.table}.{self.key}"

    def _after(self) -> str:
        match self.order:
            case "newest":
                return f"({created(self.table)}, {self.table}.{self.key}) < (%(after)s::timestamptz, %(after_key)s)"
            case "highest":
                return f"{self.table}.{self.key} < %(after_key)s"
            case "lowest":
                return f"{self.table}.{self.key} > %(after_key)s"

    def _cursor(self, row: T) -> str:
        at = getattr(row, "date_creation", None) if self.order == "newest" else None
        return _encode(at, getattr(row, self.key))


def created(table: str) -> str:
    """SQL for a row's creation, as in the index of the newest; a row without a date is older than all others.

    No COALESCE: under a row policy no index serves a comparison with it (docs/decisions/0009).
    """
    return f"CASE WHEN {table}.date_creation IS NULL THEN '-infinity' ELSE {table}.date_creation END"


def created_within(table: str) -> dict[str, str]:
    """The filters `created_after` (then or later) and `created_before`, so that the index of the newest helps."""
    return {
        "created_after": f"{created(table)} >= %(created_after)s",
        "created_before": f"{created(table)} < %(created_before)s AND {table}.date_creation IS NOT NULL",
    }


def enum_or_value(kind: type[Enum], value: Any) -> Any:
    """The enum's member, or the value itself if a later API has a new one."""
    try:
        return None if value is None else kind(value)
    except ValueError:
        return value


def _with_offset(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _encode(at: datetime | None, key: Key) -> str:
    text = json.dumps([at.isoformat() if at else "-infinity", key if isinstance(key, int) else str(key)])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(cursor: str, key_type: type[int | UUID]) -> tuple[str, Key]:
    try:
        at, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if at != "-infinity":
            datetime.fromisoformat(at)
        if key_type is UUID:
            return at, UUID(key)
        if type(key) is not int:
            raise TypeError
        return at, key
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidArgument("This cursor is not one that a query gave: pass `next_cursor` as it came.") from None
