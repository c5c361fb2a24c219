"""A line is left out only if nothing that it asks for differs from its listing as it is stored."""

from decimal import Decimal
from typing import Any

import pytest

from backmarket.bulk.csv_file.unchanged import unchanged

LISTING: dict[str, Any] = {
    "sku": "A",
    "product_id": "7A97A1B6-547e-4718-bc72-5b84aca91b09",
    "backmarket_id": 42,
    "price": Decimal("229.00"),
    "min_price": None,
    "currency": "EUR",
    "quantity": 5,
    "comment": "Like new",
    "warranty_delay": 24,
    "grade": "GOOD",
    "state": 2,
    "new_battery": True,
    "shippings": [
        {"country_code": "de-de", "shipper": "UPS", "shipping_delay": 24, "shipping_price": "1.00"},
        {"country_code": "fr-fr", "shipper": "DHL Express", "shipping_delay": 48, "shipping_price": "0.00"},
    ],
}


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"price": "229", "quantity": "5", "comment": "", "anything": ""},
        {"price": "229.0", "currency": "EUR", "comment": "Like new", "warranty_delay": "24"},
        {"grade": "GOOD", "state": "2", "new_battery": "TRUE"},
        {"product_id": "7a97a1b6-547e-4718-bc72-5b84aca91b09", "backmarket_id": "42"},
        {"shipper_1": "DHL Express", "shipping_delay_1": "48", "shipping_price_1": "0"},
    ],
)
def test_what_is_so_already_changes_nothing(row: dict[str, str]) -> None:
    assert unchanged({"sku": "a", **row}, LISTING, locale="fr-fr")


@pytest.mark.parametrize(
    "row",
    [
        {"price": "229.01"},
        {"min_price": "200"},
        {"currency": "USD"},
        {"quantity": "6"},
        {"quantity": "0"},
        {"comment": "like new"},
        {"grade": "FAIR"},
        {"new_battery": "false"},
        {"product_id": "42"},
        {"ean": "4006381333931"},
        {"anything": "x"},
        {"comment": " "},
        {"shipper_1": "UPS"},
        {"shipper_2": "UPS"},
        {"shipping_delay_1": "24"},
        {"shipping_price_1": "0.01"},
        {"shipper_display_1": "DHL"},
    ],
)
def test_what_differs_or_cannot_be_compared_is_sent(row: dict[str, str]) -> None:
    assert not unchanged({"sku": "A", **row}, LISTING, locale="fr-fr")
    assert not unchanged({"sku": "A", "price": "229.00", **row}, LISTING, locale="fr-fr")


def test_a_listing_without_carriers_has_none() -> None:
    assert not unchanged({"sku": "A", "shipper_1": "UPS"}, LISTING | {"shippings": None}, locale="fr-fr")
