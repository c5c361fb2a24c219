"""The change feed."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

from backmarket import (
    changes,
)
from backmarket.changes import NOW, Change, ChangeFilter, Changes
from backmarket.facade.part import FacadePart
from backmarket.resources import ResourceName


class Feed(FacadePart):
    """The change feed's methods of `BackMarket`."""

    def changes(
        self,
        after: str | None = None,
        *,
        organization_id: str | None = None,
        resource: ResourceName | None = None,
        limit: int = 1000,
    ) -> Changes:
        """What was created, updated and removed, oldest first; each event is returned once, none is skipped.

        Args:
            after: `next_cursor` of the page before, or the `cursor` of an event; `now`: the end of the feed; None:
                start from the oldest event in the feed.
            organization_id: only events of this organization.
            resource: only events of this resource.
            limit: 1 to 10,000.

        Raises:
            InvalidArgument: if the limit, the resource or the cursor is invalid.
            ChangesMissed: if events after the cursor are older than the retention, and were dropped.
        """
        where = ChangeFilter(organization_id, resource)
        return changes.get_changes(self._services.database, after, where, limit=limit)

    def get_history(
        self, organization_id: str, resource: ResourceName, external_id: int | str, *, limit: int = 100
    ) -> list[Change]:
        """The events of one row that are still in the feed, the newest first.

        Args:
            resource: such as `orders`.
            external_id: the row's id at Back Market.
            limit: 1 to 10,000.

        Raises:
            InvalidArgument: if the limit or the resource is invalid.
        """
        return changes.get_history(self._services.database, organization_id, resource, external_id, limit=limit)

    def changes_cursor(self) -> str:
        """The current end of the feed. Take it, read the tables, then follow the feed from it: nothing is missed."""
        return changes.get_cursor(self._services.database)

    def watch(
        self,
        after: str | None = NOW,
        *,
        organization_id: str | None = None,
        resource: ResourceName | None = None,
        timeout: float | None = None,
        poll: float = 5.0,
        stop: Event | None = None,
    ) -> Iterator[Change]:
        """Follow the changes, about a second after they happen; yields each event once, in the order of `changes`.

        It survives a lost connection and a restart of PostgreSQL. It blocks its thread: beside an event loop, run it in
        a thread of its own, and end it with `stop`.

        Args:
            after: a cursor; by default, only events from now on; None: start from the oldest event in the feed.
            organization_id: only events of this organization.
            resource: only events of this resource.
            timeout: seconds without an event after which it ends; None: never.
            poll: seconds between two queries if no notification arrives: behind a transaction pooler, or while no
                worker takes the queue `dispatch`.
            stop: when set, ends it within half a second.

        Raises:
            InvalidArgument: if a number, the resource or the cursor is invalid.
            ChangesMissed: if events after the cursor are older than the retention, and were dropped.
        """
        where = ChangeFilter(organization_id, resource)
        return changes.watch(self._services.database, after, where, timeout=timeout, poll=poll, stop=stop)
