"""The examples, run as their readers would run them: against real workers, and over real HTTP."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.standalone.programs import CHECKOUT
from tests.support.databases import as_superuser, own_redis, shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

EXAMPLES = CHECKOUT / "examples"
LOGIN = "examples_shop"


@dataclass
class Town:
    """Workers, a sandbox, and what a host application is given of them."""

    shop: Shop
    environment: dict[str, str]

    def orders(self, organization: str) -> int:
        statement = "SELECT count(*) FROM backmarket.orders WHERE organization_id = %s"
        return int(self.shop.one(statement, organization))

    def quiet(self, organization: str) -> None:
        """Wait until an organization that was just connected has everything."""
        done = "SELECT bool_and(last_success_at IS NOT NULL) FROM backmarket.sync_state WHERE organization_id = %s"
        wait_until(lambda: self.shop.one(done, organization), f"{organization} is synced")


@pytest.fixture(scope="module")
def town(stack: Stack, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    redis_url = own_redis(stack)
    with shared_database(stack, "examples") as url, fresh_sandbox(limit=100_000) as sandbox:
        settings = fresh_settings(
            database_url=url,
            redis_url=redis_url,
            rate_limit=100_000,
            bulk_poll_initial_seconds=0.5,
            s3_endpoint_url=s3_url,
            s3_access_key=stack.addresses.s3_access_key,
            s3_secret_key=stack.addresses.s3_secret_key,
            s3_bucket="examples",
        )
        shop = Shop(settings, sandbox.control)
        shop.every(86_400)  # what is synced, somebody asked for
        pools = (
            Pool("dispatch", ("dispatch",), 1),
            Pool("sync", ("orders", "listings", "deliveries", "returns", "writes", "bulk")),
        )
        logs = tmp_path_factory.mktemp("examples")
        try:
            with psycopg.connect(as_superuser(url), autocommit=True) as connection:
                connection.execute(f"CREATE ROLE {LOGIN} LOGIN; GRANT backmarket_reader TO {LOGIN}".encode())
                # for Django's own tables, as docs/applications.md has it
                connection.execute(f"CREATE SCHEMA {LOGIN} AUTHORIZATION {LOGIN}".encode())
            with Fleet(environment(shop.settings), directory=logs, workers=pools) as fleet:
                fleet.wait_ready()
                yield Town(shop, environment(shop.settings) | given(url, redis_url))
        finally:
            shop.services.close()
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {LOGIN}".encode())


def given(url: str, redis_url: str) -> dict[str, str]:
    """What the examples want of the environment beside our settings."""
    parts = urlsplit(url)
    login = parts._replace(netloc=f"{LOGIN}@{parts.netloc.rpartition('@')[2]}").geturl()
    return {"SHOP_DATABASE_URL": login, "SHOP_BROKER_URL": redis_url, "SHOP_API_KEY": "token-of-script"}


@contextmanager
def running(town: Town, *command: str) -> Iterator[subprocess.Popen[str]]:
    """An example as a process, which is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=EXAMPLES,
        env=os.environ | town.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        sys.stdout.write(output)  # pytest shows it where the test fails


@contextmanager
def served(town: Town, *command: str) -> Iterator[httpx.Client]:
    """An example that serves on a port, the last word of its command; it answers."""
    (port,) = free_ports(1)
    with (
        running(town, *command, str(port)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, trust_env=False) as client,
    ):
        wait_until(lambda: process.poll() is not None or answers(client), "it answers")
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 404
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_plain_script_connects_syncs_lists_and_follows(town: Town) -> None:
    town.shop.sandbox.add_seller("script", "token-of-script", orders=80)
    command = ("plain_script.py", "script", "--base-url", town.shop.sandbox.url, "--seconds")
    with running(town, *command, "0") as script:
        assert script.stdout
        said = script.stdout.readlines()
        assert script.wait(PATIENCE_SECONDS) == 0
    assert said[0] == "connected: script production fr-fr\n"
    assert re.fullmatch(r"synced: \d+ new, \d+ changed\n", said[1])
    assert said[-1].startswith("followed up to: ")
    with running(town, *command, str(PATIENCE_SECONDS)) as script:
        assert script.stdout
        lines = iter(script.stdout.readline, "")
        assert "following\n" in lines
        town.shop.sandbox.change("script", modify=1)
        town.shop.run_slice("script")
        assert any(re.match(r"changed: orders \d+ updated ", line) for line in lines)


