"""A stored connection, without its key, and whether it can be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from backmarket.database import Database, Transaction
from backmarket.errors import (
    ApiKeyMissing,
    ConnectionDisabled,
    ConnectionNotFound,
    ConnectionUnauthorized,
    EnvironmentMismatch,
    InvalidArgument,
)

KEY_CLEARED = (
    "The key of this connection was cleared: connect it again with a key (`upsert_connection`, `connections add`)."
)

SELECT = """
SELECT organization_id, generation, enabled, api_key IS NOT NULL AS has_api_key, environment, region, locale, base_url,
    unauthorized_at, last_error_at, last_error_code, last_error, last_error_request_id, last_error_cf_ray,
    created_at, updated_at, refused_at, next_probe_at, markets
FROM backmarket.connections
"""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection without its key.

    Attributes:
        organization_id: the host application's own id.
        generation: grows with every new key, region, environment or base URL.
        enabled: whether requests are sent for it.
        has_api_key: whether a key is stored.
        environment: `production` or `sandbox`.
        region: `EU`, `NA` or `AP`.
        locale: the market that prices and texts belong to.
        base_url: an origin of its own; None: the host of region and environment.
        unauthorized_at: when the API refused its key for the second time; None: it did not.
        last_error_at: when its last failing run failed; None: all is well.
        last_error_code: for programs.
        last_error: for people.
        last_error_request_id: for Back Market's support.
        last_error_cf_ray: the same.
        created_at: when it was first connected.
        updated_at: when a person last changed it.
        refused_at: when the API first refused its key; nothing is sent until it accepts it. None: it accepts it.
        next_probe_at: when a worker sends one request to see whether the API accepts the key again; None: no more.
        markets: further locales whose listings are copied, too.
    """

    organization_id: str
    generation: int
    enabled: bool
    has_api_key: bool
    environment: str
    region: str
    locale: str
    base_url: str | None
    unauthorized_at: datetime | None
    last_error_at: datetime | None
    last_error_code: str | None
    last_error: str | None
    last_error_request_id: str | None
    last_error_cf_ray: str | None
    created_at: datetime
    updated_at: datetime
    refused_at: datetime | None
    next_probe_at: datetime | None
    markets: list[str] = field(default_factory=list)

    def market_of(self, name: str) -> str:
        """A market of this connection as rows name it.

        Args:
            name: a locale, or empty.

        Returns:
            A further market; empty: that of the connection's locale.

        Raises:
            InvalidArgument: if the listings of this market are not copied.
        """
        market = name.lower()
        if market in {"", self.locale}:
            return ""
        if market not in self.markets:
            raise InvalidArgument(
                f"This connection has no market {name!r}; it has {', '.join([self.locale, *self.markets])}."
                " Add it first (`update_connection(markets=...)`, `backmarket connections markets`)."
            )
        return market

    @property
    def health(self) -> str:
        """One word: `ok`, `no_key`, `disabled`, `unauthorized` or `failing`."""
        if not self.has_api_key:
            return "no_key"
        if not self.enabled:
            return "disabled"
        if self.unauthorized_at is not None:
            return "unauthorized"
        return "failing" if self.last_error_at is not None else "ok"


def get(database: Database, organization_id: str) -> Connection:
    """One connection.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    with database.transaction() as transaction:
        return select(transaction, organization_id)


def get_all(database: Database, *, after: str = "", limit: int = 1000) -> list[Connection]:
    """Connections by organization id.

    Args:
        after: the last id of the page before.
        limit: maximum number of connections.
    """
    with (
        database.transaction() as transaction,
        transaction.cursor(row_factory=class_row(Connection)) as cursor,
    ):
        return cursor.execute(
            f"{SELECT} WHERE organization_id > %s ORDER BY organization_id LIMIT %s", (after, limit)
        ).fetchall()


def check_usable(connection: Connection, environment: str | None = None, *, even_if_refused: bool = False) -> None:
    """Raise the error that says why this connection cannot be used, if so.

    Raises:
        ApiKeyMissing, ConnectionDisabled, ConnectionUnauthorized, EnvironmentMismatch: if it cannot be used; the text
            says what to do.
    """
    if not connection.has_api_key:
        raise ApiKeyMissing(KEY_CLEARED)
    if not connection.enabled:
        raise ConnectionDisabled("This connection is disabled. Enable it (`enable_connection`, `connections enable`).")
    if connection.unauthorized_at is not None and not even_if_refused:
        raise ConnectionUnauthorized(
            f"Back Market refused the key of this connection at {connection.unauthorized_at:%Y-%m-%d %H:%M} UTC:"
            " connect it with a new key (`upsert_connection`, `connections add`), or enable it if the key is valid"
            " again (`enable_connection`, `connections enable`)."
            f" {_next_probe(connection)}"
        )
    if environment is not None and environment != connection.environment:
        raise EnvironmentMismatch(
            f"This connection is for the environment {connection.environment!r}, not {environment!r}:"
            " change the connection, or leave the environment out."
        )


def _next_probe(connection: Connection) -> str:
    if connection.next_probe_at is None:
        return "Workers do not try it again."
    return f"It is tried again at {connection.next_probe_at:%Y-%m-%d %H:%M:%S} UTC."


def check_accepted(connection: Connection) -> None:
    """Raise an error if nothing may be sent now, since the API has just refused the key.

    Raises:
        ConnectionUnauthorized: if Back Market refused the key; the text says when a worker tries it again.
    """
    if connection.refused_at is not None:
        raise ConnectionUnauthorized(f"Back Market has just refused this connection's key. {_next_probe(connection)}")


def select(transaction: Transaction, organization_id: str) -> Connection:
    """One connection, within a transaction.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    with transaction.cursor(row_factory=class_row(Connection)) as cursor:
        connection = cursor.execute(f"{SELECT} WHERE organization_id = %s", (organization_id,)).fetchone()
    if connection is None:
        raise not_found()
    return connection


def not_found() -> ConnectionNotFound:
    """The error for an organization that is not connected."""
    return ConnectionNotFound(
        "No connection has this organization id. Connect it first (`upsert_connection`, `connections add`)."
    )
