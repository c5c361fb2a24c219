"""Beat and a worker as real processes: followers hear the news, and what is too old goes by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psycopg
import pytest

from backmarket import BackMarket
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.databases import open_connection
from tests.support.sellers import environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

OLD_EVENT = """
INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, recorded_at)
VALUES ('shop', 'orders', %s, 'created', now() - make_interval(days => %s))
"""


@pytest.mark.slow
def test_news_are_announced_and_the_upkeep_is_done(settings: Settings, tmp_path: Path) -> None:
    stop = Event()
    workers = (Pool("dispatch", ("dispatch",), 1),)
    with (
        open_connection(settings.need("database_url"), autocommit=True) as connection,
        BackMarket(settings) as bm,
        ThreadPoolExecutor(1) as pool,
        Fleet(environment(settings), directory=tmp_path, workers=workers) as fleet,
    ):
        connection.execute(OLD_EVENT, ("old", 50))
        fleet.wait_ready()
        wait_until(lambda: fetch(connection, "SELECT count(*) FROM backmarket.changes") == 0, "the old one is gone")
        came = pool.submit(lambda: next(iter(bm.watch(poll=600, stop=stop))))
        listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backmarket-listen'"
        wait_until(lambda: fetch(connection, listening) == 1, "somebody follows")
        connection.execute(OLD_EVENT, ("new", 0))
        try:
            assert came.result(PATIENCE_SECONDS).external_id == "new"
        finally:
            stop.set()
        assert fetch(connection, "SELECT due_at > now() FROM backmarket.upkeep")
    log = (tmp_path / "dispatch.log").read_text()
    assert "upkeep.done" in log
    assert "partitions_dropped" in log


def fetch(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> object:
    return connection.execute(statement.encode()).fetchall()[0][0]
