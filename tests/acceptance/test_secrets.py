"""No token, name, phone number, e-mail address or street leaves the database for a log, Redis or Flower."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from backmarket import BackMarket
from backmarket.errors import WriteRefused
from backmarket.sandbox.world.fault_rules import FaultKind
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import FLEET
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

WELL: tuple[FaultKind | None, ...] = (None, "nul_characters", "unknown_fields", "unknown_states", "nulls")
AILING: tuple[FaultKind, ...] = (
    "unauthorized", "forbidden", "waf_html", "waf_json", "status", "garbage", "cut", "reset", "wrong_types",
    "lone_surrogate", "id_missing",
)  # fmt: skip
PERSONAL = ("firstName", "lastName", "phoneNumber", "email", "street", "street2", "company")
CODES = {
    "shop-unauthorized": "unauthorized",
    "shop-waf_html": "firewall_blocked",
    "shop-waf_json": "firewall_blocked",
    "shop-status": "server_error",
}
"""The error that a seller's owner reads, by the seller."""
END = "the-end-of-the-test"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings.model_copy(update={"log_level": "DEBUG"}), sandbox.control)
        yield shop
        shop.services.close()


@pytest.mark.slow
def test_nothing_personal_and_no_secret_gets_out(shop: Shop, stack: Stack, tmp_path: Path) -> None:
    tokens = open_shops(shop)
    before = {log: log.stat().st_size for log in server_logs(stack)}
    login, (port,) = f"someone:{secrets.token_hex(12)}", free_ports(1)
    settings = environment(shop.settings)
    with (
        Fleet({**settings, "FLOWER_BASIC_AUTH": login}, directory=tmp_path / "logs", flower_port=port) as fleet,
        monitored(settings["BACKMARKET_REDIS_URL"]) as heard,
    ):
        fleet.wait_ready()
        for organization, token in tokens.items():
            shop.connect(organization, token)
        wait_until(lambda: settled(shop) == len(tokens), "every seller was synced or failed")
        asked = write(shop)
        wait_until(lambda: codes(shop).items() >= CODES.items(), "each kind of trouble is noted, also after a probe")
        wait_until(lambda: "sync_orders" in flower(port, login, "/api/tasks"), "Flower knows the tasks")
        seen = {f"Flower's {path}": flower(port, login, path) for path in flower_paths(port, login)}
        seen["Redis's content"] = content(settings["BACKMARKET_REDIS_URL"])
    seen["what was sent to Redis"] = "\n".join(heard)
    seen |= {f"the log {path.name}": path.read_text() for path in (tmp_path / "logs").glob("*.log")}
    seen |= {f"the log {log.name}": log.read_text(errors="replace")[size:] for log, size in before.items()}

    personal = personal_values(shop, tokens) | asked
    own = {settings[f"BACKMARKET_{name}"] for name in ("SECRET_KEYS", "LIMITER_KEY")} | {login.partition(":")[2]}
    own.add(settings["BACKMARKET_REDIS_URL"].split("@")[0].rpartition(":")[2])
    needles = personal | set(tokens.values()) | own
    leaks = {name: found for name, text in seen.items() if (found := leaked(text, needles))}
    assert leaks == {}

    assert len(personal) > 500, "there was something to find"
    assert {name for name, text in seen.items() if not text} <= {f"the log {log.name}" for log in before}
    assert "backmarket.sync_orders" in seen["what was sent to Redis"]
    assert shop.one("SELECT count(*) FROM backmarket.orders WHERE raw::text LIKE '%phoneNumber%'") > 100
    assert codes(shop).items() >= CODES.items()
    assert shop.one("SELECT count(*) FROM backmarket.api_writes WHERE state = 'succeeded'") == 1
    assert shop.one("SELECT count(*) FROM backmarket.api_writes WHERE error_code = 'refused'") == 1


