"""Upkeep, and erasing personal data."""

from __future__ import annotations

from backmarket.facade.part import FacadePart
from backmarket.upkeep import erasure, hourly
from backmarket.upkeep.erasure import Erased
from backmarket.upkeep.hourly import Upkeep


class Housekeeping(FacadePart):
    """What `BackMarket` does so that nothing is kept for too long."""

    def upkeep(self) -> Upkeep:
        """Do now what beat has done every hour: make partitions, drop what is too old, erase old personal data."""
        return hourly.run(self._services.database, self._services.settings)

    def erase_order(self, organization_id: str, order_id: int) -> Erased:
        """Erase the personal data of an order, with its lines, deliveries and returns; later syncs keep it away.

        Addresses, tracking, the delivery note, the customer's words and labels go; states, dates, prices, the country
        and the goods stay.

        Raises:
            ConnectionNotFound: there is no such organization.
            OrderNotStored: nothing of this order is stored.
        """
        return erasure.erase_order(self._services.database, organization_id, order_id)
