"""The audit trail: naming the actor, and reading what was done."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime

from backmarket import audit
from backmarket.audit import queries
from backmarket.audit.queries import AuditEntry, AuditFilter
from backmarket.facade.part import FacadePart
from backmarket.queries.pagination import Page, every


class Trail(FacadePart):
    """The methods of `BackMarket` for the audit trail."""

    def acting_as(self, name: str) -> AbstractContextManager[None]:
        """Name the person for whom the calls within the block are made, in this thread or asyncio task.

            with bm.acting_as("anna"):
                bm.update_listing("shop-1", sku="A-1", price="199.00")

        The audit trail has the name as the application's word (`application`): this package cannot verify it.

        Args:
            name: 1 to 200 printable characters.

        Raises:
            InvalidArgument: if the name is invalid.
        """
        return audit.acting(audit.named_by_application(name))

    def audit(
        self,
        *,
        organization_id: str | None = None,
        actor: str | None = None,
        what: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        """What persons and applications did, the newest first.

        Args:
            organization_id: only for this organization, which may have been removed since.
            actor: only by the actor with this name.
            what: only this action, such as `connection.remove`, or the word before the dot, such as `connection`.
            since: only then or later; without an offset, it is UTC.
            until: only before.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if an argument is invalid.
        """
        where = AuditFilter(organization_id, actor, what, since, until)
        return queries.page(self._services.database, where, limit=limit, cursor=cursor)

    iter_audit = every(audit)
