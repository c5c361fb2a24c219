"""Connecting organizations to their seller accounts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict, Unpack

from backmarket import connections, events
from backmarket.client.endpoints import Environment, Region
from backmarket.connections import Account, Connection
from backmarket.facade.part import FacadePart
from backmarket.organizations import lifecycle
from backmarket.status import overview, sync_status
from backmarket.status.sync_status import ConnectionStatus

if TYPE_CHECKING:  # loaded when they are needed
    from backmarket.organizations.check import ConnectionCheck
    from backmarket.organizations.convex_import import ConvexReport
    from backmarket.organizations.import_file import ImportReport


class ConnectionChanges(TypedDict, total=False):
    """The settings of a connection that may be changed, besides its key; see `upsert_connection`."""

    environment: Environment
    region: Region
    locale: str | None
    base_url: str | None
    markets: Collection[str] | None


class Connections(FacadePart):
    """The methods of `BackMarket` for connections."""

    def upsert_connection(
        self,
        organization_id: str,
        api_key: str,
        *,
        environment: Environment = "production",
        region: Region = "EU",
        locale: str | None = None,
        base_url: str | None = None,
        markets: Collection[str] | None = None,
        discard_rows: bool = False,
    ) -> Connection:
        """Connect an organization to its seller account, or change its connection; its sync is due at once.

        Args:
            organization_id: the host application's own id, 1 to 200 printable characters.
            api_key: from Back Market, without `Basic`; stored encrypted, never shown again.
            environment: `production` or `sandbox`.
            region: `EU`, `NA` or `AP`.
            locale: the market of prices and texts; None: the region's first locale.
            base_url: another base URL, one of `ALLOWED_BASE_URLS`; None: Back Market's.
            markets: further locales in which the seller sells: their listings are copied, too. None: as stored, or none
                in another region. The rows of a market that is left out are removed.
            discard_rows: if the region or the environment changes, remove the rows of the old one.

        Raises:
            InvalidArgument: if a value is invalid, or the market changes while rows exist.
        """
        with self._attempt("connection.change", organization_id, "connection", organization_id):
            account = Account(organization_id, api_key, environment, region, locale, base_url, markets)
            connection = lifecycle.upsert(
                self._services.database,
                self._services.key_cipher,
                self._services.settings,
                account,
                discard_rows=discard_rows,
            )
        self._nudge(organization_id)
        return connection

    def import_connections(
        self,
        file: Path | BinaryIO,
        *,
        dry_run: bool = False,
        check: bool = False,
        base_url: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> ImportReport:
        """Connect many organizations from a CSV file; their syncs are due at once.

        The first line names the columns: organization, key, environment, region, locale, of which the last three may be
        missing. An organization that is connected just so is left alone, so a second run goes on after the first one;
        one that is connected otherwise is refused, and so is a row that `upsert_connection` would refuse.

        Args:
            file: a path that only its owner may read, or a file that is open for reading bytes, as UTF-8.
            dry_run: read and check everything, and connect nothing.
            check: ask the API with each key, within the rate limits, and connect only those that it accepts. After 20
                refused keys no more are checked.
            base_url: of every row, as `upsert_connection` has it.
            progress: called after each batch with the number of rows so far.

        Raises:
            InvalidArgument: if the file cannot be read, others can read it, or it has other columns.
            LimiterUnavailable: if keys are to be checked and Redis is unreachable; the batches before are connected.
        """
        from backmarket.organizations import import_file

        return import_file.import_connections(
            self._services, file, dry_run=dry_run, check=check, base_url=base_url, progress=progress
        )

    def import_convex(self, file: Path, *, region: Region = "EU", dry_run: bool = False) -> ConvexReport:
        """Take over an export of the Convex component, and compare its rows with those that are stored.

        Connects the organizations, which are then synced, and takes over which syncs run. Call it again once the first
        syncs have ended, until the report is complete: it asks Back Market for rows that are not stored, by their ids,
        and takes over when invoices were uploaded, and the files of labels that are not in the bucket yet.

        Args:
            file: the ZIP file of `npx convex export --include-file-storage`, which only its owner may read.
            region: of all accounts; the component knows the European hosts alone.
            dry_run: read and check the connections, and do nothing.

        Raises:
            InvalidArgument: if the file cannot be read, others can read it, or it is not such an export.
        """
        from backmarket.organizations import convex_import

        return convex_import.import_convex(self._services, file, region=region, dry_run=dry_run)

    def update_connection(
        self, organization_id: str, *, discard_rows: bool = False, **changes: Unpack[ConnectionChanges]
    ) -> Connection:
        """Change a connection's settings, keeping its key; settings that are not named stay.

        Args:
            discard_rows: if the region or the environment changes, remove the rows of the old one.
            **changes: see `ConnectionChanges`.

        Raises:
            ConnectionNotFound: if there is no such connection.
            ApiKeyMissing: if its key was cleared.
            InvalidArgument: if a value is invalid, or the market changes while rows exist.
        """
        with self._attempt("connection.change", organization_id, "connection", organization_id):
            connection = lifecycle.change(
                self._services.database,
                self._services.key_cipher,
                self._services.settings,
                organization_id,
                changes,
                discard_rows=discard_rows,
            )
        self._nudge(organization_id)
        return connection

    def get_connection_status(self, organization_id: str) -> ConnectionStatus:
        """A connection without its key, with the status of each resource.

        Raises:
            ConnectionNotFound: if there is no such connection.
        """
        return sync_status.get_connection_status(self._services.database, organization_id)

    def get_connection_statuses(
        self, *, health: str | None = None, search: str | None = None, after: str = "", limit: int = 50
    ) -> list[ConnectionStatus]:
        """Connections by organization id, each with the status of its resources; always two statements.

        Args:
            health: only connections that are `ok`, `no_key`, `disabled`, `unauthorized` or `failing`.
            search: a part of the id, ignoring case.
            after: the last id of the page before.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: if there is no such health, or the limit is invalid.
        """
        return overview.get_connection_statuses(
            self._services.database, health=health, search=search, after=after, limit=limit
        )

    def get_connections(self, *, after: str = "", limit: int = 1000) -> list[Connection]:
        """Connections by organization id; pass the last one's id as `after` for the next page."""
        return connections.get_all(self._services.database, after=after, limit=limit)

    def check_connection(self, organization_id: str) -> ConnectionCheck:
        """Send the API one harmless request with the connection's key.

        Raises:
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing: if there is nothing to check.
        """
        from backmarket.organizations import check

        with self._attempt("connection.check", organization_id, "connection", organization_id):
            return check.check_connection(self._services, organization_id)

    def disable_connection(self, organization_id: str, *, clear_api_key: bool = False) -> Connection:
        """Stop sending requests to this account; its rows stay.

        Args:
            clear_api_key: delete the key, too; a new one is then required.

        Raises:
            ConnectionNotFound: if there is no such connection.
        """
        with self._attempt("connection.disable", organization_id, "connection", organization_id):
            return lifecycle.disable(self._services.database, organization_id, clear_api_key=clear_api_key)

    def enable_connection(self, organization_id: str) -> Connection:
        """Resume sending requests to this account, at once.

        Raises:
            ConnectionNotFound: if there is no such connection.
            ApiKeyMissing: if its key was cleared.
        """
        with self._attempt("connection.enable", organization_id, "connection", organization_id):
            connection = lifecycle.enable(self._services.database, organization_id)
        self._nudge(organization_id)
        return connection

    disconnect = disable_connection
    """Name of `disable_connection` in the component that this package replaces."""
    reconnect = enable_connection
    """Name of `enable_connection` in the component that this package replaces."""

    def remove_connection(self, organization_id: str) -> int:
        """Remove an organization with all of its stored data.

        Returns:
            Number of removed rows.

        Raises:
            ConnectionNotFound: if there is no such connection.
        """
        with self._attempt("connection.remove", organization_id, "connection", organization_id):
            return lifecycle.remove(self._services.database, organization_id)

    def rotate_keys(self) -> int:
        """Encrypt all stored API keys and secrets of webhooks with the first of `SECRET_KEYS`; returns their number."""
        with self._attempt("keys.rotate"):
            keys = connections.rotate_keys(self._services.database, self._services.key_cipher)
            return keys + events.rotate_secrets(self._services.database, self._services.key_cipher)
