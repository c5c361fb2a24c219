"""Walks leave room for short syncs, and take turns with each other."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from threading import Thread

import psycopg
import pytest
import redis

from backmarket.messages import Nudge
from backmarket.services.admission import AdmissionControl
from backmarket.settings import Settings
from backmarket.sync import leases
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import Moment, wait_until

LARGE, SMALL = "large", "small"
OTHER = Nudge("orders", "another")


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """One process in which one slice may walk at a time; the small seller is synced, the large one never was."""
    with fresh_sandbox() as sandbox:
        narrow = {"max_long_syncs": 1, "task_budget_pages": 2, "fetch_threads": 1}
        shop = Shop(settings.model_copy(update=narrow), sandbox.control)
        shop.sell(SMALL, orders=10)
        shop.sync(SMALL)
        shop.sell(LARGE, orders=450)
        shop.sandbox.reset()
        yield shop
        shop.services.close()


def pause(shop: Shop) -> float:
    """Seconds until the large one is due."""
    row = "FROM backmarket.sync_state WHERE organization_id = %s AND resource = 'orders' AND nudged_until IS NULL"
    return float(shop.one(f"SELECT extract(epoch FROM next_due_at - now()) {row}", LARGE))


def test_a_first_walk_without_room_asks_once_how_long_it_is_and_comes_again(shop: Shop) -> None:
    assert shop.services.admission.enter(OTHER)
    for requests in (1, 0):
        began = Moment()
        slice_ = shop.run_slice(LARGE)
        assert (slice_.end, slice_.requests) == ("handed_on", requests)
    assert shop.sandbox.stats().count("orders.list") == 1
    assert began.waits(pause(shop), 0, 1.5)
    assert shop.run_slice(SMALL).end == "done"
    shop.services.admission.leave()
    assert shop.sync(LARGE).end == "done"
    shop.assert_equals_truth(LARGE)


def test_a_first_walk_of_few_pages_needs_no_room(shop: Shop) -> None:
    shop.sell("medium", orders=80)
    assert shop.services.admission.enter(OTHER)
    slice_ = shop.run_slice("medium")
    assert (slice_.end, slice_.requests) == ("done", 2)
    shop.assert_equals_truth("medium")


def test_a_sync_with_news_on_one_page_needs_no_room(shop: Shop) -> None:
    assert shop.services.admission.enter(OTHER)
    shop.sandbox.change(SMALL, modify=3)
    assert shop.run_slice(SMALL).end == "done"
    assert shop.one("SELECT count(*) FROM backmarket.changes WHERE kind = 'updated'") == 3


def test_a_full_walk_without_room_asks_nothing(shop: Shop) -> None:
    assert shop.services.admission.enter(OTHER)
    slice_ = shop.run_slice(SMALL, full=True)
    assert (slice_.end, slice_.requests) == ("handed_on", 0)
    shop.services.admission.leave()
    assert shop.sync(SMALL).end == "done"


def test_a_walk_makes_room_when_its_slice_ends(shop: Shop) -> None:
    assert shop.run_slice(LARGE).end == "handed_on"
    shop.sandbox.add_fault("waf_html")
    shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
    assert shop.run_slice(LARGE, ask=False).end == "failed"
    assert shop.services.admission.enter(OTHER)


def test_a_walk_pauses_between_slices_while_another_waits(shop: Shop) -> None:
    assert shop.services.admission.enter(OTHER)
    waiting = [Nudge("listings", "others"), Nudge("returns", "others")]
    assert not any(map(shop.services.admission.enter, waiting))
    assert shop.services.admission.leave() == waiting[0]
    began = Moment()
    assert shop.run_slice(LARGE).end == "handed_on"
    assert began.waits(pause(shop), 1.5, 2.0)
    shop.execute("UPDATE backmarket.sync_state SET next_due_at = now()")
    assert shop.run_slice(LARGE, ask=False).end == "handed_on"
    assert shop.one(
        "SELECT next_due_at <= now() FROM backmarket.sync_state WHERE organization_id = %s AND resource = 'orders'",
        LARGE,
    ), "nobody waits any more"


def test_who_found_no_room_has_the_place_that_becomes_free_at_once(shop: Shop, settings: Settings) -> None:
    shop.sandbox.change(SMALL, modify=3)
    walking = Thread(target=shop.run_slice, args=(SMALL,), kwargs={"full": True})
    with psycopg.connect(settings.need("database_url")) as held:
        held.execute("LOCK TABLE backmarket.orders IN SHARE ROW EXCLUSIVE MODE")  # no walk stores a page meanwhile
        walking.start()
        wait_until(lambda: shop.sandbox.stats().count("orders.list"), "the walk has begun")
        assert (shop.run_slice(LARGE).end, shop.sandbox.stats().count("orders.list")) == ("handed_on", 2)
        assert pause(shop) <= 1.5, "it comes again by itself, if the place is never given up"
    walking.join()
    assert shop.execute(
        "SELECT next_due_at <= now(), nudged_until > now() FROM backmarket.sync_state"
        " WHERE organization_id = %s AND resource = 'orders'", LARGE,
    ) == [(True, True)]  # fmt: skip
    with redis.Redis.from_url(settings.need("redis_url")) as client:
        (message,) = client.lrange("orders", 0, -1)
    assert f'"{LARGE}"' in b64decode(json.loads(message)["body"]).decode()
    assert shop.run_slice(LARGE, ask=False).requests > 0


def test_each_that_waits_is_called_once_in_the_order_of_its_waiting() -> None:
    admission, waiting, called = AdmissionControl(1), [Nudge("orders", f"shop-{number}") for number in range(5)], []
    for _ in waiting:
        assert admission.enter(OTHER)
        for nudge in waiting:
            if nudge not in called:
                assert not admission.enter(nudge)
        called.append(admission.leave())
    assert called == waiting


def test_who_has_been_synced_elsewhere_meanwhile_is_not_called(shop: Shop) -> None:
    assert shop.services.admission.enter(OTHER)
    assert shop.run_slice(LARGE).end == "handed_on"
    assert leases.recall(shop.services.database, Nudge("orders", LARGE), within=1.5)
    assert not leases.recall(shop.services.database, Nudge("orders", LARGE), within=1.5), "its nudge is on its way"
    shop.execute(
        "UPDATE backmarket.sync_state SET next_due_at = now() + interval '1 h' WHERE organization_id = %s", SMALL
    )
    assert not leases.recall(shop.services.database, Nudge("orders", SMALL), within=1.5), "it is not due for long"
