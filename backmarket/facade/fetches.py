"""Fetching one object from the API, now and in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from backmarket.client.endpoints import Environment
from backmarket.facade.part import FacadePart
from backmarket.queries.listings import Listing
from backmarket.queries.orders import Order
from backmarket.queries.shipments import Delivery, Return

if TYPE_CHECKING:  # loaded by the first fetch: with the client, they are a third of this package
    from backmarket.bulk.api_tasks import TaskStatus
    from backmarket.sync.label_register import InitialLabelState


class Fetches(FacadePart):
    """The methods of `BackMarket` that fetch single objects."""

    def fetch_order(
        self, organization_id: str, order_id: int, *, environment: Environment | None = None, locale: str | None = None
    ) -> Order:
        """Fetch one order from the API now, store it with its lines, and return it as stored.

        Args:
            environment: must be the connection's, if given.
            locale: another locale than the connection's: returns that market's answer, without storing it.

        Raises:
            NotFound: if the API does not know the order. The stored row stays; a sync finds out whether it is gone.
            Unauthorized: if the API refuses the key; the connection sends nothing until it is accepted again.
            NotAvailable: if the account may not use this resource.
            RateLimited: if the account's requests are used up for now.
            TransientError: if the order could not be fetched now.
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the connection cannot be
                used.
            EnvironmentMismatch: if the connection has another environment.
            InvalidArgument: if the connection's region has no such locale.
        """
        from backmarket.sync import fetch_one

        scope = fetch_one.FetchScope(organization_id, environment, locale)
        return fetch_one.fetch_order(self._services, scope, order_id)

    def fetch_listing(
        self,
        organization_id: str,
        listing_id: UUID | str | int,
        *,
        environment: Environment | None = None,
        locale: str | None = None,
        market: str | None = None,
    ) -> Listing:
        """Fetch one listing now, by its UUID or its older integer id, and store it; see `fetch_order`.

        Args:
            environment: must be the connection's, if given.
            locale: another locale than the connection's; the answer is stored if it is one of its markets.
            market: a market of the connection, in place of `locale`.

        Raises:
            InvalidArgument: if the connection has no such market.
        """
        from backmarket.sync import fetch_one

        scope = fetch_one.FetchScope(organization_id, environment, locale, market)
        return fetch_one.fetch_listing(self._services, scope, listing_id)

    def fetch_delivery(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        download_labels: bool = True,
        environment: Environment | None = None,
        locale: str | None = None,
    ) -> Delivery:
        """Fetch one delivery from the API now, and store it; see `fetch_order`.

        Args:
            download_labels: queue its label for the bucket.
            environment: must be the connection's, if given.
            locale: another locale than the connection's; the answer is then not stored.
        """
        from backmarket.sync import fetch_one

        scope = fetch_one.FetchScope(organization_id, environment, locale)
        return fetch_one.fetch_delivery(self._services, scope, shipment_id, _labels(download_labels))

    def fetch_return(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        download_labels: bool = True,
        environment: Environment | None = None,
        locale: str | None = None,
    ) -> Return:
        """Fetch one return from the API now, and store it; see `fetch_delivery`."""
        from backmarket.sync import fetch_one

        scope = fetch_one.FetchScope(organization_id, environment, locale)
        return fetch_one.fetch_return(self._services, scope, shipment_id, _labels(download_labels))

    def get_task_status(
        self, organization_id: str, task_id: int, *, environment: Environment | None = None, locale: str | None = None
    ) -> TaskStatus:
        """Fetch the status of a bulk task; see `fetch_order` for the errors."""
        from backmarket.bulk import api_tasks
        from backmarket.sync.fetch_one import FetchScope

        return api_tasks.get_task_status(self._services, FetchScope(organization_id, environment, locale), task_id)


def _labels(wanted: bool) -> InitialLabelState:
    return "wanted" if wanted else "skipped"
