"""Events of the inbox: one when an entry comes, one when it is gone, none while it stays."""

from __future__ import annotations

from threading import Thread

import pytest

from backmarket.status.inbox_events import record_inbox
from tests.integration.events.conftest import ORG, OTHER, Office

MARKET = "organization_id, locale, environment, region"
COMES = {
    "key_refused": "UPDATE backmarket.connections SET unauthorized_at = now() WHERE organization_id = %s",
    "write/7": "INSERT INTO backmarket.api_writes (id, kind, object_id, lane, request, state, due_at, organization_id,"
    " locale, environment, region) OVERRIDING SYSTEM VALUE SELECT 7, 'update_order', '1', 'order/1', '{}', 'unknown',"
    f" 'infinity', {MARKET} FROM backmarket.connections WHERE organization_id = %s",
    "bulk_part/5/2": "WITH job AS (INSERT INTO backmarket.bulk_jobs (id, object_prefix, header, lines, fingerprint,"
    f" {MARKET}) SELECT 5, 'bulk/5/', 'sku', 2, '', {MARKET} FROM backmarket.connections WHERE organization_id = %s"
    " RETURNING organization_id, id) INSERT INTO backmarket.bulk_parts (organization_id, job_id, number, state,"
    " byte_offset, byte_length, lines, line_numbers, due_at)"
    " SELECT organization_id, id, 2, 'unknown', 0, 1, 1, '{1}', 'infinity' FROM job",
    "labels": "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)"
    " SELECT %s, 'deliveries', n, '/label', 'unavailable' FROM generate_series(1, 3) n",
    "rows_missing/orders": "UPDATE backmarket.sync_state SET rows_missing = 400"
    " WHERE organization_id = %s AND resource = 'orders'",
    "rows_rejected/returns": "UPDATE backmarket.sync_state SET rows_rejected = 1"
    " WHERE organization_id = %s AND resource = 'returns'",
}
GOES = {
    "key_refused": "UPDATE backmarket.connections SET unauthorized_at = NULL",
    "write/7": "UPDATE backmarket.api_writes SET state = 'succeeded'",
    "bulk_part/5/2": "UPDATE backmarket.bulk_parts SET state = 'done'",
    "labels": "DELETE FROM backmarket.labels",
    "rows_missing/orders": "UPDATE backmarket.sync_state SET rows_missing = 0",
    "rows_rejected/returns": "UPDATE backmarket.sync_state SET rows_rejected = 0",
}


def told(office: Office) -> list[tuple[str, str]]:
    """The events of the inbox so far."""
    return office.execute(
        "SELECT external_id, kind FROM backmarket.changes WHERE resource = 'inbox' ORDER BY transaction_id, id"
    )


@pytest.mark.parametrize("item", COMES)
def test_an_entry_has_one_event_while_it_waits_and_one_when_it_is_gone(office: Office, item: str) -> None:
    database = office.services.database
    assert record_inbox(database) == 0
    office.execute(COMES[item], ORG)
    assert [record_inbox(database) for _ in range(3)] == [1, 0, 0]
    assert told(office) == [(item, "created")]
    office.execute(GOES[item])
    assert [record_inbox(database) for _ in range(2)] == [1, 0]
    assert told(office) == [(item, "created"), (item, "removed")]


def test_more_of_the_same_entry_has_no_event_but_it_has_when_it_comes_back(office: Office) -> None:
    database = office.services.database
    office.execute(COMES["labels"], ORG)
    record_inbox(database)
    office.execute("UPDATE backmarket.labels SET shipment_id = shipment_id + 10")
    office.execute(COMES["labels"], ORG)
    assert record_inbox(database) == 0
    office.execute(GOES["labels"])
    record_inbox(database)
    office.execute(COMES["labels"], ORG)
    assert record_inbox(database) == 1


def test_each_market_has_an_entry_of_its_own(office: Office) -> None:
    office.execute(
        "INSERT INTO backmarket.sync_state (organization_id, resource, market, rows_missing)"
        " VALUES (%s, 'listings', 'de-de', 30), (%s, 'listings', 'es-es', 40)",
        ORG,
        ORG,
    )
    office.execute("UPDATE backmarket.sync_state SET rows_missing = 50 WHERE resource = 'listings' AND market = ''")
    record_inbox(office.services.database)
    mine = {item for item, kind in told(office) if kind == "created"}
    assert {f"rows_missing/listings{market}" for market in ("", "/de-de", "/es-es")} <= mine
    office.execute("UPDATE backmarket.sync_state SET rows_missing = 0 WHERE market = 'de-de'")
    assert record_inbox(office.services.database) == 1
    assert told(office)[-1] == ("rows_missing/listings/de-de", "removed")


def test_two_that_look_at_once_record_an_entry_once(office: Office) -> None:
    for item, statement in COMES.items():
        office.execute(statement, OTHER if item == "labels" else ORG)
    threads = [Thread(target=record_inbox, args=(office.services.database,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting = len(office.bm.get_inbox())
    assert len(told(office)) == waiting


def test_endpoints_get_it_without_anything_personal(office: Office) -> None:
    office.webhook(organization_id=ORG, resources=["inbox"])
    disabled = office.webhook("/gone", organization_id=ORG)
    office.execute(COMES["write/7"], ORG)
    office.execute(COMES["labels"], OTHER)
    office.execute(
        "UPDATE backmarket.event_endpoints SET state = 'disabled', disabled_reason = 'gone' WHERE id = %s", disabled.id
    )
    record_inbox(office.services.database)
    office.slice()
    bodies = [call.body for call in office.receiver.calls]
    assert {(each["type"], each["data"]["external_id"]) for each in bodies} == {
        ("inbox.created", "write/7"),
        ("inbox.created", f"webhook/{disabled.id}"),
    }
    assert all(each["data"]["organization_id"] == ORG for each in bodies)
    assert all((each["data"]["values"], each["data"]["fields"]) == ({}, []) for each in bodies)


def test_a_removed_organization_leaves_nothing_to_tell(office: Office) -> None:
    office.execute(COMES["labels"], ORG)
    record_inbox(office.services.database)
    office.bm.remove_connection(ORG)
    assert record_inbox(office.services.database) == 0
    assert office.execute("SELECT 1 FROM backmarket.inbox_recorded") == []


def test_a_webhook_of_all_organizations_has_no_event(office: Office) -> None:
    endpoint = office.webhook()
    office.execute(
        "UPDATE backmarket.event_endpoints SET state = 'disabled', disabled_reason = 'failing' WHERE id = %s",
        endpoint.id,
    )
    assert len(office.bm.get_inbox()) == 1
    assert record_inbox(office.services.database) == 0
