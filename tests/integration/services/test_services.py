"""What one process opens: once for all of its threads, never its parent's, and closed for good."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, active_count
from typing import TypeVar

import pytest
import redis

from backmarket import BackMarket
from backmarket.errors import SettingsError
from backmarket.services import Services
from backmarket.settings import Settings
from tests.support.databases import open_connection
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

T = TypeVar("T")
NAMES = ("database", "key_cipher", "limiter", "transport", "producer", "request_threads")


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return fresh_settings(
        database_url=database_url,
        redis_url=redis_url,
    )


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    services = Services(settings)
    yield services
    services.close()


def test_threads_that_come_first_together_share_one_of_each(settings: Settings) -> None:
    together = Barrier(8)

    def first_use(services: Services, name: str) -> int:
        together.wait(PATIENCE_SECONDS)
        return id(getattr(services, name))

    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            services = Services(settings)
            for name in NAMES:
                assert len(set(threads.map(lambda _, n=name, s=services: first_use(s, n), range(8)))) == 1
            services.close()


def test_closing_leaves_no_connection_to_redis(settings: Settings, services: Services) -> None:
    with redis.Redis.from_url(settings.need("redis_url")) as watching:
        mine = watching.connection_pool.connection_kwargs["db"]
        services.limiter.acquire("account")
        assert sum(int(each["db"]) == mine for each in watching.client_list()) == 2
        services.close()
        wait_until(lambda: sum(int(each["db"]) == mine for each in watching.client_list()) == 1, "it is closed")
    assert services.limiter.acquire("account").slots is not None, "the next use opens it again"


def test_a_forked_child_opens_its_own_and_leaves_its_parent_s_alone(settings: Settings, services: Services) -> None:
    with BackMarket(settings) as bm:
        bm.upsert_connection("shop", "key")
        before = [getattr(services, name) for name in NAMES]
        with services.database.transaction() as mine:
            ours = mine.info.backend_pid
            told = in_a_child(lambda: (_backend(services), [each.organization_id for each in bm.get_connections()]))
            assert mine.execute("SELECT 1").fetchone() == (1,), "the child did not end our connection"
        theirs, seen = told
        assert theirs != ours
        assert seen == ["shop"]
        assert [getattr(services, name) for name in NAMES] == before
        assert [each.organization_id for each in bm.get_connections()] == ["shop"]


def _backend(services: Services) -> int:
    with services.database.transaction() as transaction:
        return transaction.info.backend_pid


def in_a_child(act: Callable[[], T]) -> T:
    """What `act` gives in a fork of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writing, pickle.dumps(act()))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    result: T = pickle.loads(told)
    return result


def test_closing_ends_connections_and_threads_and_the_next_use_opens_again(
    services: Services, database_url: str
) -> None:
    threads = active_count()
    for name in NAMES:
        getattr(services, name)
    first = _backend(services)
    services.close()
    assert active_count() == threads
    with open_connection(database_url) as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backmarket'")
        assert left.fetchone() == (0,)
    assert _backend(services) != first


def test_no_setting_is_missed_before_it_is_needed() -> None:
    with BackMarket(Settings()) as bm, pytest.raises(SettingsError, match="BACKMARKET_DATABASE_URL"):
        bm.get_connections()


@pytest.mark.parametrize(
    "act",
    [
        lambda bm: bm.sync_orders("shop"),
        lambda bm: bm.update_order("shop", 1, 2),
        lambda bm: bm.retry_write("shop", 1),
        lambda bm: bm.create_or_update_listings("shop", "sku;quantity\nA;1\n"),
        lambda bm: bm.cancel_bulk_job("shop", 1),
        lambda bm: bm.settle_bulk_part("shop", 1, 1, arrived=True),
        lambda bm: bm.fetch_labels("shop"),
    ],
    ids=["sync", "write", "retry", "file", "cancel", "settle", "labels"],
)
def test_without_a_broker_an_act_raises_and_is_not_queued(
    settings: Settings, act: Callable[[BackMarket], object]
) -> None:
    with BackMarket(settings.model_copy(update={"redis_url": None})) as bm:
        bm.upsert_connection("shop", "key")
        with pytest.raises(SettingsError, match="BACKMARKET_REDIS_URL"):
            act(bm)
        with open_connection(settings.need("database_url")) as connection:
            queued = connection.execute(
                "SELECT (SELECT sum(requested) FROM backmarket.sync_state),"
                " (SELECT count(*) FROM backmarket.api_writes), (SELECT count(*) FROM backmarket.bulk_jobs),"
                " (SELECT count(*) FROM backmarket.work)"
            ).fetchone()
    assert queued == (0, 0, 0, 0)
