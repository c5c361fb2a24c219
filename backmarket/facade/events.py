"""Calls for events: webhooks, and the host application's Celery task."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict, Unpack

from backmarket import events
from backmarket.changes import NOW
from backmarket.events import Attempt, Endpoint, EventFilter, NewWebhook
from backmarket.facade.part import FacadePart
from backmarket.queries.pagination import Page, every


class EndpointChanges(TypedDict, total=False):
    """What may be changed of an endpoint; see `create_webhook`."""

    url: str
    resources: Collection[str] | None
    kinds: Collection[str] | None
    fields: Collection[str] | None
    initial: bool
    description: str


class Events(FacadePart):
    """The methods of `BackMarket` for endpoints: who is called at events."""

    def create_webhook(
        self,
        url: str,
        *,
        organization_id: str | None = None,
        resources: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        fields: Collection[str] | None = None,
        initial: bool = False,
        after: str = NOW,
        description: str = "",
    ) -> NewWebhook:
        """Have a URL called at each event, signed by the Standard Webhooks specification; docs/events.md says how.

        Args:
            url: `https`, at a public address, unless `EVENT_PRIVATE_ORIGINS` lists its origin.
            organization_id: only events of this organization; None: of all.
            resources: only these, such as `orders`; None: all.
            kinds: only `created`, `updated` or `removed`; None: all.
            fields: only updates that changed one of these fields of the API; None: all.
            initial: also events of an organization's first walk, one for each row.
            after: a cursor of the change feed; by default, events from now on.
            description: for people, up to 200 characters.

        Returns:
            The endpoint and its secret, which is not shown again.

        Raises:
            InvalidArgument: if an argument is invalid.
            ConnectionNotFound: if the organization is not connected.
            ChangesMissed: if events after the cursor were dropped.
        """
        with self._attempt("event.create", organization_id, "endpoint"):
            return events.create_webhook(
                self._services.database,
                self._services.key_cipher,
                self._services.settings,
                url,
                organization_id=organization_id,
                where=EventFilter(resources, kinds, fields, initial),
                after=after,
                description=description,
            )

    def get_event_endpoints(
        self, organization_id: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[Endpoint]:
        """Endpoints by their ids: the webhooks, and the host's task.

        Args:
            organization_id: only those of this organization; None: all endpoints.
            after: the last id of the page before.
            limit: 1 to 1000.

        Raises:
            InvalidArgument: if the limit is invalid.
        """
        return events.get_endpoints(self._services.database, organization_id, after=after, limit=limit)

    def get_event_endpoint(self, endpoint_id: int) -> Endpoint:
        """One endpoint.

        Raises:
            EndpointNotFound: if no endpoint has this id.
        """
        return events.get_endpoint(self._services.database, endpoint_id)

    def update_event_endpoint(self, endpoint_id: int, **changes: Unpack[EndpointChanges]) -> Endpoint:
        """Change an endpoint; what is not named stays.

        Args:
            **changes: see `EndpointChanges`.

        Raises:
            EndpointNotFound: if no endpoint has this id.
            InvalidArgument: if a value is invalid.
        """
        with self._attempt("event.change", None, "endpoint", endpoint_id):
            return events.update(self._services.database, self._services.settings, endpoint_id, changes)

    def rotate_webhook_secret(self, endpoint_id: int, *, keep_hours: float = 24.0) -> str:
        """Give a webhook a new secret; for some hours each call is signed with the old one, too.

        Args:
            keep_hours: 0 to 720.

        Returns:
            The new secret, which is not shown again.

        Raises:
            EndpointNotFound: if no endpoint has this id.
            InvalidArgument: if the hours are invalid, or the endpoint is the host's task.
        """
        with self._attempt("event.rotate_secret", None, "endpoint", endpoint_id):
            return events.rotate_secret(
                self._services.database, self._services.key_cipher, endpoint_id, keep_hours=keep_hours
            )

    def disable_event_endpoint(self, endpoint_id: int) -> Endpoint:
        """Send an endpoint nothing any more; it keeps its position.

        Raises:
            EndpointNotFound: if no endpoint has this id.
        """
        with self._attempt("event.disable", None, "endpoint", endpoint_id):
            return events.disable(self._services.database, endpoint_id)

    def enable_event_endpoint(self, endpoint_id: int, *, after: str | None = None) -> Endpoint:
        """Send an endpoint events again, at once; also after it was disabled because it failed.

        Args:
            after: a cursor to go on after, or `now`; None: where it stopped.

        Raises:
            EndpointNotFound: if no endpoint has this id.
            InvalidArgument: if the cursor is invalid.
            ChangesMissed: if events after the cursor were dropped.
        """
        with self._attempt("event.enable", None, "endpoint", endpoint_id):
            return events.enable(self._services.database, endpoint_id, after=after)

    def delete_event_endpoint(self, endpoint_id: int) -> None:
        """Delete an endpoint with its log.

        Raises:
            EndpointNotFound: if no endpoint has this id.
        """
        with self._attempt("event.delete", None, "endpoint", endpoint_id):
            events.delete(self._services.database, endpoint_id)

    def redeliver_events(
        self, endpoint_id: int, event: str | None = None, *, after: str | None = None, until: str | None = None
    ) -> int:
        """Send an endpoint events again that it got, or should have got: one of them, or a range.

        Args:
            event: cursor of one event, as `get_event_attempts` has it.
            after: cursor before the first event of a range.
            until: cursor of the last event of the range; None: as far as the endpoint has come.

        Returns:
            Number of events that are sent again.

        Raises:
            EndpointNotFound: if there is no endpoint with this id.
            InvalidArgument: if a cursor is invalid or beyond the endpoint's, the range has more than 10,000 events,
                or the endpoint is disabled.
            ChangesMissed: if the events were dropped.
        """
        with self._attempt("event.redeliver", None, "endpoint", endpoint_id):
            return events.redeliver(self._services.database, endpoint_id, event, after=after, until=until)

    def get_event_attempts(self, endpoint_id: int, *, limit: int = 50, cursor: str | None = None) -> Page[Attempt]:
        """The log of a webhook, the newest attempt first: ids and outcomes.

        Args:
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            EndpointNotFound: if no endpoint has this id.
            InvalidArgument: if the limit or the cursor is invalid.
        """
        return events.get_attempts(self._services.database, endpoint_id, limit=limit, cursor=cursor)

    iter_event_attempts = every(get_event_attempts)
