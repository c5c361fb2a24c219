"""What a host's test finds, and what it leaves behind: nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from backmarket import BackMarket, OrderLineState
from backmarket.errors import ServerError, WaitTimeout, WriteRefused
from backmarket.resources import RESOURCES
from backmarket.settings import Settings
from backmarket.testing import ConnectedSeller


@pytest.fixture
def _settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKMARKET_DATABASE_URL", "postgresql://a-real-one/production")
    monkeypatch.setenv("BACKMARKET_CHANGES_RETENTION_DAYS", "3")


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_begins_with_nothing_but_the_seller(connected_seller: ConnectedSeller, turn: str) -> None:
    seller = connected_seller
    assert list(seller.bm.changes()) == []
    assert list(seller.bm.iter_orders(seller.organization_id)) == []
    with redis.Redis.from_url(seller.settings.need("redis_url")) as client:
        messages = {key.decode() for key in client.scan_iter() if not key.startswith(b"_kombu.")}
    assert messages <= set(RESOURCES), "the first nudges of the seller"
    assert seller.sandbox.stats().requests == 0
    outcome = seller.sync("orders")
    assert (outcome.rows_created, outcome.rows_rejected) == (60, 0)
    newest = next(seller.bm.iter_orders(seller.organization_id))
    assert newest.date_creation is not None
    assert datetime.now(UTC) - newest.date_creation < timedelta(days=2)
    seller.sandbox.add_fault("status", status=500)  # left behind


@pytest.mark.usefixtures("_settings_from_outside")
def test_the_environment_has_the_same_settings_and_no_others(connected_seller: ConnectedSeller) -> None:
    given = {name for name in os.environ if name.startswith("BACKMARKET_")}
    assert "BACKMARKET_CHANGES_RETENTION_DAYS" not in given
    assert Settings().model_dump() == connected_seller.settings.model_dump()
    with BackMarket() as bm:
        assert bm.get_connection_status(connected_seller.organization_id).connection.enabled
    secrets = [
        value.get_secret_value() for value in vars(connected_seller.settings).values() if isinstance(value, SecretStr)
    ]
    assert not any(secret in repr(connected_seller) for secret in secrets if secret)


def test_a_fault_fails_a_sync_until_it_is_removed(connected_seller: ConnectedSeller) -> None:
    connected_seller.sandbox.add_fault("status", status=503, operation="listings.list")
    with pytest.raises(ServerError):
        connected_seller.sync("listings")
    connected_seller.sandbox.remove_faults()
    assert connected_seller.sync("listings").rows_created == 20


def test_a_sync_that_waits_says_so_in_the_end(connected_seller: ConnectedSeller) -> None:
    connected_seller.sandbox.add_fault("rate_limited")
    with pytest.raises(WaitTimeout, match=r"sync of orders has not ended within 0\.1 s"):
        connected_seller.sync("orders", timeout=0.1)


def test_a_write_is_sent_and_its_refusal_is_told(connected_seller: ConnectedSeller) -> None:
    seller = connected_seller
    seller.sync("orders")
    line = next(seller.bm.iter_orderlines(seller.organization_id, state=OrderLineState.ACCEPTED))
    seller.sandbox.add_fault("status", status=400, operation="orders.update", count=1)
    ship = partial(seller.bm.update_order, seller.organization_id, line.order_id, OrderLineState.SHIPPED)
    with pytest.raises(WriteRefused):
        seller.send(ship(tracking_number="1Z999"))
    assert seller.send(ship(tracking_number="1Z999")).confirmed_by == "answer"


def test_labels_are_fetched_into_the_bucket(connected_seller: ConnectedSeller, tmp_path: Path) -> None:
    seller = connected_seller
    seller.sync("deliveries")
    labelled = [each.shipment_id for each in seller.bm.iter_deliveries(seller.organization_id) if each.label_url]
    assert seller.fetch_labels() == len(labelled) > 0
    assert seller.settings.s3_bucket in seller.bm.get_label_url(seller.organization_id, labelled[0])
