"""What the login of each process may not do; that it may do its work, the tests of that work show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from tests.support.databases import OWNER, PROCESSES, as_process

WORKER, CONSOLE, METRICS = PROCESSES
ALL = (WORKER, CONSOLE, METRICS)
DENIED = [
    *((process, statement) for process in ALL for statement in (
        "UPDATE backmarket.audit SET actor = 'another'",
        "DELETE FROM backmarket.audit",
        "TRUNCATE backmarket.audit",
        "DELETE FROM backmarket.audit_default",
        "SELECT FROM backmarket.changes_default",
        "DROP TABLE backmarket.audit_default",
        "CREATE TABLE backmarket.mine ()",
        "ALTER TABLE backmarket.orders ADD mine text",
        "ALTER TABLE backmarket.orders DISABLE ROW LEVEL SECURITY",
        "DROP POLICY owner ON backmarket.orders",
        "CREATE INDEX ON backmarket.orders (state)",
        "TRUNCATE backmarket.orders CASCADE",
        "UPDATE backmarket.schema_version SET version = 1",
        "INSERT INTO backmarket.locks VALUES ('probes', 999)",
        "DELETE FROM backmarket.locks",
        "DELETE FROM backmarket.schedule",
        "UPDATE backmarket.changes SET kind = 'removed'",
        "UPDATE backmarket.sync_runs SET outcome = 'done'",
        "CREATE ROLE mine",
        "GRANT backmarket_worker TO backmarket_reader",
        f"SET ROLE {OWNER}",
    )),
    *((WORKER, statement) for statement in (
        "SELECT person FROM backmarket.console_sessions",
        "SELECT token_hash FROM backmarket.console_sessions",
        "UPDATE backmarket.console_sessions SET expires_at = 'infinity'",
        "INSERT INTO backmarket.console_sessions (token_hash) VALUES ('')",
    )),
    *((process, statement) for process in (CONSOLE, METRICS) for statement in (
        "SELECT backmarket.make_partitions()",
        "SELECT backmarket.drop_partition('audit', 'audit_default', 30)",
        "UPDATE backmarket.schedule SET enabled = false",
        "INSERT INTO backmarket.walks (kind) VALUES ('full')",
        "UPDATE backmarket.walks SET steady = true",
        "INSERT INTO backmarket.listings (title) VALUES ('')",
        "UPDATE backmarket.deliveries SET removed_at = now()",
        "INSERT INTO backmarket.labels (url) VALUES ('')",
        "SELECT FROM backmarket.walk_seen",
        "DELETE FROM backmarket.sku_quota",
        "UPDATE backmarket.upkeep SET due_at = 'infinity'",
        "UPDATE backmarket.bucket_sweep SET accept_garbage = true",
        "DELETE FROM backmarket.bucket_deletions",
        "DELETE FROM backmarket.feed_marks",
        "DELETE FROM backmarket.clocks",
    )),
    *((METRICS, statement) for statement in (
        "SELECT api_key FROM backmarket.connections",
        "SELECT last_error FROM backmarket.connections",
        "SELECT FROM backmarket.orders",
        "SELECT FROM backmarket.orderlines",
        "SELECT FROM backmarket.listings",
        "SELECT FROM backmarket.deliveries",
        "SELECT FROM backmarket.returns",
        "SELECT FROM backmarket.audit",
        "SELECT FROM backmarket.changes",
        "SELECT FROM backmarket.console_sessions",
        "SELECT request FROM backmarket.api_writes",
        "SELECT url FROM backmarket.labels",
        "SELECT file_name FROM backmarket.bulk_jobs",
        "SELECT prior FROM backmarket.bulk_parts",
        "SELECT object_key FROM backmarket.bucket_deletions",
        "UPDATE backmarket.sync_state SET enabled = false",
        "DELETE FROM backmarket.connections",
        "SELECT backmarket.take_lock('connections', 'a')",
        "SELECT nextval('backmarket.bulk_jobs_id_seq')",
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def connections(shared_url: str) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    """A session of each process's login."""
    opened = {process: psycopg.connect(as_process(shared_url, process)) for process in PROCESSES}
    yield opened
    for connection in opened.values():
        connection.close()


@pytest.mark.parametrize(("process", "statement"), DENIED)
def test_a_process_may_not(connections: dict[str, psycopg.Connection[Any]], process: str, statement: str) -> None:
    connection = connections[process]
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL backmarket.worker = 'on'")
        with pytest.raises(pg.InsufficientPrivilege), connection.transaction():
            connection.execute(statement.encode())
