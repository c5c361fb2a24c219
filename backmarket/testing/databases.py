"""Databases of tests: made from a template, and dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql


@contextmanager
def new_database(server_url: str, name: str, *, template: str = "template1", owner: str | None = None) -> Iterator[str]:
    """A database, for as long as the `with` block.

    Args:
        server_url: of a superuser, for another database of the server.
        template: the database to copy; without sessions.
        owner: the role that owns it; None: the superuser.

    Yields:
        Its URL for the superuser.
    """
    database, source = sql.Identifier(name), sql.Identifier(template)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, source)
    if owner is not None:
        create += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(create)
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
