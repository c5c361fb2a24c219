"""The base class of the parts of the `BackMarket` object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from backmarket import audit
from backmarket.errors import SettingsError
from backmarket.messages import Nudge
from backmarket.services import Services
from backmarket.sync import leases


class FacadePart:
    """A part of `BackMarket`: its methods for one topic."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _attempt(
        self, action: str, organization_id: str | None = None, kind: str | None = None, object_id: object = None
    ) -> AbstractContextManager[None]:
        """Record an act that is refused or fails; one that succeeds is recorded with its change."""
        return audit.attempt(self._services.database, audit.Act(action, organization_id, kind, object_id))

    def _nudge(self, organization_id: str) -> None:
        """Send the nudge of the organization's orders, if they are due, which the dispatcher would send a second later.

        Without a broker, or while it is unavailable, it is left to the dispatcher.
        """
        nudge, services = Nudge("orders", organization_id), self._services
        with suppress(SettingsError):  # there is no broker
            services.need_broker()
            if leases.recall(services.database, nudge, within=0.0) and not services.producer.nudge([nudge]):
                leases.withdraw(services.database, nudge)

    @contextmanager
    def _begun(self, action: str, **details: object) -> Iterator[None]:
        """Record an act of many transactions before its first one, and again if it fails."""
        act = audit.Act(action, details=details)
        with self._services.database.transaction() as transaction:
            audit.record(transaction, act, audit.Outcome.ASKED)
        with audit.attempt(self._services.database, act):
            yield
