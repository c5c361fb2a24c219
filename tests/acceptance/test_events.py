"""Calls for events as a host application gets them: a Django and a FastAPI application, while workers are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from backmarket import BackMarket
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from tests.acceptance.test_examples import answers
from tests.support.databases import own_redis, shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
ROUNDS = 6


@contextmanager
def application(command: list[str], port: int, variables: dict[str, str], log: Path) -> Iterator[None]:
    """A host application that answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, str(port)],
            cwd=CHECKOUT / "examples",
            env=os.environ | variables | {"PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, trust_env=False) as client:
            wait_until(lambda: process.poll() is not None or answers(client), "it answers")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def called(log: Path) -> Counter[tuple[str, ...]]:
    """How often an application was called, by event."""
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith("called ")]
    return Counter(tuple(line[1:]) for line in lines)


def was_called(log: Path, events: int) -> bool:
    return len(called(log)) >= events


def was_called_again(log: Path, before: Counter[tuple[str, ...]]) -> bool:
    return called(log).total() > before.total()


@pytest.mark.slow
def test_applications_are_called_at_each_new_order_while_workers_are_killed(stack: Stack, tmp_path: Path) -> None:
    ports = dict(zip(("django", "fastapi"), free_ports(2), strict=True))
    redis_url = own_redis(stack)
    with shared_database(stack, "events") as url, fresh_sandbox(limit=100_000) as sandbox:
        settings = fresh_settings(
            database_url=url,
            redis_url=redis_url,
            rate_limit=100_000,
            event_deadline=5,
            lease_seconds=2,
            event_private_origins=tuple(f"http://127.0.0.1:{port}" for port in ports.values()),
        )
        shop = Shop(settings, sandbox.control, ("orders",))
        shop.sell(ORG, orders=20)
        shop.sync(ORG)
        shop.every(86_400)
        pools = (Pool("dispatch", ("dispatch",), 1), Pool("events", ("events",), 2))
        variables = environment(shop.settings) | {"SHOP_DATABASE_URL": url}
        with (
            BackMarket(shop.settings) as bm,
            Fleet(environment(shop.settings), directory=tmp_path / "logs", workers=pools) as fleet,
        ):
            fleet.wait_ready()
            logs = {name: tmp_path / f"{name}.log" for name in ports}
            secrets = {
                name: bm.create_webhook(f"http://127.0.0.1:{port}/hooks/backmarket", organization_id=ORG).secret
                for name, port in ports.items()
            }
            begin = bm.changes_cursor()
            with (
                application(
                    ["django_app.py"],
                    ports["django"],
                    variables | {"SHOP_WEBHOOK_SECRET": secrets["django"]},
                    logs["django"],
                ),
                application(
                    ["-m", "uvicorn", "fastapi_app:app", "--port"],
                    ports["fastapi"],
                    variables | {"SHOP_WEBHOOK_SECRET": secrets["fastapi"]},
                    logs["fastapi"],
                ),
            ):
                for _ in range(ROUNDS):
                    sandbox.control.change(ORG, add=50)
                    shop.run_slice(ORG)
                    wait_until(partial(was_called_again, logs["django"], called(logs["django"])), "calls begin")
                    fleet.kill("events")
                    fleet.restart("events")
                    fleet.wait_ready()
                happened = {
                    (change.organization_id, change.resource, change.external_id, change.kind)
                    for change in bm.changes(begin, limit=10_000)
                }
                assert len(happened) == 50 * ROUNDS
                for name, log in logs.items():
                    wait_until(partial(was_called, log, 50 * ROUNDS), f"{name} was called")
                    found = called(log)
                    assert {event[1:] for event in found} == happened
                    print(f"{name}: {len(found)} events, {sum(found.values()) - len(found)} duplicates")  # noqa: T201
        shop.services.close()
