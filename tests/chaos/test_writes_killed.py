"""Workers that are killed while they send: every write takes place, none twice, and none is left unknown."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.writes.models import WriteState
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

ORG = "auth0|1"
ORDERS = 40
LISTINGS, PRICES = 20, 4
UPDATES = 3 * ORDERS + LISTINGS * PRICES
ASKED_BETWEEN_KILLS = 30
SENDERS = ("one", "two")
WORKERS = (Pool("dispatch", ("dispatch",), 1), *(Pool(name, ("writes",), 4) for name in SENDERS))
LOST = 0.05


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000, latency=0.1, jitter=0.1) as sandbox:
        quick = {"rate_limit": 100_000, "lease_seconds": 3.0, "request_deadline": 3.0}
        shop = Shop(settings.model_copy(update=quick), sandbox.control, ("orders", "listings"))
        yield shop
        shop.services.close()


@dataclass
class Wishes:
    """What is asked for, in turn: each object's updates follow one another, and each is unlike all others."""

    calls: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list)
    expected: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By operation and object: what is to take place there, in this order."""


def wishes(shop: Shop) -> Wishes:
    """Orders to be accepted, shipped and registered, prices to be changed, in an order of chance."""
    lanes: list[list[tuple[str, Any, dict[str, Any]]]] = []
    found = Wishes()
    paid = [row for row in shop.sandbox.truth(ORG) if row["state"] not in {0, 8}][:ORDERS]
    for number, row in enumerate(paid):
        line = row["orderlines"][0] | {"state": 1, "quantity": 1, "imei": None, "serial_number": ""}
        fields = {"state": 1, "orderlines": [line]}
        shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields=fields)
        tracking, imei = f"TRACK-{number}", with_check_digit(35693803564000 + number)
        order, key = row["order_id"], str(row["order_id"])
        lanes.append([
            ("update_order", order, {"new_state": 2}),
            ("update_order", order, {"new_state": 3, "tracking_number": tracking}),
            ("update_orderline", line["id"], {"imei": imei}),
        ])  # fmt: skip
        accepted, shipped = {"new_state": 2, "sku": line["listing"]}, {"new_state": 3, "tracking_number": tracking}
        found.expected["orders.update", key] = [accepted, shipped]
        found.expected["orderlines.update", str(line["id"])] = [{"imei": imei}]
    for row in shop.sandbox.truth(ORG, "listings")[:LISTINGS]:
        prices = [f"{100 + number}.50" for number in range(PRICES)]
        lanes.append([("update_listing", row["id"], {"price": price}) for price in prices])
        found.expected["listings.update", row["id"]] = [{"price": price, "currency": "EUR"} for price in prices]
    chance = random.Random(5)
    while any(lanes):
        lane = chance.choice([each for each in lanes if each])
        found.calls.append(lane.pop(0))
    return found


def with_check_digit(body: int) -> str:
    """An IMEI of these 14 digits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(str(body))]
    return f"{body}{-sum(number - 9 if number > 9 else number for number in doubled) % 10}"


def ask(bm: BackMarket, kind: str, object_id: Any, arguments: dict[str, Any]) -> int:
    given = dict(arguments)
    if kind == "update_order":
        return bm.update_order(ORG, object_id, given.pop("new_state"), **given).id
    if kind == "update_orderline":
        return bm.update_orderline(ORG, object_id, **given).id
    return bm.update_listing(ORG, object_id, **given).id


@dataclass
class Killer:
    """Kills whoever sends, and starts it again.

    Attributes:
        kills: how many there were.
        struck: how many of them left a row that says `sending`.
    """

    shop: Shop
    fleet: Fleet
    kills: int = 0
    struck: int = 0

    def kill(self) -> None:
        """Kill, as soon as somebody is sending; or at once, if nothing is left to be sent."""
        wait_until(lambda: self.sending() or not still_open(self.shop), "somebody sends")
        name = self.sender()
        self.fleet.kill(name)
        self.kills += 1
        self.struck += self.sending() > 0
        self.fleet.restart(name)

    def sending(self) -> int:
        return int(self.shop.one("SELECT count(*) FROM backmarket.api_writes WHERE state = 'sending'"))

    def sender(self) -> str:
        """Who has the lease; where nobody has, the first one that runs."""
        found = self.shop.execute("SELECT lease_owner FROM backmarket.work WHERE lease_until > now()")
        owner = str(found[0][0]) if found else ""
        pids = {name: self.fleet.pids[name] for name in SENDERS if name in self.fleet.pids}
        return next((name for name, pid in pids.items() if str(pid) in owner), next(iter(pids)))


@pytest.mark.slow
def test_every_write_takes_place_once_whatever_is_killed(shop: Shop, tmp_path: Path) -> None:
    began = monotonic()
    shop.sell(ORG, orders=60, listings=LISTINGS)
    wanted = wishes(shop)
    assert len(wanted.calls) == UPDATES
    for resource in shop.resources:
        shop.sync(ORG, resource)
    shop.execute("UPDATE backmarket.schedule SET enabled = false")
    for operation in ("orders.update", "orderlines.update", "listings.update"):
        shop.sandbox.add_fault("close", operation=operation, probability=LOST / 2, applied=True)
        shop.sandbox.add_fault("close", operation=operation, probability=LOST / 2)
    with (
        Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet,
        BackMarket(shop.settings) as bm,
    ):
        fleet.wait_ready()
        killer = Killer(shop, fleet)
        for number, call in enumerate(wanted.calls, 1):
            ask(bm, *call)
            if number % ASKED_BETWEEN_KILLS == 0:
                killer.kill()
        wait_until(lambda: not still_open(shop), "every write came to its end")
    lost = sum(fault.struck for fault in shop.sandbox.stats().faults)
    told = f"{killer.kills} kills, {killer.struck} while sending; {lost} answers lost; {states(shop)}"
    sys.stderr.write(f"{told}; {monotonic() - began:.0f} s\n")
    assert killer.struck >= 3, f"hardly a kill struck a request: {told}"
    assert lost >= 2, f"hardly an answer was lost: {told}"
    assert {state for state, *_ in states(shop)} == {str(WriteState.SUCCEEDED)}
    assert took_place(shop) == wanted.expected
    shop.sandbox.remove_faults()
    shop.assert_equals_truth(ORG)
    shop.assert_rows_equal_truth(ORG, "listings")


def took_place(shop: Shop) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What took place at Back Market, in its order, by operation and object."""
    found = defaultdict(list)
    for one in shop.sandbox.truth(ORG, "writes"):
        fields = {name: value for name, value in one["fields"].items() if name not in {"id", "order_id"}}
        found[one["operation"], one["object"]].append(fields)
    return dict(found)


def still_open(shop: Shop) -> int:
    return int(
        shop.one(
            "SELECT count(*) FROM backmarket.api_writes"
            " WHERE state IN ('pending', 'sending') OR (state = 'unknown' AND due_at < 'infinity')"
        )
    )


def states(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.execute("SELECT state, confirmed_by, count(*) FROM backmarket.api_writes GROUP BY 1, 2 ORDER BY 1, 2")
