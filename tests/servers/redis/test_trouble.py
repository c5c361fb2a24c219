"""Memory full, a crash with an append-only file, broker and limiter apart, and servers that are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backmarket.messages import Nudge
from backmarket.producer import Producer
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.process import inherited
from backmarket.standalone.programs import CHECKOUT
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import ORG, WORKERS, goes_on, log_lines, opened_shop, running
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", "appendonly yes") as server:
        yield server


def told(directory: Path, word: str) -> bool:
    return any(word in str(line) for name in ("dispatch", "sync", "beat") for line in log_lines(directory, name))


def test_maxmemory_reached_and_left_again(server: RedisServer, settings: Settings, tmp_path: Path) -> None:
    with (
        server.client() as admin,
        opened_shop(settings, redis_url=server.url()) as shop,
        running(shop, tmp_path / "fleet") as fleet,
    ):
        goes_on(shop, "before")
        admin.set("filler", "x" * 20_000_000)
        admin.config_set("maxmemory", 10_000_000)
        wait_until(lambda: told(tmp_path / "fleet", "'maxmemory'"), "a log hands on Redis's reason")
        with Fleet(environment(shop.settings), directory=tmp_path / "late", workers=WORKERS[1:], beat=False) as late:
            wait_until(lambda: log_lines(tmp_path / "late", "sync"), "a worker starts meanwhile")
            assert fleet.died == []
            assert not told(tmp_path / "fleet", "message.refused"), "the messages are not at fault"
            admin.config_set("maxmemory", 0)
            admin.delete("filler")
            late.wait_ready()
            goes_on(shop, "once there is room")
    shop_is_whole(settings, shop)


def shop_is_whole(settings: Settings, shop: Shop) -> None:
    shop.restart(redis_url=settings.redis_url)
    shop.assert_equals_truth(ORG)
    shop.services.close()


def test_a_crash_with_an_append_only_file_loses_no_message_and_stops_nobody(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    with opened_shop(settings, redis_url=server.url()) as shop, running(shop, tmp_path / "fleet"):
        goes_on(shop, "before")
        producer = Producer(server.url())
        assert producer.nudge([Nudge("labels", f"org {n}") for n in range(500)]) == 500  # no worker takes them
        server.kill()
        server.start()
        with server.client() as admin:
            wait_until(lambda: not admin.info("persistence")["loading"], "the file is loaded")
            assert admin.llen("labels") == 500
        goes_on(shop, "after the crash")
        producer.close()


def test_broker_and_limiter_are_two_servers_and_fall_one_by_one(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path / "broker", "appendonly yes") as broker,
        opened_shop(settings, redis_url=server.url(), broker_url=broker.url(database=7)) as shop,
        running(shop, tmp_path / "fleet"),
    ):
        goes_on(shop, "before")
        with server.client() as limits, broker.client() as messages:
            assert not limits.exists("_kombu.binding.orders")
            assert not [key for key in messages.scan_iter() if "limiter" in key]
        for fallen in (server, broker):
            fallen.kill()
            wait_until(lambda: told(tmp_path / "fleet", "Connection refused"), "somebody says so")
            fallen.start()
            goes_on(shop, "after it came back")


SENTENCES = {
    "cluster": ("redis://", "is a cluster"),
    "sentinel": ("redis://", "is a Sentinel"),
    "amqp": ("amqp://guest:word@127.0.0.1//", "RabbitMQ is not supported"),
    "sqs": ("sqs://", "must be a Redis or Valkey"),
    "kafka": ("kafka://127.0.0.1:9092", "must be a Redis or Valkey"),
    "sentinel url": ("sentinel://127.0.0.1:26379", "put one address before it that follows the primary"),
}


@pytest.mark.parametrize("what", SENTENCES)
@pytest.mark.parametrize("process", ["worker", "beat"])
def test_what_can_be_no_broker_is_refused_at_the_start(
    what: str, process: str, settings: Settings, tmp_path: Path
) -> None:
    url, sentence = SENTENCES[what]
    options = {"cluster": ("cluster-enabled yes",), "sentinel": ("sentinel monitor one 127.0.0.1 1 1",)}.get(what)
    server = RedisServer(tmp_path / "redis", *options, sentinel=what == "sentinel") if options else None
    try:
        if server:
            server.start(*(["--sentinel"] if what == "sentinel" else []))
        given = {**inherited(), **environment(settings), "BACKMARKET_BROKER_URL": server.url() if server else url}
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", process]
        ended = subprocess.run(
            command, check=False, cwd=CHECKOUT, env=given, capture_output=True, text=True, timeout=300
        )
    finally:
        if server:
            server.kill()
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert "BACKMARKET_BROKER_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "word" not in ended.stderr


def test_the_limiter_may_be_no_cluster_either_though_its_user_may_not_ask_info(
    settings: Settings, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis", "cluster-enabled yes") as cluster:
        with cluster.client() as admin:  # HELLO tells the mode, too
            admin.execute_command("ACL", "SETUSER", "poor", "on", ">word", "~*", "&*", "+@all", "-info")
        given = environment(settings) | {"BACKMARKET_BROKER_URL": str(settings.need("redis_url"))}
        given |= {"BACKMARKET_REDIS_URL": cluster.url("poor", "word")}
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "worker"]
        ended = subprocess.run(
            command, check=False, cwd=CHECKOUT, env=inherited() | given, capture_output=True, text=True, timeout=300
        )
    assert ended.returncode != 0
    assert "BACKMARKET_REDIS_URL: This Redis is a cluster" in ended.stderr
