"""Who may in, and by which way: users with few rights, odd passwords, TLS, a database of another number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from redis.exceptions import NoPermissionError

from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.status.broker import Broker
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import WORKERS, asked, goes_on, opened_shop
from tests.support.redis_users import redis_users
from tests.support.sellers import environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ODD = "p@ss:w/o?r#d[%41]+ ü€🦊'\"$`\\&=;,"
WORD = "word"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def urls(server: RedisServer, password: str, database: int) -> dict[str, str]:
    """Make the documented users; the URL of each."""
    users = ("worker", "producer", "beat", "flower", "metrics")
    with server.client() as admin:
        for user in users:
            admin.execute_command("ACL", "SETUSER", user, *redis_users(password, database=database)[user])
    return {user: server.url(user, password, database=database) for user in users}


def ask_flower(port: int, path: str) -> Any:
    """Flower's answer."""
    return httpx.get(f"http://127.0.0.1:{port}{path}", auth=("someone", "word"), timeout=30).json()


def test_the_documented_rights_suffice_in_another_database_with_an_odd_password(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    of = urls(server, ODD, 5)
    with server.client() as admin:
        with opened_shop(settings, redis_url=of["producer"]) as shop:
            flower = environment(shop.settings) | {
                "BACKMARKET_REDIS_URL": of["flower"],
                "FLOWER_BASIC_AUTH": "someone:word",
            }
            with Fleet(flower, directory=tmp_path / "fleet", workers=(), beat=False, flower_port=port) as fleet:
                for pool in WORKERS:
                    own = {"BACKMARKET_REDIS_URL": of["worker"]}
                    fleet.start_worker(pool.queues, pool.name, pool.concurrency, environment=own)
                fleet.start_beat(environment={"BACKMARKET_REDIS_URL": of["beat"]})
                fleet.wait_ready(PATIENCE_SECONDS)
                goes_on(shop, "with few rights")
                wait_until(lambda: ask_flower(port, "/api/tasks"), "Flower has heard of a task")
                wait_until(
                    lambda: len(ask_flower(port, "/api/workers?refresh=true")) == len(WORKERS),
                    "workers answered Flower",
                )
                assert fleet.died == []
        with closing(Broker(of["metrics"])) as broker:
            assert broker.info()["redis_mode"] == "standalone"
            assert set(broker.lengths()) >= {"orders", "unacked"}
        assert asked(of["producer"]) == (1, True, True)
        # unknown to Redis before 7.2, whose users cannot be given it; redis-py does without
        assert {
            (entry["username"], entry["object"]) for entry in admin.acl_log() if entry["object"] != "client|setinfo"
        } == set()
        assert not list(admin.scan_iter()), "database 0 is not ours"


@pytest.mark.parametrize("user", ["admin", "default", "worker", "producer", "beat", "flower", "metrics"])
def test_the_documented_rights_are_rules_that_this_server_takes(server: RedisServer, user: str) -> None:
    with server.client() as admin:
        try:
            admin.execute_command("ACL", "SETUSER", "tried", *redis_users()[user])
        except redis.ResponseError as error:
            pytest.fail(f"the server refuses the rules of {user}: {error}")


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "GET", "*")),
        ("worker", ("ACL", "LIST")),
        ("worker", ("GET", "of-another-application")),
        ("producer", ("RPOP", "orders")),
        ("producer", ("BRPOP", "orders", "1")),
        ("producer", ("LRANGE", "orders", "0", "-1")),
        ("producer", ("HGET", "unacked", "one")),
        ("producer", ("DEL", "orders")),
        ("producer", ("PUBLISH", "/0.celery.pidbox", "shutdown")),
        ("beat", ("BRPOP", "dispatch", "1")),
        ("beat", ("LPUSH", "orders", "a message")),
        ("beat", ("HGET", "backmarket:limiter:account", "field")),
        ("beat", ("PUBLISH", "/0.celery.pidbox", "shutdown")),
        ("flower", ("LPUSH", "dispatch", "a message")),
        ("flower", ("BRPOP", "orders", "1")),
        ("flower", ("HGET", "unacked", "one")),
        ("flower", ("HGET", "backmarket:limiter:account", "field")),
        ("metrics", ("LPUSH", "dispatch", "a message")),
        ("metrics", ("HGET", "unacked", "one")),
        ("metrics", ("PUBLISH", "/0.celery.pidbox", "shutdown")),
    ],
)
def test_a_user_may_do_nothing_else(server: RedisServer, user: str, command: tuple[str, ...]) -> None:
    with closing(redis.Redis.from_url(urls(server, WORD, 0)[user])) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)  # type: ignore[no-untyped-call]


def test_without_a_name_nothing_is_allowed(server: RedisServer) -> None:
    with server.client() as admin, server.client() as stranger:
        admin.execute_command("ACL", "SETUSER", "admin", *redis_users(WORD)["admin"])
        admin.execute_command("ACL", "SETUSER", "default", *redis_users(WORD)["default"])
        with pytest.raises((NoPermissionError, redis.AuthenticationError)):
            stranger.ping()


@pytest.mark.parametrize("password", [ODD, "50%", "a+b c", "%41", "pass:word@host/0", "#?&"])
def test_a_password_may_have_any_character(server: RedisServer, password: str) -> None:
    with server.client() as admin:
        admin.config_set("requirepass", password)
        assert asked(server.url("", password, database=3)) == (1, True, True)
