"""What each connection to PostgreSQL is opened with."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backmarket.errors import SettingsError
from backmarket.messages import urls

_NETWORK = {
    "connect_timeout": 5,
    # A host that vanishes says nothing. Unanswered data ends a connection after 20 s, and so do two probes without an
    # answers on one that only waits: a pooled connection, a listener, a statement that runs.
    "tcp_user_timeout": 20_000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""Seconds, but `tcp_user_timeout` in milliseconds. What the URL says goes before."""


def connection_text(url: str, **wanted: str | int) -> str:
    """The libpq options of each of our connections: the URL, and when to give up a host that vanished.

    Args:
        url: a libpq URL.
        wanted: more parameters.

    Raises:
        SettingsError: if the URL is malformed.
    """
    if not urls.is_clear(url):
        raise SettingsError(f"BACKMARKET_DATABASE_URL {urls.UNCLEAR}.")
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SettingsError(
            "BACKMARKET_DATABASE_URL is not a URL of PostgreSQL such as postgresql://user:password@host:5432/name."
        ) from None
    return make_conninfo(url, **{name: value for name, value in {**_NETWORK, **wanted}.items() if name not in given})
