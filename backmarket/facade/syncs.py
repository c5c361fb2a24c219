"""Requesting syncs, their status, and the schedule."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.client.endpoints import Environment
from backmarket.facade.part import FacadePart
from backmarket.messages import Nudge
from backmarket.resources import ResourceName
from backmarket.status import inbox, lag_history, overview, sync_status, throttled
from backmarket.status.inbox import InboxItem
from backmarket.status.lag_history import LagSample
from backmarket.status.overview import Overview
from backmarket.status.sync_status import SyncStatus
from backmarket.status.throttled import Throttled
from backmarket.sync import requests, schedule
from backmarket.sync.handle import SyncHandle
from backmarket.sync.schedule import ScheduleEntry


class Syncs(FacadePart):
    """The methods of `BackMarket` for syncs."""

    def sync_orders(
        self, organization_id: str, *, full: bool = False, environment: Environment | None = None
    ) -> SyncHandle:
        """Sync the orders now, whatever the schedule says; see `sync`."""
        return self.sync(organization_id, "orders", full=full, environment=environment)

    def sync_listings(
        self,
        organization_id: str,
        *,
        full: bool = False,
        market: str | None = None,
        environment: Environment | None = None,
    ) -> SyncHandle:
        """Sync the listings now, whatever the schedule says, in all markets of the connection or in one; see `sync`."""
        return self.sync(organization_id, "listings", full=full, market=market, environment=environment)

    def sync_deliveries(
        self,
        organization_id: str,
        *,
        full: bool = False,
        download_labels: bool = True,
        environment: Environment | None = None,
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
        environment: Environment | None = None,
    ) -> SyncHandle:
        """Sync the returns now, whatever the schedule says; see `sync`."""
        return self.sync(
            organization_id, "returns", full=full, download_labels=download_labels, environment=environment
        )

    def sync(
        self,
        organization_id: str,
        resource: ResourceName,
        *,
        full: bool = False,
        download_labels: bool = True,
        accept_missing: bool = False,
        market: str | None = None,
        environment: Environment | None = None,
    ) -> SyncHandle:
        """Sync one resource now, whatever the schedule says.

        Args:
            resource: `orders`, `listings`, `deliveries` or `returns`.
            full: fetch the whole list, not only rows that may have changed.
            download_labels: queue the labels of the shipments that it finds; if False, leave them to the next sync.
            accept_missing: walk the whole list, and check the rows that it does not show, however many they are.
            market: of listings: only in this market of the connection, such as `de-de`; None: in all of them.
            environment: must be the connection's, if given.

        Raises:
            InvalidArgument: if there is no such resource, or the connection has no such market.
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the connection cannot be
                used.
            EnvironmentMismatch: if the connection is for another environment.
        """
        self._services.need_broker()
        request = requests.request_sync(
            self._services.database,
            organization_id,
            resource,
            full=full,
            download_labels=download_labels,
            accept_missing=accept_missing,
            environment=environment,
            market=market,
        )
        nudges = [Nudge(resource, organization_id, each.market) for each in request.each]
        nudged = self._services.producer.nudge(nudges) == len(nudges)
        return SyncHandle(organization_id, resource, request, nudged, self._services.database)

    def get_status(self, *, after: str = "", limit: int = 1000, failing: bool = False) -> list[SyncStatus]:
        """The status of all organizations' resources, by organization id.

        Args:
            after: the last id of the page before.
            limit: maximum number of rows, plus those that complete the last organization.
            failing: only resources that fail, or that are not synced because the API refused the key.
        """
        return sync_status.get_all_sync_status(self._services.database, after=after, limit=limit, failing=failing)

    def get_overview(self) -> Overview:
        """The number of organizations by health, and the status of their syncs by resource; two statements."""
        return overview.get_overview(self._services.database)

    def get_lag_history(
        self, organization_ids: Sequence[str], *, hours: float = 24.0
    ) -> dict[tuple[str, str], list[LagSample]]:
        """The recent lag of the stored rows, by organization and resource, the oldest first.

        Of listings, that of the connection's locale.

        Only runs that found changes or failed are recorded, so a quiet account has few samples.

        Args:
            organization_ids: ids of up to 1000 organizations.
            hours: hours to look back, up to the newest 300 runs of each.

        Raises:
            InvalidArgument: if there are too many organizations, or `hours` is invalid.
        """
        return lag_history.get_lag_history(self._services.database, organization_ids, hours=hours)

    def get_throttled(self, *, organization_id: str | None = None, limit: int = 100) -> list[Throttled]:
        """The syncs, writes and bulk jobs that wait for a limit, the soonest first.

        Args:
            organization_id: only of this organization.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: if the limit is invalid.
        """
        return throttled.get_throttled(self._services.database, organization_id, limit=limit)

    def get_inbox(self, organization_id: str | None = None, *, limit: int = 100) -> list[InboxItem]:
        """What goes on only once a person has decided or done something: refused keys, then the longest waiting.

        Args:
            organization_id: only of this organization; None: of all.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: if the limit is invalid.
        """
        return inbox.get_inbox(self._services.database, organization_id, limit=limit)

    def count_inbox(self, organization_id: str | None = None) -> int:
        """How many entries the inbox has."""
        return inbox.count_inbox(self._services.database, organization_id)

    def get_inbox_counts(self, organization_ids: Sequence[str]) -> dict[str, int]:
        """How many entries the inbox has of each of these organizations; those without any are left out."""
        return inbox.count_by_organization(self._services.database, organization_ids)

    def get_schedule(self, organization_id: str | None = None) -> dict[ResourceName, ScheduleEntry]:
        """The schedule by resource: the general one, or the one in effect for one organization.

        Raises:
            ConnectionNotFound: if there is no such organization.
        """
        return schedule.get_schedule(self._services.database, organization_id)

    def update_schedule(
        self,
        resource: ResourceName,
        *,
        organization_id: str | None = None,
        enabled: bool | None = None,
        interval: float | None = None,
        full_interval: float | None = None,
        download_labels: bool | None = None,
        inherit: bool = False,
    ) -> ScheduleEntry:
        """Change the schedule of one resource, at once and without a restart; None keeps a value.

        Args:
            resource: `orders`, `listings`, `deliveries` or `returns`.
            organization_id: only for this one; None: for all that have no value of their own.
            enabled: whether it is synced on schedule. If it is off in general, it is off for each organization.
            interval: seconds between two syncs, from 1 to 366 days.
            full_interval: seconds between two full walks, in the same range.
            download_labels: whether to queue the labels of an organization's shipments for the bucket.
            inherit: first drop the organization's own values.

        Raises:
            InvalidArgument: if there is no such resource, or a value is invalid.
            ConnectionNotFound: if there is no such organization.
        """
        with self._attempt("schedule.change", organization_id, "schedule", resource):
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
