"""The pages of deliveries, returns and labels over real rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from backmarket import BackMarket
from backmarket.labels.engine import run_slice as run_label_slice
from backmarket.standalone.embedded import Stack
from tests.support.console import Visitor, console_settings, opened_shop
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "shop-1"
HOME = f"/o/{ORG}"


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Shop]:
    settings = console_settings(stack, shared_url, s3_url)
    with fresh_sandbox(limit=100_000) as server, opened_shop(settings, server.control, ORG) as shop:
        yield shop


def listed(page: str) -> set[int]:
    return {int(each) for each in re.findall(r'<th scope="row"[^>]*>(\d+)', page)}


@pytest.mark.parametrize("resource", ["deliveries", "returns"])
def test_parcels_are_filtered_by_how_far_they_are(shop: Shop, anna: Visitor, bm: BackMarket, resource: str) -> None:
    parcels = [each.shipment_id for each in (bm.get_deliveries if resource == "deliveries" else bm.get_returns)(ORG)]
    waiting, under_way, delivered, late = parcels[:4]
    for parcel, values in {
        waiting: "date_pickup = NULL, date_delivery = NULL, date_creation = now()",
        under_way: "date_pickup = now(), date_delivery = NULL, date_creation = now(), tracking_number = 'T-9'",
        delivered: "date_pickup = now(), date_delivery = now()",
        late: "date_pickup = NULL, date_delivery = NULL, date_creation = now() - interval '8 days'",
    }.items():
        shop.execute(f"UPDATE backmarket.{resource} SET {values} WHERE shipment_id = {parcel}")
    for number in parcels[4:]:
        shop.execute(f"UPDATE backmarket.{resource} SET date_delivery = now() WHERE shipment_id = {number}")
    at = f"{HOME}/{resource}"
    assert listed(anna.get(at).text) == set(parcels)
    assert listed(anna.get(f"{at}?stage=waiting").text) == {waiting, late}
    assert listed(anna.get(f"{at}?stage=under_way").text) == {under_way}
    assert listed(anna.get(f"{at}?stage=delivered").text) == {delivered, *parcels[4:]}
    assert listed(anna.get(f"{at}?stage=late").text) == {late}
    assert listed(anna.get(f"{at}?tracking=T-9").text) == {under_way}
    assert "late" in anna.text(f"{at}?stage=late")
    order = shop.one(f"SELECT order_id FROM backmarket.{resource} WHERE shipment_id = %s", late)
    assert late in listed(anna.get(f"{at}?order={order}").text)
    assert f'href="{HOME}/orders/{order}"' in anna.get(at).text
    assert "matches" in anna.text(f"{at}?tracking=none")


@pytest.mark.parametrize("query", ["deliveries?stage=x", "returns?order=x", "deliveries?cursor=x", "labels?state=x",
                                   "labels?resource=orders"])  # fmt: skip
def test_a_filter_that_can_not_be_is_named(anna: Visitor, query: str) -> None:
    answer = anna.get(f"{HOME}/{query}")
    assert (answer.status_code, 'class="fault"' in answer.text) == (422, True)


def test_labels_are_listed_by_state_opened_and_fetched(shop: Shop, anna: Visitor, bm: BackMarket) -> None:
    deliveries = {each.shipment_id for each in bm.get_deliveries(ORG)}
    returns = {each.shipment_id for each in bm.get_returns(ORG)}
    assert listed(anna.get(f"{HOME}/labels?state=wanted").text) == deliveries | returns
    run_label_slice(shop.services, ORG)
    assert listed(anna.get(f"{HOME}/labels?state=stored&resource=returns").text) == returns
    given_up = min(deliveries)
    shop.execute(
        "UPDATE backmarket.labels SET state = 'unavailable', error = 'The host answered 404.' WHERE shipment_id = %s",
        given_up,
    )
    text = anna.text(f"{HOME}/labels?state=unavailable")
    assert "The host answered 404." in text
    assert "Fetch now" in text
    label = min(returns)
    assert f'href="{HOME}/labels/returns/{label}"' in anna.get(f"{HOME}/labels?resource=returns").text
    assert "X-Amz-Signature=" in anna.get(f"{HOME}/labels/returns/{label}").headers["location"]
    assert "Workers fetch 1 label now." in anna.do(f"{HOME}/labels/fetch")
    assert "No label matches" in anna.text(f"{HOME}/labels?state=unavailable")
    bm.disable_connection(ORG)
    assert "disabled" in anna.do(f"{HOME}/labels/fetch")
    bm.enable_connection(ORG)
