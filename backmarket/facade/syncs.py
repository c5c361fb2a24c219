"""Syncs now, how they fare, and the schedule."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket import status
from backmarket.facade.part import FacadePart
from backmarket.messages import Nudge
from backmarket.status import SyncStatus, lag_history, overview, throttled
from backmarket.status.lag_history import LagSample
from backmarket.status.overview import Overview
from backmarket.status.throttled import Throttled
from backmarket.sync import requests, schedule
from backmarket.sync.handle import SyncHandle
from backmarket.sync.schedule import ScheduleEntry


class Syncs(FacadePart):
    """What `BackMarket` does with syncs."""

    def sync_orders(self, organization_id: str, *, full: bool = False, environment: str | None = None) -> SyncHandle:
        """Sync the orders now, whatever the schedule says; see `sync`."""
        return self.sync(organization_id, "orders", full=full, environment=environment)

    def sync_listings(self, organization_id: str, *, full: bool = False, environment: str | None = None) -> SyncHandle:
        """Sync the listings now, whatever the schedule says; see `sync`.

        There is no locale of its own: the table has the prices of one market, the connection's. `fetch_listing`
        gives those of another.
        """
        return self.sync(organization_id, "listings", full=full, environment=environment)

    def sync_deliveries(
        self,
        organization_id: str,
        *,
        full: bool = False,
        download_labels: bool = True,
        environment: str | None = None,
    ) -> SyncHandle:
        """Sync the deliveries now, whatever the schedule says; see `sync`."""
        return self.sync(
            organization_id, "deliveries", full=full, download_labels=download_labels, environment=environment
        )

    def sync_returns(
        self,
        organization_id: str,
        *,
        full: bool = False,
        download_labels: bool = True,
        environment: str | None = None,
    ) -> SyncHandle:
        """Sync the returns now, whatever the schedule says; see `sync`."""
        return self.sync(
            organization_id, "returns", full=full, download_labels=download_labels, environment=environment
        )

    def sync(
        self,
        organization_id: str,
        resource: str,
        *,
        full: bool = False,
        download_labels: bool = True,
        accept_missing: bool = False,
        environment: str | None = None,
    ) -> SyncHandle:
        """Sync one resource by its name now, whatever the schedule says.

        Args:
            organization_id: whose.
            resource: `orders`, `listings`, `deliveries` or `returns`.
            full: ask for the whole list, not only for what may have changed.
            download_labels: the labels of the shipments that it finds are wanted; without it they are left to the
                next sync.
            accept_missing: walk the whole list, and look into rows that it does not show however many they are.
            environment: must be the connection's, if given.

        Raises:
            InvalidArgument: there is no such resource.
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: it can't be asked.
            EnvironmentMismatch: the connection is for another environment.
        """
        request = requests.request_sync(
            self._services.database,
            organization_id,
            resource,
            full=full,
            download_labels=download_labels,
            accept_missing=accept_missing,
            environment=environment,
        )
        nudged = self._services.producer.nudge([Nudge(resource, organization_id)]) == 1
        return SyncHandle(organization_id, resource, request, nudged, self._services.database)

    def get_status(self, *, after: str = "", limit: int = 1000, failing: bool = False) -> list[SyncStatus]:
        """How the resources of all organizations fare, by organization id.

        Args:
            after: the last id of the page before.
            limit: rows at the most, but for those that complete the last organization.
            failing: only what fails, or is not asked because the key was refused.
        """
        return status.get_all_sync_status(self._services.database, after=after, limit=limit, failing=failing)

    def get_overview(self) -> Overview:
        """How many organizations there are by health, and how their syncs fare by resource; two statements."""
        return overview.get_overview(self._services.database)

    def get_lag_history(
        self, organization_ids: Sequence[str], *, hours: float = 24.0
    ) -> dict[tuple[str, str], list[LagSample]]:
        """How far behind the copies were lately, by organization and resource, the oldest first.

        Only runs that found news or failed are known, so a quiet account has few samples.

        Args:
            organization_ids: whose; up to 1000.
            hours: how far back, up to the newest 300 runs of each.

        Raises:
            InvalidArgument: too many organizations, or hours that can't be.
        """
        return lag_history.get_lag_history(self._services.database, organization_ids, hours=hours)

    def get_throttled(self, *, organization_id: str | None = None, limit: int = 100) -> list[Throttled]:
        """What waits for a limit to let it go on, the soonest first: syncs, writes and bulk jobs.

        Args:
            organization_id: of this one only.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: a limit that can't be.
        """
        return throttled.get_throttled(self._services.database, organization_id, limit=limit)

    def get_schedule(self, organization_id: str | None = None) -> dict[str, ScheduleEntry]:
        """The schedule by resource: everybody's, or as it counts for one organization.

        Raises:
            ConnectionNotFound: there is no such organization.
        """
        return schedule.get_schedule(self._services.database, organization_id)

    def update_schedule(
        self,
        resource: str,
        *,
        organization_id: str | None = None,
        enabled: bool | None = None,
        interval: float | None = None,
        full_interval: float | None = None,
        download_labels: bool | None = None,
        inherit: bool = False,
    ) -> ScheduleEntry:
        """Change the schedule of one resource, at once and without a restart; what is None stays.

        Args:
            resource: `orders`, `listings`, `deliveries` or `returns`.
            organization_id: for this one only; None: for all that have no value of their own.
            enabled: whether it is synced by itself. Off for everybody is off for each.
            interval: seconds between two syncs, from 1 to 366 days.
            full_interval: seconds between two full walks, the same.
            download_labels: whether the labels of an organization's shipments are wanted in the bucket.
            inherit: first drop the organization's own values.

        Raises:
            InvalidArgument: there is no such resource, or a value that can't be.
            ConnectionNotFound: there is no such organization.
        """
        return schedule.update_schedule(
            self._services.database,
            resource,
            organization_id=organization_id,
            enabled=enabled,
            interval=interval,
            full_interval=full_interval,
            download_labels=download_labels,
            inherit=inherit,
        )
