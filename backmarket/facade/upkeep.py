"""Upkeep, and erasing personal data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backmarket import audit
from backmarket.facade.part import FacadePart

if TYPE_CHECKING:  # loaded when they are needed
    from backmarket.upkeep.erasure import Erased
    from backmarket.upkeep.hourly import Upkeep


class Housekeeping(FacadePart):
    """The methods of `BackMarket` that enforce retention."""

    def upkeep(self) -> Upkeep:
        """Run the hourly upkeep now: create partitions, drop rows past their retention, erase old personal data."""
        from backmarket.upkeep import hourly

        with self._begun("upkeep.run"):
            return hourly.run(self._services.database, self._services.settings)

    def skip_recovery(self) -> None:
        """Send requests at once though Redis has lost its count of them, where 15 s would pass; for tests.

        Only the caller knows that no process of this account's sent a request within the last 15 s: else the limit may
        be exceeded. A new deployment needs no such call.

        Raises:
            LimiterUnavailable: if Redis is unreachable.
        """
        with self._attempt("limiter.skip_recovery"):
            self._services.limiter.skip_recovery()
            with self._services.database.transaction() as transaction:
                audit.record(transaction, audit.Act("limiter.skip_recovery"))

    def erase_order(self, organization_id: str, order_id: int) -> Erased:
        """Erase the personal data of an order, with its lines, deliveries and returns. Later syncs do not restore it.

        Addresses, tracking, the delivery note, the customer's words and labels are erased; states, dates, prices, the
        country and the goods stay.

        Raises:
            ConnectionNotFound: if there is no such organization.
            OrderNotStored: if nothing of this order is stored.
        """
        from backmarket.upkeep import erasure

        with self._attempt("order.erase", organization_id, "order", order_id):
            return erasure.erase_order(self._services.database, organization_id, order_id)
