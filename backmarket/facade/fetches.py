"""Asking the API for one thing, now and in this process."""

from __future__ import annotations

from uuid import UUID

from backmarket.bulk import api_tasks
from backmarket.bulk.api_tasks import TaskStatus
from backmarket.facade.part import FacadePart
from backmarket.queries.listings import Listing
from backmarket.queries.orders import Order
from backmarket.queries.shipments import Delivery, Return
from backmarket.sync import fetch_one
from backmarket.sync.fetch_one import FetchScope
from backmarket.sync.label_register import InitialLabelState


class Fetches(FacadePart):
    """What `BackMarket` asks the API for by itself."""

    def fetch_order(
        self, organization_id: str, order_id: int, *, environment: str | None = None, locale: str | None = None
    ) -> Order:
        """Ask the API for one order now, store it with its lines, and give it as it is stored.

        Args:
            organization_id: whose.
            order_id: which.
            environment: must be the connection's, if given.
            locale: another than the connection's, whose market the answer then has; it is not stored.

        Raises:
            NotFound: the API does not know it. What is stored stays as it is; a sync finds out whether it is gone.
            Unauthorized: the API refuses the key; the connection is not asked again until that is put right.
            NotAvailable: the account may not use this.
            RateLimited: the account's requests are used up for now.
            TransientError: it could not be had now.
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: it can't be asked.
            EnvironmentMismatch, InvalidArgument: the connection has another environment; its region no such locale.
        """
        return fetch_one.fetch_order(self._services, FetchScope(organization_id, environment, locale), order_id)

    def fetch_listing(
        self,
        organization_id: str,
        listing_id: UUID | str | int,
        *,
        environment: str | None = None,
        locale: str | None = None,
    ) -> Listing:
        """Ask the API for one listing now, by its UUID or its older integer id, and store it; see `fetch_order`."""
        return fetch_one.fetch_listing(self._services, FetchScope(organization_id, environment, locale), listing_id)

    def fetch_delivery(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        download_labels: bool = True,
        environment: str | None = None,
        locale: str | None = None,
    ) -> Delivery:
        """Ask the API for one delivery now, and store it; see `fetch_order`.

        Args:
            organization_id: whose.
            shipment_id: which.
            download_labels: its label is wanted in the bucket.
            environment: must be the connection's, if given.
            locale: another than the connection's; the answer is then not stored.
        """
        scope = FetchScope(organization_id, environment, locale)
        return fetch_one.fetch_delivery(self._services, scope, shipment_id, _labels(download_labels))

    def fetch_return(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        download_labels: bool = True,
        environment: str | None = None,
        locale: str | None = None,
    ) -> Return:
        """Ask the API for one return now, and store it; see `fetch_delivery`."""
        scope = FetchScope(organization_id, environment, locale)
        return fetch_one.fetch_return(self._services, scope, shipment_id, _labels(download_labels))

    def get_task_status(
        self, organization_id: str, task_id: int, *, environment: str | None = None, locale: str | None = None
    ) -> TaskStatus:
        """Ask the API what became of a bulk task; see `fetch_order` for the errors."""
        return api_tasks.get_task_status(self._services, FetchScope(organization_id, environment, locale), task_id)


def _labels(wanted: bool) -> InitialLabelState:
    return "wanted" if wanted else "skipped"
