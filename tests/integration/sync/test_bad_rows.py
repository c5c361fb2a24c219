"""One bad row among good ones, from the API's bytes to PostgreSQL: its neighbours are stored, and it is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from random import Random
from threading import Thread
from typing import Any

import pytest

from backmarket.connections import Account
from backmarket.organizations import lifecycle
from backmarket.resources import RESOURCES
from backmarket.sandbox import World
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.sync import requests
from backmarket.sync.engine import run_slice
from tests.support.gate import QuietServer

ROWS = 50

ODD = (
    "null", "true", "0", "-1", "1.5", "1e5", "-0", "2147483648", "9223372036854775808", "12345678901234567890123",
    "9" * 5000, "1e999", "1e131071", "1e131072", "-1e99999999", "1e-20000", "NaN", "-Infinity", '""', '"x"', '" 5 "',
    '"+5"', '"0x10"', '"\u0661\u0662"', '"NaN"', '"\ufeff"', '"\x01\x1f"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"',
    '"\\udc00\\ud800"', '"2026-02-30T00:00:00Z"', '"0000-01-01T00:00:00Z"', '"9999-12-31T23:59:59-12:00"', '"infinity"',
    f'"{"İ" * 9000}"', f'"{"x" * 2_000_000}"', "[]", "{}", "[[]]", '{"": 1}', '{"\\u0000": "\\ud800"}',
    '{"id": 1, "id": 2}', "[" * 900 + "]" * 900, "[" * 5000 + "]" * 5000,
)  # fmt: skip
"""JSON texts, and what is nearly JSON, that stand where something else should."""


class Api:
    """An API whose every list is one page: the bytes that a test wants."""

    def __init__(self) -> None:
        self.page = b""
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = api.page if "page=1" in self.path or "page" not in self.path else b'{"results": []}'
                self.send_response(200 if "?" in self.path else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    thread = Thread(target=api.server.serve_forever, daemon=True)
    thread.start()
    yield api
    api.server.shutdown()
    thread.join()
    api.server.server_close()


@dataclass
class Reader:
    """A process of ours beside that API."""

    api: Api
    services: Services

    def sync(self, organization: str, resource: str) -> tuple[str, int]:
        """A sync of an organization; how it ended, and how many rows were rejected."""
        requests.request_sync(self.services.database, organization, resource)
        end = run_slice(self.services, organization, resource).end
        return end, self.one(
            "SELECT COALESCE(sum(rows_rejected), 0)::int FROM backmarket.sync_runs WHERE organization_id = %s",
            organization,
        )

    def connect(self, organization: str) -> None:
        account = Account(organization, "one-token", base_url=self.api.url)
        lifecycle.upsert(self.services.database, self.services.key_cipher, self.services.settings, account)

    def one(self, statement: str, *values: Any) -> Any:
        with self.services.database.transaction() as transaction:
            return transaction.execute(statement.encode(), values).fetchone()[0]  # type: ignore[index]

    def stored(self, organization: str, resource: str) -> set[str]:
        key = RESOURCES[resource].key.name
        statement = (
            f"SELECT COALESCE(array_agg({key}::text), '{{}}') FROM backmarket.{resource} WHERE organization_id = %s"
        )
        return set(self.one(statement, organization))


@pytest.fixture
def reader(api: Api, settings: Settings) -> Iterator[Reader]:
    services = Services(settings.model_copy(update={"allowed_base_urls": (api.url,), "rate_limit": 100_000}))
    services.limiter.skip_recovery()
    yield Reader(api, services)
    services.close()


@pytest.mark.parametrize(
    "resource", ["orders", *(pytest.param(each, marks=pytest.mark.slow) for each in RESOURCES if each != "orders")]
)
def test_its_neighbours_are_stored_and_it_is_counted(reader: Reader, resource: str) -> None:
    rows = truth(resource)
    names = [str(row[RESOURCES[resource].key.source]) for row in rows]
    dice = Random(7)
    for number, odd in enumerate(ODD):
        place = dice.randrange(ROWS)
        path = dice.choice(list(paths(rows[place])))
        what = f"{odd[:40]} at {path} of row {place}"
        reader.api.page = page(
            [*map(json.dumps, rows[:place]), spoiled(rows[place], path, odd), *map(json.dumps, rows[place + 1 :])]
        )
        reader.connect(f"org-{number}")
        end, rejected = reader.sync(f"org-{number}", resource)
        stored = reader.stored(f"org-{number}", resource)
        assert end == "done", what
        assert set(names) - {names[place]} <= stored, what
        assert len(stored) + rejected == ROWS, what
        again, _ = reader.sync(f"org-{number}", resource)
        assert again == "done", f"{what}, the second time"


def truth(resource: str) -> list[dict[str, Any]]:
    """Fifty rows as the API has them."""
    world = World(3)
    world.add_seller("seller", "token", orders=80, listings=ROWS, deliveries=ROWS, returns=ROWS)
    found = [json.loads(row) for row in world.sellers["seller"].truth(resource, world.now())]
    return [row for row in found if resource != "orders" or row["state"] not in {0, 8}][:ROWS]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from paths(each, (*path, name))


def spoiled(row: dict[str, Any], path: tuple[Any, ...], text: str) -> str:
    """The row as JSON text, with another text at one place."""
    copy = json.loads(json.dumps(row))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = "@here@"
    return json.dumps(copy).replace('"@here@"', text)


def page(rows: list[str]) -> bytes:
    return f'{{"count": {len(rows)}, "next": null, "results": [{", ".join(rows)}]}}'.encode()
