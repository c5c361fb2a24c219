"""Filters that people have saved in the console."""

from __future__ import annotations

from dataclasses import dataclass

from backmarket.database.connection import Database
from backmarket.errors import InvalidArgument

MAX_VIEWS = 30
"""Maximum number of views of one person."""

MAX_NAME_CHARS = 60
MAX_QUERY_CHARS = 1000


@dataclass(frozen=True, slots=True)
class ConsoleView:
    """Saved filters.

    Attributes:
        name: the person's own name for them.
        query: the filters, as in the address of the page.
    """

    name: str
    query: str


def of_person(database: Database, person: str) -> list[ConsoleView]:
    """The views of a person, by name."""
    with database.transaction() as transaction:
        rows = transaction.execute(
            "SELECT name, query FROM backmarket.console_views WHERE person = %s ORDER BY name", (person,)
        ).fetchall()
    return [ConsoleView(*row) for row in rows]


def save(database: Database, person: str, name: str, query: str) -> None:
    """Save a view, which replaces one with the same name.

    Raises:
        InvalidArgument: if the name or the query is invalid, or the person has too many views.
    """
    if not (0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
        raise InvalidArgument(f"Enter a name of 1 to {MAX_NAME_CHARS} characters.")
    if len(query) > MAX_QUERY_CHARS:
        raise InvalidArgument("These filters are too long to be saved.")
    values = {"person": person, "name": name, "query": query, "most": MAX_VIEWS}
    with database.transaction() as transaction:
        if transaction.execute(_SAVE, values).rowcount == 0:
            raise InvalidArgument(f"You have {MAX_VIEWS} saved views. Remove one, then save this one.")


def remove(database: Database, person: str, name: str) -> None:
    """Remove a view, if it is there."""
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM backmarket.console_views WHERE person = %s AND name = %s", (person, name))


_SAVE = """
INSERT INTO backmarket.console_views (person, name, query)
SELECT %(person)s, %(name)s, %(query)s
WHERE (SELECT count(*) FROM backmarket.console_views WHERE person = %(person)s AND name <> %(name)s) < %(most)s
ON CONFLICT (person, name) DO UPDATE SET query = excluded.query
"""
