"""The `BackMarket` object: what a host application uses.

Queries read PostgreSQL and give typed objects. Actions write the durable row, put the nudge into the queue, and give a
handle that can be waited for.
"""

from __future__ import annotations

from types import TracebackType

from backmarket.database.schema import apply_schema
from backmarket.facade.bulk import Bulk
from backmarket.facade.connections import Connections
from backmarket.facade.feed import Feed
from backmarket.facade.fetches import Fetches
from backmarket.facade.labels import Labels
from backmarket.facade.stored import StoredRows
from backmarket.facade.syncs import Syncs
from backmarket.facade.upkeep import Housekeeping
from backmarket.facade.writes import Writes
from backmarket.services import Services
from backmarket.settings import Settings, load_settings


class BackMarket(Connections, Syncs, StoredRows, Labels, Writes, Bulk, Fetches, Feed, Housekeeping):
    """Back Market seller accounts, from the settings in the environment.

    Opens nothing before its first use, is safe to share between threads, and is made anew after a fork.

    Args:
        settings: other ones than the environment's.

    Raises:
        SettingsError: a setting can't be used.
    """

    def __init__(self, settings: Settings | None = None) -> None:
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
        """Make the tables, or bring older ones to this version without losing a row; harmless to repeat.

        Args:
            migrate: also where there are older ones.

        Returns:
            The versions that it went through; empty where there was nothing to migrate.

        Raises:
            SchemaDiffers: they are newer than this program; or older, and not to be migrated.
        """
        return apply_schema(self._services.database, migrate=migrate)
