"""Delivery: each event to each endpoint that wants it, in the order of the feed, and what failed again."""

from __future__ import annotations

from typing import Any

import pytest

from backmarket.errors import ConnectionNotFound, EndpointNotFound, InvalidArgument
from tests.integration.events.conftest import ORG, OTHER, Office
from tests.support.databases import open_connection


def test_an_event_is_signed_and_says_ids_fields_and_values(office: Office) -> None:
    office.webhook()
    office.happen(5978, fields=["shipping_address", "state"], field_values={"state": [1, 3]})
    assert office.slice().delivered == 1
    (call,) = office.receiver.calls
    (change,) = office.bm.changes()
    assert call.body["type"] == "orders.updated"
    assert call.event == {
        "id": call.headers["webhook-id"],
        "cursor": change.cursor,
        "organization_id": ORG,
        "resource": "orders",
        "external_id": "5978",
        "kind": "updated",
        "fields": ["shipping_address", "state"],
        "values": {"state": [1, 3]},
        "initial": False,
        "market": "",
        "recorded_at": change.recorded_at.isoformat(),
    }


def test_events_come_once_and_in_the_order_of_the_feed(office: Office) -> None:
    endpoint = office.webhook()
    for number in range(3):
        office.happen(*range(number * 30, number * 30 + 30))
        office.slice()
    assert office.receiver.ids() == [str(number) for number in range(90)]
    assert office.slice().delivered == 0
    assert not office.stored(endpoint).waiting
    assert office.stored(endpoint).cursor == office.bm.changes_cursor()


def test_an_event_that_commits_late_is_not_skipped(office: Office) -> None:
    office.webhook()
    with open_connection(office.url) as late:
        late.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
            " VALUES (%s, 'orders', 'late', 'created')", (ORG,),
        )  # fmt: skip
        office.happen("early")
        office.slice()
        assert office.receiver.ids() == []
        late.commit()
    office.slice()
    assert office.receiver.ids() == ["late", "early"]


def test_each_endpoint_gets_its_organization_and_what_it_asked_for(office: Office) -> None:
    office.webhook("/all")
    office.webhook("/other", organization_id=OTHER)
    office.webhook("/created", kinds=["created"])
    office.webhook("/returns", resources=["returns"])
    office.webhook("/price", fields=["price"])
    office.webhook("/initial", initial=True)
    office.happen(1)
    office.happen(2, organization=OTHER)
    office.happen(3, kind="created", fields=[])
    office.happen(4, resource="returns")
    office.happen(5, fields=["price", "state"])
    office.happen(6, initial=True, kind="created", fields=[])
    while office.slice().delivered:
        pass
    got: dict[str, list[str]] = {}
    for call in office.receiver.calls:
        got.setdefault(call.path, []).append(call.event["external_id"])
    assert got == {
        "/all": ["1", "2", "3", "4", "5"],
        "/other": ["2"],
        "/created": ["3"],
        "/returns": ["4"],
        "/price": ["3", "5"],
        "/initial": ["1", "2", "3", "4", "5", "6"],
    }


def test_a_new_endpoint_begins_now_or_at_a_cursor(office: Office) -> None:
    office.happen("before", "after")
    first, _ = office.bm.changes()
    office.webhook("/now")
    office.webhook("/cursor", after=first.cursor)
    office.slice()
    assert [(call.path, call.event["external_id"]) for call in office.receiver.calls] == [("/cursor", "after")]


