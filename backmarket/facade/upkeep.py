"""Upkeep, and erasing personal data."""

from __future__ import annotations

from backmarket.facade.part import FacadePart
from backmarket.upkeep import erasure, hourly
from backmarket.upkeep.erasure import Erased
from backmarket.upkeep.hourly import Upkeep


class Housekeeping(FacadePart):
    """The methods of `BackMarket` that enforce retention."""

    def upkeep(self) -> Upkeep:
        """Run the hourly upkeep now: create partitions, drop rows past their retention, erase old personal data."""
        with self._begun("upkeep.run"):
            return hourly.run(self._services.database, self._services.settings)

    def erase_order(self, organization_id: str, order_id: int) -> Erased:
        """Erase the personal data of an order, with its lines, deliveries and returns. Later syncs do not restore it.

        Addresses, tracking, the delivery note, the customer's words and labels are erased; states, dates, prices, the
        country and the goods stay.

        Raises:
            ConnectionNotFound: if there is no such organization.
            OrderNotStored: if nothing of this order is stored.
        """
        with self._attempt("order.erase", organization_id, "order", order_id):
            return erasure.erase_order(self._services.database, organization_id, order_id)
