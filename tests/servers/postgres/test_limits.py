"""What an administrator sets for the role of the workers: time limits, and how many connections it may have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backmarket.database import Database
from backmarket.errors import DatabaseUnavailable
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.support.databases import OWNER, open_connection
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders",), 8))
LIMITS = {"statement_timeout": "5s", "idle_in_transaction_session_timeout": "5s", "lock_timeout": "2s"}
"""As an administrator may set them for a role."""


@pytest.fixture
def limited(admin_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection, which takes back what the test sets."""
    with open_connection(admin_url, autocommit=True) as admin:
        yield admin
        for name in LIMITS:
            admin.execute(f"ALTER ROLE {OWNER} RESET {name}".encode())
        admin.execute(f"ALTER ROLE {OWNER} CONNECTION LIMIT -1".encode())


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """Eight sellers whose orders are due every two seconds."""
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox.control)
        for number in range(8):
            shop.sell(f"{ORG}-{number}", orders=60)
        shop.every(2)
        yield shop
        shop.services.close()


def go_on(shop: Shop, what: str) -> None:
    """Wait until a sync of each organization has begun and ended well from now on."""
    (since,) = shop.execute("SELECT clock_timestamp()::text")[0]
    wait_until(
        lambda: shop.one(
            "SELECT bool_and(COALESCE(last_success_at > %s::timestamptz, false)) FROM backmarket.sync_state", since
        ),
        f"each organization is synced: {what}",
    )


def told(directory: Path) -> list[dict[str, Any]]:
    """Warnings and errors of all processes."""
    lines = [line for file in sorted(directory.glob("*.log")) for line in file.read_text().splitlines()]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert not [line for line in lines if "Traceback" in line]
    return [line for line in found if line["level"] in {"warning", "error", "critical"}]


def test_short_time_limits_of_the_role_let_all_work_go_on(
    limited: psycopg.Connection[Any], shop: Shop, tmp_path: Path
) -> None:
    for name, value in LIMITS.items():
        limited.execute(f"ALTER ROLE {OWNER} SET {name} = '{value}'".encode())
    shop.sell("large", orders=3000)
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        go_on(shop, "with time limits")
        go_on(shop, "and again")
        assert fleet.died == []
    slow = [line for line in told(tmp_path) if "57014" not in str(line.get("error"))]
    assert slow == [], "on a busy core a statement may take too long, and is retried"
    shop.assert_equals_truth("large")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("statement_timeout", "QueryCanceled 57014"),
        ("lock_timeout", "LockNotAvailable 55P03"),
        ("idle_in_transaction_session_timeout", "cut"),
    ],
)
def test_a_limit_that_is_reached_is_an_outage_that_is_named_and_the_next_transaction_goes_on(
    limited: psycopg.Connection[Any], shop: Shop, name: str, named: str
) -> None:
    limited.execute(f"ALTER ROLE {OWNER} SET {name} = '100ms'".encode())
    database = Database(shop.settings.need("database_url"))
    with ExitStack() as stack:
        stack.callback(database.close)
        with pytest.raises(DatabaseUnavailable) as raised:
            reach(database, limited, name)
        assert named in raised.value.message or named == "cut", raised.value.message
        with database.transaction() as transaction:
            assert transaction.execute("SELECT 1").fetchone() == (1,)


def reach(database: Database, admin: psycopg.Connection[Any], name: str) -> None:
    """Stay in a transaction for longer than a limit allows."""
    with database.transaction() as transaction:
        if name == "statement_timeout":
            transaction.execute("SELECT pg_sleep(600)")
        elif name == "lock_timeout":
            with admin.transaction():
                admin.execute("LOCK TABLE backmarket.connections")
                transaction.execute("LOCK TABLE backmarket.connections")
        else:
            (pid,) = transaction.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            wait_until(
                lambda: admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is None,
                "the server ends the session",
            )
            transaction.execute("SELECT 1")


def test_a_limit_reached_in_mid_work_is_told_and_work_goes_on_afterwards(
    limited: psycopg.Connection[Any], shop: Shop, tmp_path: Path
) -> None:
    """Statements wait for a lock for longer than they may."""
    limited.execute(f"ALTER ROLE {OWNER} SET lock_timeout = '500ms'".encode())
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        go_on(shop, "before")
        with limited.transaction():
            limited.execute("LOCK TABLE backmarket.sync_state IN ACCESS EXCLUSIVE MODE")
            wait_until(lambda: mentions(tmp_path, "LockNotAvailable 55P03"), "a log names the limit")
        go_on(shop, "once the lock is free")
        assert fleet.died == []
    assert all("5" in str(line) and "database" in json.dumps(line) for line in told(tmp_path))


def mentions(directory: Path, words: str) -> bool:
    """Whether a warning or an error has these words."""
    return any(words in json.dumps(line) for line in told(directory))


def test_a_connection_limit_that_is_reached_is_told_and_work_goes_on_afterwards(
    limited: psycopg.Connection[Any], shop: Shop, tmp_path: Path
) -> None:
    with Fleet(environment(shop.settings), directory=tmp_path, workers=WORKERS) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        go_on(shop, "before")
        limited.execute(f"ALTER ROLE {OWNER} CONNECTION LIMIT 1".encode())
        limited.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND application_name LIKE %s",
            (OWNER, "backmarket%"),
        )
        wait_until(lambda: mentions(tmp_path, "too many connections for role"), "a log says why")
        assert fleet.died == []
        limited.execute(f"ALTER ROLE {OWNER} CONNECTION LIMIT -1".encode())
        go_on(shop, "once there are connections")
        assert fleet.died == []
    assert "traceback" not in json.dumps(told(tmp_path)).lower()
