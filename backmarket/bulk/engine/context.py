"""What the steps of one bulk slice share: the lease, the API requests, the time budget."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from backmarket import connections, work
from backmarket.bulk import rows
from backmarket.bulk.engine.requests import ApiRequests
from backmarket.database import Transaction
from backmarket.errors import LeaseLost
from backmarket.observability.logs import Logger
from backmarket.services import Services
from backmarket.work import WorkLease
from backmarket.work.slice import LeaseHolder

T = TypeVar("T")

log = Logger(__name__)


class SliceContext(LeaseHolder):
    """What the steps of one slice share."""

    def __init__(self, services: Services, lease: WorkLease) -> None:
        super().__init__(services, lease)
        self.api = ApiRequests(services, lease.encrypted)
        self.until = monotonic() + self.settings.task_budget_seconds

    @property
    def over(self) -> bool:
        """Whether this slice must end, even if work is left."""
        return self.api.stopped or monotonic() > self.until

    def read(self, query: Callable[[Transaction], T]) -> T:
        """Run a query in a transaction of its own."""
        with self.services.database.transaction() as transaction:
            return query(transaction)

    def end(self, pause: float | None) -> None:
        """Release the lease, and set when a worker looks again.

        Args:
            pause: minimum seconds until then, whatever is due; None: as the rows say.
        """
        try:
            with self.services.database.transaction() as transaction:
                work.hold(transaction, self.lease)
                due_at = rows.next_due(transaction, self.organization_id, pause=pause or 0.0)
                work.finish(transaction, self.lease, due_at)
        except LeaseLost as error:
            log.info("bulk.lease_lost", lease=self.lease.number, why=error.code)

    def note_refused_key(self) -> None:
        """Note that the API refused the key, if it did: the account pauses."""
        if (refused := self.api.refused) is not None:
            with self.services.database.transaction() as transaction:
                connections.mark_unauthorized(transaction, self.organization_id, self.lease.generation, refused)