@pytest.mark.parametrize(
    "text",
    [
        'name="Célestine"',
        json.dumps({"name": "Célestine"}),
        "GET /?name=C%C3%A9lestine",
        'SET x "C\\xc3\\xa9lestine"',
        base64.b64encode(b"Basic tok:Celestine-token-1").decode(),
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert leaked(text, {"Célestine", "tok:Celestine-token-1"})


def open_shops(shop: Shop) -> dict[str, str]:
    """A seller for each kind of trouble; tokens by name."""
    tokens = {f"shop-{kind or 'well'}": secrets.token_urlsafe(24) for kind in (*WELL, "well-2", *AILING)}
    for name, token in tokens.items():
        shop.sandbox.add_seller(name, token, orders=60)
    for kind in (*WELL, *AILING):
        if kind is not None:
            shop.sandbox.add_fault(kind, seller=f"shop-{kind}", status=502)
    return tokens


def write(shop: Shop) -> set[str]:
    """An order is shipped, another cannot be cancelled: what belongs to people in that."""
    told = {name: f"{name}-{secrets.token_hex(8)}" for name in ("tracking", "serial", "message")}
    url = f"https://carrier.example/{secrets.token_hex(8)}"
    ship = {"tracking_number": told["tracking"], "tracking_url": url, "serial_number": told["serial"]}
    cancel = {"return_reason": 11, "return_message": told["message"]}
    number = shop.sandbox.add_fault("status", seller="shop-well-2", operation="orders.update", status=422)
    with BackMarket(shop.settings) as bm:
        for organization, now, then, given in (("shop-well", 2, 3, ship), ("shop-well-2", 1, 4, cancel)):
            row = next(one for one in shop.sandbox.truth(organization) if one["state"] not in {0, 8})
            line = row["orderlines"][0] | {"state": now, "quantity": 1, "serial_number": ""}
            fields = {"state": 1, "orderlines": [line]}
            shop.sandbox.change(organization, modify=1, ids=[row["order_id"]], fields=fields)
            bm.fetch_order(organization, row["order_id"])
            with suppress(WriteRefused):
                bm.update_order(organization, row["order_id"], then, **given).wait(PATIENCE_SECONDS)
    shop.sandbox.remove_faults(number)
    return {*told.values(), url}


def codes(shop: Shop) -> dict[str, str]:
    """The last error of each connection."""
    return dict(shop.execute("SELECT organization_id, last_error_code FROM backmarket.connections"))


def settled(shop: Shop) -> int:
    return int(
        shop.one(
            "SELECT count(*) FROM backmarket.sync_state WHERE last_success_at IS NOT NULL OR error_code IS NOT NULL"
        )
    )


def personal_values(shop: Shop, names: dict[str, str]) -> set[str]:
    """What belongs to people in all orders of these sellers."""
    found = set()
    for name in names:
        for order in shop.sandbox.truth(name):
            for address in (order.get("shipping_address"), order.get("billing_address")):
                found |= {str((address or {}).get(field) or "") for field in PERSONAL}
    return found - {""}


def leaked(text: str, needles: set[str]) -> list[str]:
    """What of the needles is in a text, in whatever way it is written."""
    return sorted(needle for needle in needles if any(form in text for form in forms(needle)))


def forms(value: str) -> set[str]:
    """A value as logs, JSON, URLs, Redis's monitor and base64 write it."""
    escaped = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in value.encode())
    found = {value, json.dumps(value)[1:-1], quote(value, safe=""), escaped}
    if len(value) > 12:  # its middle, wherever it stands among the three places of base64
        found |= {base64.b64encode(value.encode()[start:]).decode()[2:-4] for start in range(3)}
    return found


def server_logs(stack: Stack) -> tuple[Path, Path]:
    return stack.postgres.log, stack.valkey.log


def flower(port: int, login: str, path: str) -> str:
    """What Flower shows to who may see it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request("GET", path, headers={"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == http.HTTPStatus.OK, path
    return body


def flower_paths(port: int, login: str) -> list[str]:
    """Every page of Flower's that tells of workers, tasks and the broker."""
    wait_until(lambda: len(json.loads(flower(port, login, "/api/workers?refresh=1"))) == len(FLEET), "all answer")
    workers = json.loads(flower(port, login, "/api/workers"))
    tasks = json.loads(flower(port, login, "/api/tasks"))
    syncs = [key for key, task in tasks.items() if task["name"] == "backmarket.sync_orders"]
    pages = ["/api/tasks", "/api/workers", "/api/queues/length", "/metrics", "/workers", "/tasks", "/broker"]
    return pages + [f"/worker/{name}" for name in workers] + [f"/task/{key}" for key in syncs[:5]]


def content(url: str) -> str:
    """Everything that a Redis database holds."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        readers: dict[str, Callable[[str], Any]] = {
            "none": lambda _: "",  # it went while it was looked at
            "string": client.get,
            "list": lambda key: client.lrange(key, 0, -1),
            "hash": client.hgetall,
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        return "\n".join(f"{key} {readers[str(client.type(key))](key)}" for key in client.scan_iter(count=1000))


@contextmanager
def monitored(url: str) -> Iterator[list[str]]:
    """Every command that reaches Redis during the block."""
    heard: list[str] = []
    started = threading.Event()

    def listen() -> None:
        with client.monitor() as monitor:
            started.set()
            for command in monitor.listen():
                heard.append(str(command["command"]))
                if END in heard[-1]:
                    return

    with redis.Redis.from_url(url, socket_timeout=PATIENCE_SECONDS) as client:  # workers take their time to start
        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        assert started.wait(PATIENCE_SECONDS)
        yield heard
        client.echo(END)
        listener.join(PATIENCE_SECONDS)
        assert not listener.is_alive()
