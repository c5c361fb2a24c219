"""Connecting organizations to their seller accounts."""

from __future__ import annotations

from typing import TypedDict, Unpack

from backmarket import connections, status
from backmarket.connections import Account, Connection
from backmarket.facade.part import FacadePart
from backmarket.organizations import check, lifecycle
from backmarket.organizations.check import ConnectionCheck
from backmarket.status import ConnectionStatus, overview


class ConnectionChanges(TypedDict, total=False):
    """What may be changed of a connection beside its key; see `upsert_connection`."""

    environment: str
    region: str
    locale: str | None
    base_url: str | None


class Connections(FacadePart):
    """What `BackMarket` does with connections."""

    def upsert_connection(
        self,
        organization_id: str,
        api_key: str,
        *,
        environment: str = "production",
        region: str = "EU",
        locale: str | None = None,
        base_url: str | None = None,
        discard_rows: bool = False,
    ) -> Connection:
        """Connect an organization to its seller account, or change its connection; its sync is due at once.

        Args:
            organization_id: the host application's own, 1 to 200 printable characters.
            api_key: as Back Market gave it, without `Basic`; stored encrypted, never shown again.
            environment: `production` or `sandbox`.
            region: `EU`, `NA` or `AP`.
            locale: the market of prices and texts; None: the region's first.
            base_url: an origin of its own, from `ALLOWED_BASE_URLS`; None: Back Market's.
            discard_rows: remove the rows of the older region or environment, where either changes.

        Raises:
            InvalidArgument: a value that can't be used, or the market changes while rows exist.
        """
        account = Account(organization_id, api_key, environment, region, locale, base_url)
        return lifecycle.upsert(
            self._services.database,
            self._services.key_cipher,
            self._services.settings,
            account,
            discard_rows=discard_rows,
        )

    def update_connection(
        self, organization_id: str, *, discard_rows: bool = False, **changes: Unpack[ConnectionChanges]
    ) -> Connection:
        """Change where a connection leads, with the key that is stored; what is not named stays.

        Args:
            organization_id: whose.
            discard_rows: remove the rows of the older region or environment, where either changes.
            **changes: see `ConnectionChanges`.

        Raises:
            ConnectionNotFound: there is none.
            ApiKeyMissing: its key was cleared.
            InvalidArgument: a value that can't be used, or the market changes while rows exist.
        """
        return lifecycle.change(
            self._services.database,
            self._services.key_cipher,
            self._services.settings,
            organization_id,
            dict[str, str | None](**changes),
            discard_rows=discard_rows,
        )

    def get_connection_status(self, organization_id: str) -> ConnectionStatus:
        """A connection without its key, and how each resource fares.

        Raises:
            ConnectionNotFound: there is none.
        """
        return status.get_connection_status(self._services.database, organization_id)

    def get_connection_statuses(
        self, *, health: str | None = None, search: str | None = None, after: str = "", limit: int = 50
    ) -> list[ConnectionStatus]:
        """Connections by organization id, each with how its resources fare; two statements, however many there are.

        Args:
            health: only those that are `ok`, `no_key`, `disabled`, `unauthorized` or `failing`.
            search: a part of the id, without regard to case.
            after: the last id of the page before.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: there is no such health, or a limit that can't be.
        """
        return overview.get_connection_statuses(
            self._services.database, health=health, search=search, after=after, limit=limit
        )

    def get_connections(self, *, after: str = "", limit: int = 1000) -> list[Connection]:
        """Connections by organization id; pass the last one's id as `after` for the next ones."""
        return connections.get_all(self._services.database, after=after, limit=limit)

    def check_connection(self, organization_id: str) -> ConnectionCheck:
        """Ask the API one harmless question with the connection's key.

        Raises:
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing: there is nothing to be checked.
        """
        return check.check_connection(self._services, organization_id)

    def disable_connection(self, organization_id: str, *, clear_api_key: bool = False) -> Connection:
        """Ask this account nothing any more; its rows stay.

        Args:
            organization_id: whose.
            clear_api_key: delete the key, too; enabling then needs a new one.

        Raises:
            ConnectionNotFound: there is none.
        """
        return lifecycle.disable(self._services.database, organization_id, clear_api_key=clear_api_key)

    def enable_connection(self, organization_id: str) -> Connection:
        """Ask this account again, at once.

        Raises:
            ConnectionNotFound: there is none.
            ApiKeyMissing: its key was cleared.
        """
        return lifecycle.enable(self._services.database, organization_id)

    disconnect = disable_connection
    """Name of `disable_connection` in the component that this package replaces."""
    reconnect = enable_connection
    """Name of `enable_connection` in the component that this package replaces."""

    def remove_connection(self, organization_id: str) -> int:
        """Remove an organization with everything that is stored for it.

        Returns:
            Rows of its copies that were removed.

        Raises:
            ConnectionNotFound: there is none.
        """
        return lifecycle.remove(self._services.database, organization_id)

    def rotate_keys(self) -> int:
        """Encrypt every stored API key with the first of `SECRET_KEYS`; returns how many."""
        return connections.rotate_keys(self._services.database, self._services.key_cipher)
