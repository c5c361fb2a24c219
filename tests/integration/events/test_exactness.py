"""As exact as the feed: what is killed, dropped, lost or raced is sent again, or said to be missed; never skipped."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest

from backmarket.errors import DatabaseUnavailable
from backmarket.events import engine, results, routing, rows
from backmarket.events.delivery import deliver
from backmarket.services import Services
from tests.integration.events.conftest import ORG, OTHER, Office
from tests.support.waiting import wait_until


def kinds(office: Office) -> list[str]:
    return [call.event["kind"] for call in office.receiver.calls]


def forget_up_to_now(office: Office) -> None:
    """Drop what is in the feed, as retention does."""
    office.execute(
        "INSERT INTO backmarket.feed_marks SELECT 'dropped', transaction_id, id FROM backmarket.changes"
        " ORDER BY transaction_id DESC, id DESC LIMIT 1"
    )
    office.execute("DELETE FROM backmarket.changes")


def test_events_dropped_by_retention_are_announced_as_missed(office: Office) -> None:
    endpoint = office.webhook()
    begin = office.stored(endpoint).cursor
    office.happen(1, 2)
    forget_up_to_now(office)
    office.happen(3)
    office.slice()
    missed, third = office.receiver.calls
    assert (missed.body["type"], missed.event["after"], missed.event["organization_id"]) == ("feed.missed", begin, None)
    assert third.event["external_id"] == "3"
    assert office.slice().delivered == 0


def test_missed_is_retried_like_an_event(office: Office) -> None:
    office.webhook(organization_id=ORG)
    office.receiver.answer = lambda event: (500, {})
    office.happen(1)
    forget_up_to_now(office)
    office.happen(2)
    office.slice()
    office.receiver.answer = lambda event: (204, {})
    office.make_due()
    office.slice()
    assert kinds(office) == ["missed", "updated"] * 2
    assert office.receiver.calls[0].event["organization_id"] == ORG


def test_an_endpoint_without_events_for_longer_than_the_retention_has_missed_nothing(office: Office) -> None:
    office.webhook(organization_id=ORG)
    office.slice()
    office.happen(1, organization=OTHER)
    routing.route(office.services.database)
    forget_up_to_now(office)
    office.happen(2)
    office.slice()
    assert office.receiver.ids() == ["2"]


def test_after_a_failover_each_endpoint_is_told(office: Office) -> None:
    office.webhook("/a")
    office.webhook("/b", organization_id=OTHER)
    office.happen(1)
    office.slice()
    office.happen(2)
    office.execute("UPDATE backmarket.event_endpoints SET history = '1-1'")
    office.execute("UPDATE backmarket.event_router SET history = '1-1'")
    office.happen(3)
    while office.slice().delivered:
        pass
    assert [(call.path, call.event["kind"]) for call in office.receiver.calls[:1]] == [("/a", "updated")]
    assert sorted((call.path, call.event["kind"]) for call in office.receiver.calls[1:]) == [
        ("/a", "missed"),
        ("/b", "missed"),
    ]
    office.happen(4)
    office.slice()
    assert office.receiver.ids()[-1] == "4"


def test_an_event_that_waits_for_a_retry_and_was_dropped_is_given_up(office: Office) -> None:
    endpoint = office.webhook()
    office.receiver.answer = lambda event: (500, {})
    office.happen(1)
    office.slice()
    forget_up_to_now(office)
    office.make_due()
    office.slice()
    assert next(iter(office.bm.get_event_attempts(endpoint.id))).error_code == "dropped"
    assert not office.stored(endpoint).waiting


def test_what_was_sent_by_a_process_that_died_is_sent_again(office: Office) -> None:
    office.webhook()
    office.happen(1, 2)
    routing.route(office.services.database)
    claimed = claim(office)
    (batch,) = rows.read(office.services.database, claimed)
    deliver(office.services, batch)  # and dies before it writes
    assert office.slice().delivered == 0
    office.execute("UPDATE backmarket.event_endpoints SET lease_until = now() - interval '1 second'")
    office.slice()
    assert office.receiver.ids() == ["1", "2", "1", "2"]


def test_a_process_that_slept_past_its_lease_writes_nothing(office: Office) -> None:
    endpoint = office.webhook()
    office.happen(1)
    routing.route(office.services.database)
    (batch,) = rows.read(office.services.database, claim(office))
    late = deliver(office.services, batch)
    office.execute("UPDATE backmarket.event_endpoints SET lease_until = now() - interval '1 second'")
    office.happen(2)
    office.slice()
    before = office.stored(endpoint)
    assert results.write(office.services.database, [late], give_up_days=3) == []
    assert office.stored(endpoint) == before
    assert len(office.execute("SELECT endpoint_id FROM backmarket.event_attempts")) == 2


def test_news_that_comes_while_a_slice_ends_is_not_lost(office: Office) -> None:
    office.webhook()
    office.happen(1)
    routing.route(office.services.database)
    (batch,) = rows.read(office.services.database, claim(office))
    office.happen(2)
    routing.route(office.services.database)
    results.write(office.services.database, [deliver(office.services, batch)], give_up_days=3)
    office.slice()
    assert office.receiver.ids() == ["1", "2"]


def test_an_endpoint_is_called_by_one_process_at_a_time(office: Office) -> None:
    office.webhook()
    office.receiver.open.clear()
    office.happen(1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(office.slice)
        wait_until(
            lambda: office.execute("SELECT id FROM backmarket.event_endpoints WHERE lease_until > now()"), "claimed"
        )
        assert office.slice().delivered == 0
        office.receiver.open.set()
        assert first.result().delivered == 1


def test_a_slow_endpoint_holds_up_no_other(office: Office) -> None:
    office.webhook("/slow", organization_id=OTHER)
    office.webhook("/quick", organization_id=ORG)
    slow = Event()
    office.receiver.answer = lambda event: (
        (slow.wait(60) and 204, {}) if event["organization_id"] == OTHER else (204, {})
    )
    office.happen("slow", organization=OTHER)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(office.slice)
        wait_until(lambda: "slow" in office.receiver.ids(), "the slow one is called")
        office.happen("quick")
        wait_until(lambda: "quick" in office.receiver.ids(), "the quick one is called meanwhile")
        slow.set()
        running.result()


def test_a_database_that_is_away_ends_the_slice_and_loses_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.webhook()
    office.happen(1)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("PostgreSQL is unreachable: a test.")

    with monkeypatch.context() as patch:
        patch.setattr(results, "write", away)
        with pytest.raises(DatabaseUnavailable):
            office.slice()
    office.execute("UPDATE backmarket.event_endpoints SET lease_until = now() - interval '1 second'")
    office.slice()
    assert office.receiver.ids() == ["1", "1"]


def test_many_writers_and_several_processes_skip_nothing(office: Office, event_settings: object) -> None:
    """Writers commit out of order, endpoints fail now and then, two processes deliver: each gets each of its events."""
    dice = random.Random(21)
    for number in range(6):
        office.webhook(f"/{number}", organization_id=(None, ORG, OTHER)[number % 3])
    office.receiver.answer = lambda event: (503 if dice.random() < 0.1 else 204, {})
    wanted = {ORG: 0, OTHER: 0}
    stop = Event()

    def run(own: Services) -> None:
        while not stop.is_set():
            engine.run_slice(own)
            office.make_due()

    def write(organization: str, first: int) -> None:
        for number in range(first, first + 40, 4):
            office.happen(*range(number, number + 4), organization=organization)

    with closing(Services(office.services.settings)) as other, ThreadPoolExecutor(8) as threads:
        processes = [threads.submit(run, each) for each in (office.services, other)]
        writers = [threads.submit(write, organization, first) for organization in wanted for first in (0, 1000, 2000)]
        for each in writers:
            each.result()

        def over() -> bool:
            return not office.execute("SELECT id FROM backmarket.event_endpoints WHERE due_at < 'infinity' OR NOT idle")

        wait_until(over, "everything is delivered")
        stop.set()
        for each in processes:
            each.result()
    expected = {(change.organization_id, change.external_id) for change in office.bm.changes()}
    assert len(expected) == 240
    delivered = office.execute(
        "SELECT e.id, c.organization_id, c.external_id FROM backmarket.event_attempts a"
        " JOIN backmarket.event_endpoints e ON e.id = a.endpoint_id"
        " JOIN backmarket.changes c ON c.transaction_id = a.transaction_id AND c.id = a.change_id"
        " WHERE a.outcome = 'delivered'"
    )
    assert max(Counter(delivered).values()) == 1
    for endpoint in office.bm.get_event_endpoints():
        got = {(organization, key) for number, organization, key in delivered if number == endpoint.id}
        assert got == {each for each in expected if endpoint.organization_id in {None, each[0]}}


def claim(office: Office) -> list[rows.Claimed]:
    return rows.claim(office.services.database, owner="test", seconds=60, limit=64, failing=False, tasks=False)
