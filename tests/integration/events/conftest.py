"""What tests of calls for events share: a receiver, one process that sends, and transactions that the test commits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from backmarket import BackMarket
from backmarket.events.engine import SliceResult, run_slice
from backmarket.events.models import Endpoint
from backmarket.services import Services
from backmarket.settings import Settings
from tests.support.databases import open_connection
from tests.support.receiver import Receiver

ORG, OTHER = "auth0|1", "a/../b é"


@dataclass
class Office:
    """One process that delivers events, and the tables."""

    bm: BackMarket
    services: Services
    receiver: Receiver
    url: str

    def webhook(self, path: str = "/hook", **options: Any) -> Endpoint:
        """A webhook at the receiver."""
        created = self.bm.create_webhook(f"{self.receiver.origin}{path}", **options)
        self.receiver.secrets[path] = created.secret
        return created.endpoint

    def happen(self, *ids: int | str, organization: str = ORG, **columns: Any) -> None:
        """Commit events, each in the feed with its id."""
        values = {"resource": "orders", "kind": "updated", "fields": ["state"], "initial": False, **columns}
        values["field_values"] = Jsonb(columns["field_values"]) if columns.get("field_values") else None
        with open_connection(self.url) as connection:
            for external_id in ids:
                connection.execute(
                    "INSERT INTO backmarket.changes"
                    " (organization_id, resource, external_id, kind, fields, initial, field_values)"
                    " VALUES (%(organization)s, %(resource)s, %(id)s, %(kind)s, %(fields)s, %(initial)s,"
                    " %(field_values)s)",
                    values | {"organization": organization, "id": str(external_id)},
                )
            connection.commit()

    def slice(self) -> SliceResult:
        """Deliver what is due."""
        return run_slice(self.services)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.services.database.transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def make_due(self) -> None:
        """End every pause, as time would."""
        self.execute(  # but not what is being delivered: waiting for it, both could wait for each other
            "UPDATE backmarket.event_retries SET due_at = now() WHERE ctid = ANY(ARRAY"
            " (SELECT ctid FROM backmarket.event_retries FOR UPDATE SKIP LOCKED))"
        )
        self.execute(  # in an order, as others do so at the same time
            "WITH locked AS MATERIALIZED (SELECT id FROM backmarket.event_endpoints ORDER BY id FOR UPDATE)"
            " UPDATE backmarket.event_endpoints SET due_at = now(), paused_until = now()"
            " WHERE id IN (SELECT id FROM locked)"
        )

    def stored(self, endpoint: Endpoint) -> Endpoint:
        return self.bm.get_event_endpoint(endpoint.id)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def event_settings(settings: Settings, receiver: Receiver) -> Settings:
    return settings.model_copy(update={"event_private_origins": (receiver.origin,)})


@pytest.fixture
def office(event_settings: Settings, receiver: Receiver, database_url: str) -> Iterator[Office]:
    services = Services(event_settings)
    with BackMarket(event_settings) as bm:
        for organization in (ORG, OTHER):
            bm.upsert_connection(organization, "key-1", environment="sandbox")
        yield Office(bm, services, receiver, database_url)
    services.close()