@pytest.mark.slow
def test_a_plain_script_says_what_to_do_about_an_error(town: Town) -> None:
    command = ("plain_script.py", "script-2", "--base-url", "http://not.allowed.invalid")
    with running(town, *command) as script:
        assert script.wait(PATIENCE_SECONDS) == 1
        assert script.stdout
        assert "BACKMARKET_ALLOWED_BASE_URLS" in script.stdout.read()


@pytest.mark.slow
def test_an_order_is_shipped_once_however_often_the_script_runs(town: Town) -> None:
    sandbox = town.shop.sandbox
    town.shop.sell("shipper", orders=5)
    town.quiet("shipper")
    row = next(one for one in sandbox.truth("shipper") if one["state"] not in {0, 8})
    line = row["orderlines"][0] | {"state": 1, "quantity": 1, "imei": None, "serial_number": ""}
    sandbox.change("shipper", modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": [line]})
    town.shop.run_slice("shipper")
    command = (
        "ship_order.py",
        "shipper",
        str(row["order_id"]),
        "--tracking-number",
        "T-1",
        "--imei",
        "490154203237518",
    )
    for _ in range(2):
        with running(town, *command) as script:
            said, _ = script.communicate(timeout=PATIENCE_SECONDS)
            assert script.returncode == 0, said
        assert said.splitlines() == [f"accepted {line['listing']}: confirmed by answer", "shipped: confirmed by answer"]
    assert [one["operation"] for one in sandbox.truth("shipper", "writes")] == ["orders.update"] * 2


@pytest.mark.slow
def test_a_file_of_listings_is_checked_submitted_and_reported(town: Town, tmp_path: Path) -> None:
    town.shop.sell("shop-7", orders=0, listings=5)
    rows = town.shop.sandbox.truth("shop-7", "listings")
    file = tmp_path / "listings.csv"
    lines = ["sku;quantity", *(f"{row['sku']};{row['quantity'] + 1}" for row in rows)]
    file.write_text("\n".join([*lines, "NEW;many"]))
    with running(town, "bulk_job.py", "shop-7", str(file)) as process:
        told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert 'fault: row 7, column B (quantity): "many"' in told
    assert process.returncode == 1
    file.write_text("\n".join([*lines, "NEW;7"]))
    with running(town, "bulk_job.py", "shop-7", str(file)) as process:
        told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert "done_with_errors: 5 done, 1 failed, 0 unknown" in told
    assert "line 7, NEW: failed" in told
    assert process.returncode == 1


@pytest.mark.slow
def test_the_typed_client_shows_and_changes_and_says_when_it_does_not_know(town: Town) -> None:
    sandbox = town.shop.sandbox
    sandbox.add_seller("typed", "token-of-typed", orders=80)
    listing = sandbox.truth("typed", "listings")[0]
    worth = [order for order in sandbox.truth("typed") if order["state"] == 3]
    command = ("typed_client.py", "--base-url", sandbox.url, "--sku", listing["sku"], "--quantity")
    own = Town(town.shop, town.environment | {"SHOP_API_KEY": "token-of-typed"})
    with running(own, *command, "41") as script:
        said, _ = script.communicate(timeout=PATIENCE_SECONDS)
        assert script.returncode == 0
    assert f"to be shipped: {len(worth)} orders" in said
    assert f"on sale: 41 {listing['sku']}\n" in said
    number = sandbox.add_fault("reset", seller="typed", operation="listings.update", applied=True)
    with running(own, *command, "42") as script:
        said, _ = script.communicate(timeout=PATIENCE_SECONDS)
        assert script.returncode == 0
    sandbox.remove_faults(number)
    assert "unknown_outcome: " in said
    assert f"on sale: 42 {listing['sku']}\n" in said
    assert "token-of-typed" not in said


@pytest.mark.slow
def test_fastapi_serves_status_orders_syncs_and_changes(town: Town) -> None:
    town.shop.sell("fast|api", orders=120)
    town.quiet("fast|api")
    with served(town, "-m", "uvicorn", "fastapi_app:app", "--port") as client:
        seller = client.get("/sellers/fast|api").json()
        assert seller["health"] == "ok"
        assert seller["resources"]["orders"]["last_success_at"]
        first = client.get("/sellers/fast|api/orders").json()
        second = client.get("/sellers/fast|api/orders", params={"cursor": first["next_cursor"]}).json()
        assert len({order["order_id"] for page in (first, second) for order in page["orders"]}) == 100
        with client.stream("GET", "/sellers/fast|api/changes") as stream:
            events = stream.iter_lines()
            assert next(events) == ": following"
            town.shop.sandbox.change("fast|api", modify=1)
            asked = client.post("/sellers/fast|api/sync")
            assert (asked.status_code, asked.json()["nudged"]) == (202, True)
            event = event_of(events)
        assert event["event"] == "updated"
        assert '"resource": "orders"' in event["data"]
        town.shop.sandbox.change("fast|api", modify=1)
        town.shop.run_slice("fast|api")
        with client.stream("GET", "/sellers/fast|api/changes", headers={"last-event-id": event["id"]}) as stream:
            events = stream.iter_lines()
            assert next(events) == ": following"
            assert event_of(events)["id"] > event["id"], "what happened while the browser was away"
        assert client.get("/sellers/nobody").json()["code"] == "connection_not_found"
        refused = client.get("/sellers/fast|api/changes", headers={"last-event-id": "never"})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_argument")


def event_of(lines: Iterator[str]) -> dict[str, str]:
    """The next event of a stream, by its fields."""
    fields = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    return dict(field.split(": ", 1) for field in fields)


@pytest.mark.slow
def test_fastapi_lets_go_of_a_browser_that_left(town: Town) -> None:
    """A follower holds a connection to PostgreSQL; it must not stay."""
    listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backmarket-listen'"
    with served(town, "-m", "uvicorn", "fastapi_app:app", "--port") as client:
        with client.stream("GET", "/sellers/whoever/changes") as stream:
            lines = stream.iter_lines()  # kept: httpx hangs up with it
            assert next(lines) == ": following"
            wait_until(lambda: town.shop.one(listening) == 1, "it listens")
        wait_until(lambda: town.shop.one(listening) == 0, "its connection is gone")


@pytest.mark.slow
def test_django_serves_in_forked_children_and_by_sql_of_its_own(town: Town) -> None:
    for name in ("django", "another"):
        town.shop.sell(name, orders=60)
        town.quiet(name)
    with served(town, "django_app.py") as client:
        page = client.get("/sellers/django/orders").json()
        assert len(page["orders"]) == 50
        turnover = client.get("/sellers/django/turnover").json()
        assert sum(each["orders"] for each in turnover.values()) == town.orders("django")
        assert client.get("/sellers/nobody/turnover").json() == {}
        before = town.orders("django")
        town.shop.sandbox.change("django", add=5)
        asked = client.post("/sellers/django/sync")
        assert (asked.status_code, asked.json()["nudged"]) == (202, True)
        wait_until(lambda: town.orders("django") > before, "the worker did what was asked for")
        missing = client.post("/sellers/nobody/sync")
        assert (missing.status_code, missing.json()["code"]) == (404, "connection_not_found")


@pytest.mark.slow
def test_django_gets_a_signal_for_each_change_also_of_those_while_it_was_away(town: Town) -> None:
    town.shop.sell("signals", orders=20)
    town.quiet("signals")

    def manage(*arguments: str) -> list[str]:
        with running(town, "django_app.py", *arguments) as process:
            said, _ = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, said
        return [line for line in said.splitlines() if line.startswith("signals ")]

    manage("migrate")
    assert manage("follow_backmarket", "--once") == []
    (changed,) = town.shop.sandbox.change("signals", modify=1).modified
    town.shop.run_slice("signals")
    assert manage("follow_backmarket", "--once") == [f"signals orders {changed} updated"]
    assert manage("follow_backmarket", "--once") == []
    with running(town, "django_app.py", "follow_backmarket") as follower:
        assert follower.stdout
        lines = iter(follower.stdout.readline, "")
        town.shop.sandbox.change("signals", modify=1)
        town.shop.run_slice("signals")
        assert any(re.match(r"signals orders \d+ updated", line) for line in lines)


def test_another_celery_application_asks_by_name(town: Town) -> None:
    town.shop.sell("by-name", orders=60)
    town.quiet("by-name")
    before = town.orders("by-name")
    town.shop.sandbox.change("by-name", add=5)
    with running(town, "send_task.py", "by-name") as sender:
        assert sender.wait(PATIENCE_SECONDS) == 0
    wait_until(lambda: town.orders("by-name") > before, "the worker did what was asked for")


def test_asking_by_name_needs_nothing_of_ours() -> None:
    tree = ast.parse((EXAMPLES / "send_task.py").read_text())
    imported = {name for node in ast.walk(tree) for name in modules_of(node)}
    assert imported == {"__future__", "celery", "os", "sys"}


def modules_of(node: ast.AST) -> set[str]:
    match node:
        case ast.Import(names=names):
            return {name.name for name in names}
        case ast.ImportFrom(module=str(module)):
            return {module}
    return set()
