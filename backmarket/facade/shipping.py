"""The day's work: orders to accept and to ship, and their labels printed together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from backmarket.facade.part import FacadePart
from backmarket.labels import printing
from backmarket.labels.printing import LabelKey, PrintedLabels
from backmarket.queries import to_ship
from backmarket.queries.pagination import Page, every
from backmarket.queries.to_ship import OrderToShip, ShippingCounts, ShippingFilter, ShippingStep
from backmarket.writes import rows
from backmarket.writes.models import Write
from backmarket.writes.targets import order_lane


class Shipping(FacadePart):
    """The methods of `BackMarket` for accepting and shipping, over all organizations or for one."""

    def get_orders_to_ship(
        self,
        organization_id: str | None = None,
        *,
        step: ShippingStep | str | None = None,
        due_before: datetime | None = None,
        country_code: str | None = None,
        sku: str | None = None,
        backship: bool | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OrderToShip]:
        """Stored orders that wait for the seller, the earliest dispatch deadline first.

        Args:
            organization_id: only of this organization; None: of all.
            step: only those to `accept` (an order in state 1), or to `ship` (in state 3).
            due_before: only with a deadline before it; without an offset, it is UTC.
            country_code: only from this market, such as `fr-fr`.
            sku: only with a line of this SKU, ignoring case.
            backship: only with a label of Back Market's, or only without.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if an argument is invalid.
        """
        where = ShippingFilter(organization_id, step, due_before, country_code, sku, backship)
        return to_ship.page(self._services.database, where, limit=limit, cursor=cursor)

    iter_orders_to_ship = every(get_orders_to_ship)

    def get_orders_by_keys(self, keys: Sequence[tuple[str, int]]) -> list[OrderToShip]:
        """Stored orders with their lines and parcels, in the order of the keys and in whatever state.

        Args:
            keys: pairs of an organization's and an order's id, up to 1000. One that is not stored is left out.

        Raises:
            InvalidArgument: if there are too many.
        """
        return to_ship.by_keys(self._services.database, keys)

    def count_orders_to_ship(self, organization_id: str | None = None) -> ShippingCounts:
        """How many stored orders wait to be accepted and shipped, and how many of them are late.

        Args:
            organization_id: only of this organization; None: of all.
        """
        return to_ship.counts(self._services.database, organization_id)

    def get_newest_writes(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[Write]]:
        """The newest writes of each order and its lines, at most five of one order, the newest first.

        Args:
            keys: pairs of an organization's and an order's id.
        """
        lanes = {(organization, order_lane(order)): (organization, order) for organization, order in keys}
        found: dict[tuple[str, int], list[Write]] = {}
        for write in rows.newest_of_lanes(self._services.database, list(lanes)):
            found.setdefault(lanes[write.organization_id, write.lane], []).append(write)
        return found

    def print_labels(self, labels: Sequence[LabelKey], *, to: Path | BinaryIO) -> PrintedLabels:
        """Write stored labels of any organizations as one PDF, in the given order. Fetches none.

        Args:
            labels: names of up to 500 labels, of 256 MB together.
            to: the path of a file, or a file open for writing bytes. Nothing is written if there is no page.

        Returns:
            What was printed, and each label that was not, with the reason.

        Raises:
            InvalidArgument: if there are too many labels, or they are too large together.
            SettingsError: if pypdf is not installed, or the settings name no bucket.
        """
        if not isinstance(to, Path):
            return printing.print_labels(self._services, labels, to)
        pdf = BytesIO()
        printed = printing.print_labels(self._services, labels, pdf)
        if printed.pages:
            to.write_bytes(pdf.getvalue())
        return printed
