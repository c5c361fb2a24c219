"""The plans that PostgreSQL really used for our statements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backmarket.database import Database
from tests.support.databases import as_superuser

_TOLD = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_analyze": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}


@dataclass
class Plans:
    """The plans of the statements since they were last looked at.

    Attributes:
        seen: each as PostgreSQL tells it.
    """

    seen: list[dict[str, Any]] = field(default_factory=list)

    def nodes(self) -> list[dict[str, Any]]:
        """Every step of every plan, and forget them."""
        found = [node for plan in self.seen for node in _nodes(plan)]
        self.seen.clear()
        return found


@contextmanager
def explained(url: str) -> Iterator[tuple[Database, Plans]]:
    """A database whose only connection tells the plan of each statement that reads or writes our tables.

    The plans are those of the role of the URL, which the row policies bind; the superuser only has them told.
    """
    database, plans = Database(url, size=1), Plans()

    def heard(notice: psycopg.errors.Diagnostic) -> None:
        text = notice.message_primary or ""
        told = json.loads(text[text.index("{") :])
        if "backmarket." in told["Query Text"]:
            plans.seen.append(told["Plan"])

    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        connection.execute("ANALYZE; LOAD 'auto_explain'")
        here = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(connection.info.dbname))
        for name, value in _TOLD.items():
            connection.execute(here + sql.SQL("SET {} = {}").format(sql.SQL(name), value))
        try:
            with database.transaction() as transaction:
                transaction.add_notice_handler(heard)
            yield database, plans
        finally:
            database.close()
            connection.execute(here + sql.SQL("RESET ALL"))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
