"""The figures of a deployment: counted right, in one statement, and told though a service is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from backmarket.database import Database
from backmarket.messages import Nudge
from backmarket.producer import Producer
from backmarket.standalone.embedded import Stack
from backmarket.status.broker import Broker
from backmarket.status.deployment_metrics import METRICS, DeploymentMetric, measure
from tests.support.databases import as_process

MANY = 2000

CONNECT = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)
SELECT 'org-' || n, 'sealed', 'account-' || n, 'production', 'EU', 'fr-fr' FROM generate_series(1, %s) n
ON CONFLICT DO NOTHING
"""
SCHEDULE = """
INSERT INTO backmarket.sync_state (organization_id, resource, last_success_at, next_due_at)
SELECT organization_id, resource, now(), now() + interval '1 minute'
FROM backmarket.connections CROSS JOIN backmarket.schedule ON CONFLICT DO NOTHING
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def exporter(database_url: str) -> Iterator[Database]:
    """As the exporter connects, with a login that may read what it counts."""
    exporter = Database(as_process(database_url, "metrics"))
    yield exporter
    exporter.close()


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    broker = Broker(redis_url)
    yield broker
    broker.close()


def run(database: Database, *statements: str) -> None:
    with database.transaction() as transaction:
        for statement in statements:
            transaction.execute(statement.encode())


def connect(database: Database, count: int) -> None:
    with database.transaction() as transaction:
        transaction.execute(CONNECT.encode(), (count,))
        transaction.execute(SCHEDULE.encode())


def by_label(figures: list[DeploymentMetric], name: str) -> dict[str, float]:
    return {" ".join(each.labels.values()): each.value for each in figures if each.name == name}


def value(figures: list[DeploymentMetric], name: str) -> float:
    (found,) = (each.value for each in figures if each.name == name)
    return found


def test_how_far_behind_each_resource_is(database: Database, exporter: Database, broker: Broker) -> None:
    connect(database, 10)
    state = "UPDATE backmarket.sync_state SET"
    of = "WHERE resource = 'orders' AND organization_id ="
    run(
        database,
        f"{state} last_success_at = now() - interval '11 minutes' {of} 'org-1'",
        f"{state} last_success_at = now() - interval '9 minutes' {of} 'org-2'",  # not yet two intervals of 5
        f"{state} last_success_at = now() - interval '9 minutes', interval_seconds = 60 {of} 'org-3'",  # its own
        f"{state} last_success_at = now() - interval '1 day' {of} 'org-4'",
        f"{state} last_success_at = now() - interval '1 day' {of} 'org-5'",
        f"{state} last_success_at = now() - interval '1 day', availability = 'not_available' {of} 'org-6'",
        f"{state} next_due_at = now() - interval '3 minutes' {of} 'org-7'",
        f"{state} next_due_at = now() - interval '1 hour', lease_until = now() + interval '1 minute' {of} 'org-8'",
        f"{state} failing_since = now(), error_code = 'server_error' {of} 'org-9'",
        "UPDATE backmarket.connections SET enabled = false WHERE organization_id = 'org-4'",
        "UPDATE backmarket.connections SET unauthorized_at = now() WHERE organization_id = 'org-5'",
        "UPDATE backmarket.schedule SET enabled = false WHERE resource = 'returns'",
    )
    found = measure(exporter, broker)
    assert by_label(found, "sync_organizations") == {"orders": 7, "listings": 8, "deliveries": 8, "returns": 0}
    assert by_label(found, "sync_lagging_organizations") == {"orders": 2, "listings": 0, "deliveries": 0, "returns": 0}
    assert by_label(found, "sync_oldest_seconds")["orders"] == pytest.approx(660, abs=60)
    assert by_label(found, "sync_overdue_seconds")["orders"] == pytest.approx(180, abs=60)
    assert by_label(found, "sync_overdue_seconds")["listings"] == 0
    assert by_label(found, "sync_running")["orders"] == 1
    assert by_label(found, "sync_failing_organizations") == {"server_error orders": 1}
    assert by_label(found, "connections") == {"ok": 8, "disabled": 1, "unauthorized": 1, "no_key": 0}


def test_what_waits_and_what_a_person_has_to_decide(
    database: Database, exporter: Database, broker: Broker, redis_url: str
) -> None:
    connect(database, 2)
    label = "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state, noted_at, object_key)"
    write = (
        "INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale, environment,"
        " region, state, due_at, created_at) VALUES ('org-1', 'update_order', '1', 'order/1', '{}', 'fr-fr',"
        " 'production', 'EU',"
    )
    run(
        database,
        f"{label} VALUES ('org-1', 'returns', 1, '/1', 'wanted', now() - interval '1 hour', NULL)",
        f"{label} VALUES ('org-1', 'returns', 2, '/2', 'stored', now() - interval '1 day', 'labels/2')",
        f"{write} 'pending', now(), now() - interval '1 hour')",
        f"{write} 'unknown', now(), now())",
        f"{write} 'unknown', 'infinity', now())",
        f"{write} 'succeeded', now(), now() - interval '1 day')",
        "INSERT INTO backmarket.bucket_deletions (object_key) VALUES ('labels/2')",
    )
    producer = Producer(redis_url)
    producer.nudge(Nudge("orders", f"org-{n}") for n in range(3))
    producer.close()
    found = measure(exporter, broker)
    assert value(found, "labels_wanted") == 1
    assert value(found, "labels_oldest_seconds") == pytest.approx(3600, abs=60)
    assert by_label(found, "writes") == {"pending": 1, "sending": 0, "unknown": 2}
    assert value(found, "writes_undecided") == 1
    assert value(found, "writes_oldest_seconds") == pytest.approx(3600, abs=60)
    assert value(found, "bucket_deletions") == 1
    assert by_label(found, "queue_messages")["orders"] == 3
    assert by_label(found, "queue_messages")["labels"] == 0
    assert value(found, "broker_memory_bytes") > 0


def test_every_figure_is_told_of_an_empty_deployment(exporter: Database, broker: Broker) -> None:
    told = {each.name for each in measure(exporter, broker)}
    assert set(METRICS) - told == {"sync_failing_organizations", "clock_ahead_seconds"}
    assert told <= set(METRICS)


def test_as_many_statements_and_figures_for_many_organizations_as_for_one(
    database: Database, exporter: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, statements = psycopg.Connection.execute, []

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        statements.append(query)
        return execute(self, query, *args, **kwargs)

    connect(database, 1)
    measure(exporter, broker)
    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    few, asked = measure(exporter, broker), len(statements)
    assert asked == 2, "BEGIN, and one more"
    connect(database, MANY)
    statements.clear()
    many = measure(exporter, broker)
    assert by_label(many, "sync_organizations")["orders"] == MANY
    assert (len(statements), len(many)) == (asked, len(few))
    assert not any("org-" in text for each in many for text in each.labels.values())


def test_what_is_away_is_told_and_the_rest_goes_on(stack: Stack, exporter: Database, broker: Broker) -> None:
    stack.valkey.kill()
    found = measure(exporter, broker)
    assert by_label(found, "reachable") == {"database": 1, "broker": 0}
    assert by_label(found, "connections")["ok"] == 0
    assert by_label(found, "queue_messages") == {}
    stack.valkey.start()
    assert by_label(measure(exporter, broker), "reachable") == {"database": 1, "broker": 1}
