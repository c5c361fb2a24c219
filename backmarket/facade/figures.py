"""Figures over time, for managers and their spreadsheets."""

from __future__ import annotations

from datetime import date

from backmarket.facade.part import FacadePart
from backmarket.queries import figures
from backmarket.queries.figures import Figures
from backmarket.queries.periods import Span


class FiguresOverTime(FacadePart):
    """The method of `BackMarket` that counts."""

    def get_figures(
        self,
        organization_id: str | None = None,
        *,
        span: Span | str = Span.MONTH,
        until: date | None = None,
        time_zone: str | None = None,
        sku: str | None = None,
    ) -> Figures:
        """Orders, revenue, cancellations, returns, dispatch and stock over time, counted from the stored rows.

        What is of an order belongs to the period of its creation, whenever it was dispatched, cancelled or refunded.
        Rows that Back Market no longer knows are left out, and orders without a date.

        Args:
            organization_id: of this organization; None: of all.
            span: `day`, by the hour; `week` (7) and `month` (30), by the day; `quarter`, by 13 weeks from Monday to
                Sunday; `year`, by 12 calendar months.
            until: its last day; a quarter and a year end with the week and the month of this day. None: today.
            time_zone: whose days, by its IANA name, such as `Europe/Paris`. None: `BACKMARKET_FIGURES_TIME_ZONE`.
            sku: of the SKUs, only this one, ignoring case.

        Raises:
            InvalidArgument: if an argument is invalid, or counting would take longer than 10 s.
        """
        settings = self._services.settings
        return figures.get_figures(
            self._services.database,
            organization_id,
            span=span,
            until=until,
            time_zone=time_zone or settings.figures_time_zone,
            sku=sku,
            retention_days=settings.changes_retention_days,
        )
