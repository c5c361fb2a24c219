"""The `BackMarket` object: what a host application uses.

Queries read PostgreSQL and return typed objects. Actions write the durable row, send a nudge, and return a handle that
the caller may wait for.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from backmarket import audit
from backmarket.database.schema import apply_schema
from backmarket.facade.bulk import Bulk
from backmarket.facade.connections import Connections
from backmarket.facade.console_sessions import ConsoleSessions
from backmarket.facade.events import Events
from backmarket.facade.feed import Feed
from backmarket.facade.fetches import Fetches
from backmarket.facade.figures import FiguresOverTime
from backmarket.facade.labels import Labels
from backmarket.facade.shipping import Shipping
from backmarket.facade.stored import StoredRows
from backmarket.facade.syncs import Syncs
from backmarket.facade.trail import Trail
from backmarket.facade.upkeep import Housekeeping
from backmarket.facade.writes import Writes
from backmarket.services import Services

if TYPE_CHECKING:
    from backmarket.settings import Settings


class BackMarket(
    Connections,
    Syncs,
    StoredRows,
    Shipping,
    FiguresOverTime,
    Labels,
    Writes,
    Bulk,
    Fetches,
    Feed,
    Events,
    ConsoleSessions,
    Housekeeping,
    Trail,
):
    """Back Market seller accounts, from the settings in the environment.

    Opens nothing before its first use, is safe to share between threads, and opens its own connections in a
    forked child: make it before the fork, and use it after.

    Args:
        settings: settings to use instead of the environment's.

    Raises:
        SettingsError: if a setting is invalid.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        from backmarket.settings import load_settings

        super().__init__(Services(settings or load_settings()))

    def __enter__(self) -> BackMarket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._services.close()

    def apply_schema(self, *, migrate: bool = True) -> list[int]:
        """Create the tables, or migrate older ones to this version without losing a row; safe to repeat.

        Args:
            migrate: also migrate older tables.

        Returns:
            The versions that the migration went through; empty if there was nothing to migrate.

        Raises:
            SchemaDiffers: if the tables are newer than this program, or older and `migrate` is False.
        """
        passed = apply_schema(self._services.database, migrate=migrate)
        if passed:
            with self._services.database.transaction() as transaction:
                audit.record(transaction, audit.Act("schema.migrate", details={"versions": passed}))
        return passed
