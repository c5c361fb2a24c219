"""Who may in, and by which way: users with few rights, odd passwords, TLS, a database of another number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.status.broker import Broker
from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import asked, goes_on, opened_shop, running

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"
ODD = "p@ss:w/o?r#d[%41]+ ü€🦊'\"$`\\&=;,"
FLOWER = {"FLOWER_BASIC_AUTH": "someone:word"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def documented_rules(password: str, database: int) -> list[str]:
    (listed,) = re.findall(r"```acl\n(.*?)```", DOCS.read_text(), re.DOTALL)
    rules: list[str] = listed.split()[3:]
    return [rule.replace(">PASSWORD", f">{password}").replace("&/0.", f"&/{database}.") for rule in rules]


def test_the_documented_rights_suffice_in_another_database_with_an_odd_password(
    server: RedisServer, settings: Settings, tmp_path: Path
) -> None:
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "back:market@1", *documented_rules(ODD, 5))
        url = server.url("back:market@1", ODD, database=5)
        with (
            opened_shop(settings, redis_url=url) as shop,
            running(shop, tmp_path / "fleet", also=FLOWER, flower_port=free_ports(1)[0]),
        ):
            goes_on(shop, "with few rights")
            assert Broker(url).info()["redis_mode"] == "standalone"
        # unknown to Redis before 7.2, whose users cannot be given it; redis-py does without
        assert {entry["object"] for entry in admin.acl_log()} <= {"client|setinfo"}
        assert not list(admin.scan_iter()), "database 0 is not ours"


def test_the_documented_rights_are_one_line_that_this_server_takes(server: RedisServer) -> None:
    with server.client() as admin:
        try:
            admin.execute_command("ACL", "SETUSER", "tried", *documented_rules("word", 0))
        except redis.ResponseError as error:
            pytest.fail(f"the server refuses the documented line: {error}")


@pytest.mark.parametrize("password", [ODD, "50%", "a+b c", "%41", "pass:word@host/0", "#?&"])
def test_a_password_may_have_any_character(server: RedisServer, password: str) -> None:
    with server.client() as admin:
        admin.config_set("requirepass", password)
        assert asked(server.url("", password, database=3)) == (1, True, True)
