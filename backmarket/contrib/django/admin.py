"""The tables in Django's admin, to read. It shows the organization that `OrganizationMiddleware` names."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from backmarket.contrib.django import models


class ReadOnlyAdmin(admin.ModelAdmin):
    """Nothing can be added, changed or deleted; a user with the permission `view` sees the rows."""

    show_full_result_count = False  # a second count of the table for each page

    def _never(self, *_: Any) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _never


_COLUMNS: dict[Any, tuple[str, ...]] = {
    models.Order: ("order_id", "state", "country_code", "price", "currency", "date_creation"),
    models.OrderLine: ("orderline_id", "order_id", "state", "listing", "quantity", "price", "date_creation"),
    models.Listing: ("listing_id", "sku", "title", "quantity", "price", "currency", "publication_state"),
    models.Delivery: ("shipment_id", "order_id", "carrier_name", "date_creation", "date_delivery"),
    models.Return: ("shipment_id", "order_id", "orderline_id", "carrier_name", "date_creation", "date_delivery"),
    models.Change: ("id", "recorded_at", "resource", "external_id", "kind", "fields"),
}
"""The columns of each list. `Label` and `ListingMarket` are not here: Django's admin refuses keys of two columns."""

for _model, _shown in _COLUMNS.items():
    admin.site.register(_model, ReadOnlyAdmin, list_display=_shown)
