"""Read stored rows: one by its id, or a page of a list with a cursor to the next page.

A list has the order of an index, and a cursor says where in it the next page begins: the cost of a page does not grow
with the rows before it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum
from functools import wraps
from operator import attrgetter
from typing import Any, Generic, Literal, ParamSpec, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from backmarket.database import Database, Transaction
from backmarket.errors import InvalidArgument

T = TypeVar("T")
Asked = ParamSpec("Asked")
Key = int | UUID
Position = str | int | UUID | datetime

MAX_PAGE_SIZE = 1000
"""Maximum number of rows in one page."""

NO_DATE = "-infinity"
"""In the position of a row without a date."""


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

    @classmethod
    def of(cls, rows: Sequence[T], limit: int, position: Callable[[T], Sequence[Position]]) -> Page[T]:
        """The first `limit` rows as a page.

        Args:
            rows: the rows that a query found, with one more than `limit` if there are more.
            limit: maximum number of rows.
            position: returns a row's position in the order of the list.
        """
        following = encode_cursor(*position(rows[limit - 1])) if len(rows) > limit else None
        return cls([*rows[:limit]], following)


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
        joined: an SQL join of other tables that conditions and expressions name.
    """

    table: str
    row: type[T]
    key: str
    order: Literal["newest", "highest", "lowest"]
    filters: Mapping[str, str] = field(default_factory=dict)
    key_type: type[int | UUID] = int
    others: Mapping[str, str] = field(default_factory=dict)
    joined: str = ""

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
        check_limit(limit)
        asked = {} if where is None else {each.name: with_offset(getattr(where, each.name)) for each in fields(where)}
        conditions = [f"{self.table}.removed_at IS NULL"]
        conditions += [self.filters[name] for name, value in asked.items() if value is not None]
        if cursor is not None:
            conditions.append(self._after())
            asked["after"], asked["after_key"] = decode_cursor(cursor, date, whole if self.key_type is int else UUID)
        rows = self.find_all(
            database, organization_id, f"{' AND '.join(conditions)} ORDER BY {self._order()}", asked, limit=limit + 1
        )
        return Page.of(rows, limit, self._position)

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

    def of_keys(self, transaction: Transaction, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], T]:
        """Rows of any organizations by organization and key, both as text; one that is not stored is left out."""
        if not keys:
            return {}
        # arrays of the key's type: under a row policy no index serves a comparison with a cast
        statement = (
            f"SELECT {self.columns} FROM unnest(%s::text[], %s::{'uuid' if self.key_type is UUID else 'bigint'}[])"
            f" AS wanted (organization, key) JOIN backmarket.{self.table}"
            f" ON {self.table}.organization_id = wanted.organization AND {self.table}.{self.key} = wanted.key"
        )
        values = [organization for organization, _ in keys], [self.key_type(key) for _, key in keys]
        with transaction.cursor(row_factory=class_row(self.row)) as cursor:
            rows = cursor.execute(statement.encode(), values).fetchall()
        name = attrgetter("organization_id", self.key)
        return {(organization, str(key)): row for row in rows for organization, key in [name(row)]}

    def find(self, database: Database, organization_id: str, condition: str, values: Mapping[str, Any]) -> T | None:
        """The first row that meets an SQL condition (with ORDER BY, if any); also one that the API no longer knows."""
        rows = self.find_all(database, organization_id, condition, values, limit=1)
        return rows[0] if rows else None

    def find_all(
        self, database: Database, organization_id: str, condition: str, values: Mapping[str, Any], *, limit: int | None
    ) -> list[T]:
        """The rows that meet an SQL condition (with ORDER BY, if any); also those that the API no longer knows.

        Args:
            condition: names columns as `table.column`.
            values: its parameters.
            limit: maximum number of rows; None: all.
        """
        with database.transaction() as transaction:
            return self.select_all(transaction, organization_id, condition, values, limit=limit)

    def select_all(
        self,
        transaction: Transaction,
        organization_id: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        limit: int | None,
    ) -> list[T]:
        """The same, within a transaction."""
        with transaction.cursor(row_factory=class_row(self.row)) as cursor:
            return cursor.execute(
                self._statement(f"{condition} LIMIT %(limit)s"),
                {**values, "organization": organization_id, "limit": limit},
            ).fetchall()

    @property
    def columns(self) -> str:
        """The SQL column list of a row."""
        names = [each.name for each in fields(self.row)]  # type: ignore[arg-type]
        return ", ".join(f"{self.others.get(name, f'{self.table}.{name}')} AS {name}" for name in names)

    def _statement(self, condition: str) -> bytes:
        return (
            f"SELECT {self.columns} FROM backmarket.{self.table} {self.joined}"
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

    def _position(self, row: T) -> tuple[datetime | str, Key]:
        at = getattr(row, "date_creation", None) if self.order == "newest" else None
        return at or NO_DATE, getattr(row, self.key)


def every(get: Callable[Asked, Page[T]]) -> Callable[Asked, Iterator[T]]:
    """The method that yields all rows of a list, in place of a page of it, with the same arguments.

    One page at a time is in memory: `limit` is its size (default: 1000), `cursor` where the first one begins. Rows that
    are created or changed meanwhile may be left out or not.

    Args:
        get: returns a page.
    """

    @wraps(get)
    def iterate(*arguments: Asked.args, **asked: Asked.kwargs) -> Iterator[T]:
        asked.setdefault("limit", MAX_PAGE_SIZE)
        while True:
            page = get(*arguments, **asked)
            yield from page
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor

    iterate.__doc__ = f"All rows of `{get.__name__}`, one page at a time in memory; its arguments, see there."
    return iterate


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


def with_offset(value: Any) -> Any:
    """A time without an offset as UTC; anything else as it is."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def check_limit(limit: int, maximum: int = MAX_PAGE_SIZE) -> None:
    """Check the size of a page.

    Raises:
        InvalidArgument: if it is not 1 to `maximum`.
    """
    if not 1 <= limit <= maximum:
        raise InvalidArgument(f"limit must be 1 to {maximum}, not {limit}.")


def encode_cursor(*position: Position) -> str:
    """The cursor to what comes after a position in the order of a list."""
    plain = [part.isoformat() if isinstance(part, datetime) else part for part in position]
    return base64.urlsafe_b64encode(json.dumps(plain, default=str).encode()).decode()


def decode_cursor(cursor: str, *kinds: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The position that a cursor was made of.

    Args:
        cursor: as a caller passed it.
        kinds: for each part of the position, what reads it, with a ValueError or TypeError for any other.

    Raises:
        InvalidArgument: if it is not a cursor of this list.
    """
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return tuple(kind(part) for kind, part in zip(kinds, position, strict=True))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidArgument(
            "This cursor was not returned by this query. Pass `next_cursor` of the page before, unchanged."
        ) from None


def whole(part: Any) -> int:
    """A part of a position: a number that PostgreSQL's bigint holds."""
    if type(part) is not int or not -(2**63) <= part < 2**63:
        raise TypeError
    return part


def text(part: Any) -> str:
    """A part of a position: a text."""
    if not isinstance(part, str):
        raise TypeError
    return part


def date(part: Any, missing: str = NO_DATE) -> datetime | str:
    """A part of a position: a date with its offset, or what stands for a missing one."""
    if part == missing:
        return missing
    at = datetime.fromisoformat(part)
    if at.tzinfo is None:
        raise ValueError
    return at