def test_a_failed_event_is_retried_and_does_not_hold_up_the_others(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (500 if event["external_id"] == "bad" else 204, {})
    office.happen(1, "bad", 2, 3)
    assert office.slice().failed == 1
    assert office.receiver.ids() == ["1", "bad", "2", "3"]
    assert (office.stored(endpoint).failures, office.stored(endpoint).failing_since) == (0, None)
    office.receiver.answer = lambda event: (204, {})
    office.make_due()
    office.slice()
    assert office.receiver.ids() == ["1", "bad", "2", "3", "bad"]
    first, second = (call for call in office.receiver.calls if call.event["external_id"] == "bad")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert office.execute("SELECT endpoint_id FROM backmarket.event_retries") == []
    assert not office.stored(endpoint).waiting
    log = [
        (each.external_id, each.attempt, each.outcome, each.status)
        for each in office.bm.get_event_attempts(endpoint.id)
    ]
    assert log == [
        ("bad", 2, "delivered", 204), ("3", 1, "delivered", 204), ("2", 1, "delivered", 204), ("bad", 1, "failed", 500),
        ("1", 1, "delivered", 204),
    ]  # fmt: skip


def test_a_dead_endpoint_costs_one_call_for_each_pause(office: Office) -> None:
    endpoint = office.webhook(resources=["orders"])
    office.receiver.answer = lambda event: (500, {})
    office.happen(*range(50))
    office.slice()
    paused = office.stored(endpoint)
    assert (paused.failures, paused.error_code, paused.error) == (2, "refused", "The receiver answered 500.")
    assert office.slice().failed == 0
    for calls in (3, 4):
        office.make_due()
        office.slice()
        assert len(office.receiver.calls) == calls
    office.happen("of no interest", resource="returns")
    office.slice()
    assert office.stored(endpoint).failures == 4
    office.make_due()
    office.receiver.answer = lambda event: (204, {})
    while office.slice().delivered:
        office.make_due()
    assert set(office.receiver.ids()) == {str(number) for number in range(50)}
    assert office.stored(endpoint).failures == 0


def test_an_event_is_given_up_and_a_failing_endpoint_disabled(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (500, {})
    office.happen(1)
    office.slice()
    office.execute("UPDATE backmarket.event_retries SET since = now() - interval '4 days'")
    office.execute("UPDATE backmarket.event_endpoints SET failing_since = now() - interval '4 days'")
    office.make_due()
    assert office.slice().disabled == 1
    stored = office.stored(endpoint)
    assert (stored.state, stored.disabled_reason) == ("disabled", "failing")
    assert next(iter(office.bm.get_event_attempts(endpoint.id))).outcome == "given_up"
    (entry,) = office.bm.audit(what="event.disable")
    assert (entry.object_id, entry.details, entry.proved_by) == (str(endpoint.id), {"reason": "failing"}, "application")
    office.happen(2)
    office.make_due()
    assert office.slice().failed == 0
    office.receiver.answer = lambda event: (204, {})
    office.bm.enable_event_endpoint(endpoint.id)
    office.slice()
    assert office.receiver.ids()[-1] == "2"
    assert office.bm.redeliver_events(endpoint.id, office.bm.changes().items[0].cursor) == 1
    office.slice()
    assert office.receiver.ids()[-1] == "1"


def test_a_receiver_that_is_gone_is_disabled_at_once(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (410, {})
    office.happen(1)
    assert office.slice().disabled == 1
    assert office.stored(endpoint).disabled_reason == "gone"


def test_a_busy_receiver_is_left_alone_for_as_long_as_it_says(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (503, {"Retry-After": "600"})
    office.happen(1)
    office.slice()
    ((pause,),) = office.execute(
        "SELECT extract(epoch FROM paused_until - now())::float8 FROM backmarket.event_endpoints WHERE id = %s",
        endpoint.id,
    )
    assert pause > 500


def test_a_disabled_endpoint_goes_on_where_it_stopped_or_now(office: Office) -> None:
    endpoint = office.webhook()
    office.bm.disable_event_endpoint(endpoint.id)
    office.happen(1)
    assert office.slice().delivered == 0
    office.bm.enable_event_endpoint(endpoint.id)
    office.slice()
    assert office.receiver.ids() == ["1"]
    office.bm.disable_event_endpoint(endpoint.id)
    office.happen(2)
    office.bm.enable_event_endpoint(endpoint.id, after="now")
    office.happen(3)
    office.slice()
    assert office.receiver.ids() == ["1", "3"]


def test_a_range_is_sent_again(office: Office) -> None:
    endpoint = office.webhook(resources=["orders"])
    office.happen(1, 2, 3, 4)
    office.happen("r", resource="returns")
    office.slice()
    events = office.bm.changes().items
    assert office.bm.redeliver_events(endpoint.id, after=events[0].cursor, until=events[2].cursor) == 2
    office.slice()
    assert office.receiver.ids() == ["1", "2", "3", "4", "2", "3"]
    with pytest.raises(InvalidArgument, match="No event of this endpoint"):
        office.bm.redeliver_events(endpoint.id, events[4].cursor)
    office.happen(5)
    with pytest.raises(InvalidArgument, match="not come to this event yet"):
        office.bm.redeliver_events(endpoint.id, office.bm.changes_cursor())


def test_both_secrets_sign_after_a_rotation(office: Office) -> None:
    endpoint = office.webhook()
    old = office.receiver.secrets["/hook"]
    new = office.bm.rotate_webhook_secret(endpoint.id)
    for secret in (old, new):
        office.receiver.secrets["/hook"] = secret
        office.happen(1)
        assert office.slice().delivered == 1
    assert (office.receiver.refused, old == new) == (0, False)
    office.execute("UPDATE backmarket.event_endpoints SET previous_until = now()")
    office.receiver.secrets["/hook"] = old
    office.happen(2)
    assert office.slice().failed == 1


def test_a_worker_without_the_key_of_a_secret_says_so(office: Office) -> None:
    endpoint = office.webhook()
    office.execute("UPDATE backmarket.event_endpoints SET secret = 'not ours'")
    office.happen(1)
    assert office.slice().failed == 1
    assert office.stored(endpoint).error_code == "settings"
    assert office.receiver.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/",
        "https://10.0.0.1/",
        "ftp://shop.example/",
        "x",
    ],
)
def test_an_address_that_is_not_allowed_is_refused(office: Office, url: str) -> None:
    with pytest.raises(InvalidArgument):
        office.bm.create_webhook(url)


def test_a_name_with_a_private_address_is_refused_when_it_is_called(office: Office) -> None:
    endpoint = office.bm.create_webhook("https://localhost:1/hook").endpoint
    office.happen(1)
    assert office.slice().failed == 1
    assert office.stored(endpoint).error_code == "origin_refused"


def test_a_redirect_is_not_followed(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (307, {"Location": "/elsewhere"})
    office.happen(1)
    assert office.slice().failed == 1
    assert (len(office.receiver.calls), office.stored(endpoint).error) == (1, "The receiver answered 307.")


def test_what_is_not_there_is_said(office: Office) -> None:
    with pytest.raises(EndpointNotFound):
        office.bm.get_event_endpoint(7)
    with pytest.raises(ConnectionNotFound):
        office.bm.create_webhook("https://shop.example/", organization_id="nobody")
    arguments: list[dict[str, Any]] = [{"resources": ["order"]}, {"kinds": []}, {"fields": "price"}]
    for each in arguments:
        with pytest.raises(InvalidArgument):
            office.bm.create_webhook("https://shop.example/", **each)


def test_an_endpoint_is_changed_and_deleted(office: Office) -> None:
    endpoint = office.webhook()
    changed = office.bm.update_event_endpoint(endpoint.id, resources=["returns"], description="Shop")
    assert (changed.resources, changed.description, changed.url) == (["returns"], "Shop", endpoint.url)
    office.happen(1)
    office.happen(2, resource="returns")
    office.slice()
    assert office.receiver.ids() == ["2"]
    office.bm.delete_event_endpoint(endpoint.id)
    assert office.bm.get_event_endpoints() == []
    assert office.execute("SELECT endpoint_id FROM backmarket.event_attempts") == []


def test_removing_an_organization_removes_its_endpoints_and_what_waits_for_others(office: Office) -> None:
    office.webhook("/own", organization_id=ORG)
    everyone = office.webhook("/all")
    office.receiver.answer = lambda event: (500, {})
    office.happen(1)
    office.slice()
    assert len(office.execute("SELECT endpoint_id FROM backmarket.event_retries")) == 2
    office.bm.remove_connection(ORG)
    assert [each.id for each in office.bm.get_event_endpoints()] == [everyone.id]
    assert office.execute("SELECT endpoint_id FROM backmarket.event_retries") == []
    assert office.execute("SELECT DISTINCT endpoint_id FROM backmarket.event_attempts") == [(everyone.id,)]


def test_rotating_the_keys_covers_the_secrets(office: Office) -> None:
    from backmarket.database.encryption import KeyCipher

    endpoint = office.webhook()
    office.bm.rotate_webhook_secret(endpoint.id)
    new = KeyCipher.generate()
    old = office.services.settings.secret_keys[0].get_secret_value()
    rotating = office.services.settings.model_copy(update={"secret_keys": tuple(map(_secret, (new, old)))})
    with type(office.bm)(rotating) as bm:
        assert bm.rotate_keys() == 3
    ((secret, previous),) = office.execute("SELECT secret, previous_secret FROM backmarket.event_endpoints")
    for each in (secret, previous):
        assert KeyCipher((new,)).decrypt(bytes(each)).startswith("whsec_")


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
