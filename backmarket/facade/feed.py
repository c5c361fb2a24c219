"""The change feed."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

from backmarket import (
    changes,
)
from backmarket.changes import NOW, Change, ChangeFilter, Changes
from backmarket.facade.part import FacadePart


class Feed(FacadePart):
    """How `BackMarket` tells what changed."""

    def changes(
        self,
        after: str | None = None,
        *,
        organization_id: str | None = None,
        resource: str | None = None,
        limit: int = 1000,
    ) -> Changes:
        """What was created, updated and removed, oldest first; each event comes once, none is skipped.

        Args:
            after: `next_cursor` of the page before, or the `cursor` of an event; `now`: the end of the feed; None:
                from the oldest event that is kept.
            organization_id: only of this organization.
            resource: only of this resource.
            limit: 1 to 10,000.

        Raises:
            InvalidArgument: a limit, resource or cursor that can't be.
            ChangesMissed: events after the cursor are older than the retention, and were dropped.
        """
        where = ChangeFilter(organization_id, resource)
        return changes.get_changes(self._services.database, after, where, limit=limit)

    def get_history(
        self, organization_id: str, resource: str, external_id: int | str, *, limit: int = 100
    ) -> list[Change]:
        """What happened to one row, as far as the feed is kept, the newest first.

        Args:
            organization_id: whose.
            resource: such as `orders`.
            external_id: the row's id at Back Market.
            limit: 1 to 10,000.

        Raises:
            InvalidArgument: a limit or resource that can't be.
        """
        return changes.get_history(self._services.database, organization_id, resource, external_id, limit=limit)

    def changes_cursor(self) -> str:
        """The end of the feed now. Take it, read the tables, then follow the feed from it: nothing is missed."""
        return changes.get_cursor(self._services.database)

    def watch(
        self,
        after: str | None = NOW,
        *,
        organization_id: str | None = None,
        resource: str | None = None,
        timeout: float | None = None,
        poll: float = 5.0,
        stop: Event | None = None,
    ) -> Iterator[Change]:
        """Follow the changes as they happen, about a second later; each event comes once, in the order of `changes`.

        It survives a lost connection and a restart of PostgreSQL. It blocks its thread; beside an event loop, run it
        in a thread of its own, and end it with `stop`.

        Args:
            after: a cursor; by default only what happens from now on; None: from the oldest event that is kept.
            organization_id: only of this organization.
            resource: only of this resource.
            timeout: seconds without an event after which it ends; None: never.
            poll: seconds between two looks where no announcement is heard: behind a transaction pooler, or when no
                worker takes the queue `dispatch`.
            stop: ends it within half a second when set.

        Raises:
            InvalidArgument: a figure, resource or cursor that can't be.
            ChangesMissed: events after the cursor are older than the retention, and were dropped.
        """
        where = ChangeFilter(organization_id, resource)
        return changes.watch(self._services.database, after, where, timeout=timeout, poll=poll, stop=stop)
