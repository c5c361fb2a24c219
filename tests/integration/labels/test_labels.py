"""Labels from their addresses into the bucket: what is stored, what is tried again, what is given up, and why."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from backmarket import BackMarket, LabelState, work
from backmarket.bucket.keys import label_key
from backmarket.database.encryption import KeyCipher
from backmarket.errors import (
    ConnectionDisabled,
    InvalidArgument,
    LabelNotFound,
    LabelNotStored,
    LabelUnavailable,
    WaitTimeout,
)
from backmarket.labels import engine
from backmarket.labels.engine import SliceResult, run_slice
from backmarket.labels.queries import Label
from backmarket.labels.requests import queue_all
from backmarket.organizations import lifecycle
from backmarket.resources import check_resource
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.gate import Gate, Reply
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import PATIENCE_SECONDS, Moment, wait_until

ORG = "auth0|1"
PDF = label_pdf(1, 500)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        settings = settings.model_copy(update={"rate_limit": 100_000})
        shop = Shop(settings, sandbox.control, ("deliveries", "returns"))
        yield shop
        shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


def sell(shop: Shop, *, deliveries: int = 12, returns: int = 8) -> dict[int, str]:
    """A seller whose shipments are synced; the path of each label."""
    shop.sell(ORG, orders=30, deliveries=deliveries, returns=returns)
    for resource in ("deliveries", "returns"):
        shop.sync(ORG, resource)
    return paths(shop)


def paths(shop: Shop) -> dict[int, str]:
    rows = shop.sandbox.truth(ORG, "deliveries") + shop.sandbox.truth(ORG, "returns")
    urls = {row["shipmentId"]: row.get("labelUrl") or row.get("label") for row in rows}
    return {key: url.removeprefix(shop.sandbox.url) for key, url in urls.items() if url}


def one_slice(shop: Shop, *, force: bool = True) -> SliceResult:
    """One slice over all labels that wait, whatever they wait for."""
    if force:
        queue_all(shop.services.database, ORG)
    return run_slice(shop.services, ORG)


def labels(bm: BackMarket) -> dict[int, Label]:
    return {each.shipment_id: each for each in bm.get_labels(ORG, limit=1000)}


def fetches(shop: Shop) -> Counter[str]:
    return Counter(shop.sandbox.stats().sellers[ORG].labels)


def one_label(shop: Shop, bm: BackMarket, url: str) -> Label:
    """A seller with one label, which is at this address, after a slice."""
    note(shop, url)
    one_slice(shop)
    (label,) = bm.get_labels(ORG)
    return label


def note(shop: Shop, url: str, number: int = 7) -> None:
    if not shop.execute("SELECT 1 FROM backmarket.connections"):
        shop.sandbox.add_seller(ORG, "token")
        shop.connect(ORG, "token")
    shop.execute(
        "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)"
        " VALUES (%s, 'deliveries', %s, %s, 'wanted')"
        " ON CONFLICT (organization_id, resource, shipment_id) DO UPDATE SET url = excluded.url, state = 'wanted',"
        " object_key = NULL, due_at = now(), noted_at = now(), tries = 0",
        ORG,
        number,
        url,
    )
    with shop.services.database.transaction() as transaction:
        work.make_due(transaction, ORG, "labels")


class TestStoring:
    def test_every_label_ends_in_the_bucket_once_as_it_is(self, shop: Shop, bm: BackMarket) -> None:
        known = sell(shop)
        assert one_slice(shop, force=False) == SliceResult("done", stored=len(known))
        stored = labels(bm)
        assert {key: each.state for key, each in stored.items()} == dict.fromkeys(known, LabelState.STORED)
        for key, label in stored.items():
            pdf = label_pdf(key, 2000)
            assert label.object_key == label_key(ORG, label.resource, key)
            assert label.object_key.startswith("labels/auth0%7C1/")
            assert (label.size, label.sha256) == (len(pdf), hashlib.sha256(pdf).hexdigest())
            assert label.content_type == "application/pdf"
            assert shop.services.bucket.stat(label.object_key).etag == label.etag
        assert fetches(shop) == Counter(known.values())

    def test_a_second_sync_fetches_nothing(self, shop: Shop) -> None:
        sell(shop)
        one_slice(shop, force=False)
        before = fetches(shop)
        for resource in ("deliveries", "returns"):
            shop.sync(ORG, resource, full=True)
        assert one_slice(shop, force=False) == SliceResult("nothing_to_do")
        assert one_slice(shop) == SliceResult("nothing_to_do")
        assert fetches(shop) == before

    def test_a_label_with_another_url_is_fetched_again(self, shop: Shop, bm: BackMarket) -> None:
        known = sell(shop)
        one_slice(shop)
        key, other, *_ = sorted(label.shipment_id for label in bm.get_labels(ORG, resource="deliveries"))
        shop.sandbox.change(ORG, resource="deliveries", modify=1, ids=[key], fields={"labelUrl": known[other]})
        shop.sync(ORG, "deliveries", full=True)
        assert one_slice(shop, force=False) == SliceResult("done", stored=1)
        assert fetches(shop)[known[other]] == 2
        assert bm.get_label(ORG, "deliveries", key).state is LabelState.STORED  # type: ignore[union-attr]

    def test_the_labels_of_one_slice_that_are_too_many_are_left_to_the_next(self, shop: Shop) -> None:
        known = sell(shop, deliveries=40, returns=0)
        shop.restart(task_budget_seconds=0.001)
        first = one_slice(shop, force=False)
        assert first.end == "handed_on"
        assert first.stored < len(known)
        shop.restart(task_budget_seconds=20)
        assert one_slice(shop, force=False) == SliceResult("done", stored=len(known) - first.stored)
        assert max(fetches(shop).values()) == 1

    def test_a_process_that_ends_hands_on(self, shop: Shop) -> None:
        sell(shop)
        shop.services.stopping.set()
        assert one_slice(shop, force=False).end == "handed_on"
        assert shop.one("SELECT due_at < now() + interval '1 s' AND lease_until IS NULL FROM backmarket.work")

    def test_no_worker_fetches_beside_another(self, shop: Shop) -> None:
        sell(shop)
        with ThreadPoolExecutor(4) as pool:
            slices = list(pool.map(lambda _: run_slice(shop.services, ORG), range(4)))
        assert sorted(each.end for each in slices) == ["done", "nothing_to_do", "nothing_to_do", "nothing_to_do"]
        assert max(fetches(shop).values()) == 1


def seconds_until_due(shop: Shop, number: int = 7) -> float:
    due = "SELECT extract(epoch FROM due_at - now())::float8 FROM backmarket.labels WHERE shipment_id = %s"
    return float(shop.one(due, number))


def looked_at_in(shop: Shop) -> float:
    """Seconds until somebody looks at the organization's labels again."""
    return float(shop.one("SELECT extract(epoch FROM due_at - now())::float8 FROM backmarket.work"))


class TestFailing:
    def test_what_may_come_later_is_tried_later(self, shop: Shop, bm: BackMarket) -> None:
        page = Reply(body=b"<html>an error page</html>", headers={"Content-Type": "text/html"})
        slow, soon = (45, 75), (11, 19)
        expected = [
            (Reply(404), "not_found", slow),
            (Reply(410), "not_found", slow),
            (Reply(403), "not_available", slow),
            (Reply(418), "host_refused", slow),
            (Reply(401), "host_refused", slow),
            (page, "not_a_pdf", slow),
            (Reply(500), "server_error", soon),
            (Reply(429), "server_error", soon),
            (Reply(body=b""), "broken_answer", soon),
            (Reply(body=PDF[:300]), "broken_answer", soon),
        ]
        with ExitStack() as stack:
            hosts = [stack.enter_context(Gate(reply)) for reply, *_ in expected]
            shop.restart(label_origins=tuple(host.url for host in hosts))
            for number, host in enumerate(hosts):
                host.open.set()
                note(shop, f"{host.url}/label.pdf?signature=secret", number)
            began = Moment()
            assert one_slice(shop) == SliceResult("done", failed=len(expected))
            found = labels(bm)
            for number, (_, code, (shortest, longest)) in enumerate(expected):
                label = found[number]
                assert (label.state, label.tries, label.error_code) == (LabelState.WANTED, 1, code)
                assert began.waits(seconds_until_due(shop, number), shortest, longest)
                assert "secret" not in str(label)
                assert hosts[number].keys == [None]
        assert shop.one("SELECT due_at = (SELECT min(due_at) FROM backmarket.labels) FROM backmarket.work") is True
        assert not shop.execute("SELECT 1 FROM backmarket.connections WHERE refused_at IS NOT NULL")

    def test_the_pause_grows(self, shop: Shop, bm: BackMarket) -> None:
        for tries in range(1, 5):
            began = Moment()
            assert tried_again(shop, bm).tries == tries
            assert began.waits(seconds_until_due(shop), 45 * 2 ** (tries - 1), 75 * 2 ** (tries - 1))
        shop.execute("UPDATE backmarket.labels SET tries = 100")
        began = Moment()
        tried_again(shop, bm)
        assert began.waits(seconds_until_due(shop), 0.74 * 6 * 3600, 1.26 * 6 * 3600)

    def test_a_label_that_does_not_come_for_two_weeks_is_given_up(self, shop: Shop, bm: BackMarket) -> None:
        tried_again(shop, bm)
        shop.execute("UPDATE backmarket.labels SET tries = 8, noted_at = now() - interval '15 days'")
        assert tried_again(shop, bm).state is LabelState.WANTED, "it was not tried often enough"
        label = tried_again(shop, bm)
        assert (label.state, label.error_code) == (LabelState.UNAVAILABLE, "not_found")
        assert shop.one("SELECT due_at = 'infinity' FROM backmarket.work"), "nobody looks any more"
        with pytest.raises(LabelUnavailable, match=r"was given up.*does not know.*download_label"):
            bm.get_label_url(ORG, 7)
        assert bm.fetch_labels(ORG) == 1, "until somebody asks"
        assert run_slice(shop.services, ORG).failed == 1
        assert bm.get_labels(ORG).items[0].state is LabelState.WANTED

    def test_what_must_not_be_fetched_is_given_up_at_once(self, shop: Shop, bm: BackMarket) -> None:
        texts = {
            "http://labels.example/x.pdf?token=secret": "BACKMARKET_LABEL_ORIGINS",
            "http://169.254.169.254/latest/meta-data": "http://169.254.169.254",
            "file:///etc/passwd": "https://",
            "https://www.backmarket.fr@evil.example/x.pdf": "names a user",
        }
        for number, url in enumerate(texts):
            note(shop, url, number)
        one_slice(shop)
        for number, text in enumerate(texts.values()):
            label = labels(bm)[number]
            assert (label.state, label.error_code) == (LabelState.UNAVAILABLE, "origin_refused")
            assert text in str(label.error)
            assert "secret" not in str(label.error)
            with pytest.raises(LabelUnavailable):
                bm.get_label_url(ORG, number)

    def test_where_the_setting_allows_it_later_it_comes(self, shop: Shop, bm: BackMarket) -> None:
        with Gate(Reply(body=PDF)) as host:
            host.open.set()
            assert one_label(shop, bm, f"{host.url}/x.pdf").state is LabelState.UNAVAILABLE
            assert host.paths == []
            shop.restart(label_origins=(host.url,))
            assert one_slice(shop) == SliceResult("done", stored=1)

    def test_too_large_is_given_up(self, shop: Shop, bm: BackMarket) -> None:
        known = sell(shop, deliveries=6, returns=0)
        key, path = next(iter(known.items()))
        shop.sandbox.add_fault("large_pdf", path=path, value=30_000_000)
        one_slice(shop)
        label = labels(bm)[key]
        assert (label.state, label.error_code) == (LabelState.UNAVAILABLE, "too_large")
        assert "20971520 bytes" in (label.error or "")
        shop.restart(label_max_bytes=40_000_000)
        assert one_slice(shop) == SliceResult("done", stored=1)
        assert labels(bm)[key].size == 30_000_000

    def test_a_429_stops_the_account(self, shop: Shop, bm: BackMarket) -> None:
        sell(shop, deliveries=30, returns=0)
        shop.sandbox.add_fault("rate_limited", count=1, operation="deliveries.label")
        began = Moment()
        first = one_slice(shop)
        assert first.end == "handed_on"
        assert began.waits(first.pause, 5, 15)
        assert shop.one("SELECT sum(tries) FROM backmarket.labels") == 1, "one address may answer so for ever"
        assert shop.services.limiter.peek(credentials_account(shop)).blocked_by == "account"
        assert began.waits(looked_at_in(shop), 5, 15)
        assert first.stored <= 8
        assert bm.get_labels(ORG, state="wanted").items

    def test_the_firewall_lets_all_of_them_rest(self, shop: Shop, bm: BackMarket) -> None:
        sell(shop, deliveries=30, returns=0)
        shop.sandbox.add_fault("waf_html", operation="deliveries.label")
        began = Moment()
        first = one_slice(shop)
        assert (first.end, first.stored, first.failed) == ("handed_on", 0, 8)
        assert began.waits(looked_at_in(shop), 55, 65)
        known = {(each.state, each.tries, each.error_code) for each in bm.get_labels(ORG)}
        assert known == {("wanted", 0, None), ("wanted", 1, "firewall_blocked")}

    def test_a_label_refused_with_401_is_tried_again_by_itself_and_says_nothing_of_the_key(
        self, shop: Shop, bm: BackMarket
    ) -> None:
        sell(shop, deliveries=30, returns=0)
        shop.sandbox.add_fault("unauthorized", operation="deliveries.label", count=8)
        first = one_slice(shop)
        assert (first.failed, first.stored > 8) == (8, True)
        assert bm.get_connection_status(ORG).connection.health == "ok"
        assert sum(each.tries for each in bm.get_labels(ORG)) == 8

    def test_the_limiter_lets_no_more_through_than_it_may(self, shop: Shop) -> None:
        sell(shop, deliveries=40, returns=0)
        shop.restart(rate_limit=20)
        first = one_slice(shop)
        assert first.end == "handed_on"
        assert first.pause > 1
        assert first.stored <= 20
        assert sum(fetches(shop).values()) == first.stored

    def test_labels_of_another_origin_need_no_slot(self, shop: Shop) -> None:
        with Gate(Reply(body=PDF)) as host:
            host.open.set()
            shop.restart(label_origins=(host.url,))
            note(shop, f"{host.url}/x.pdf")
            assert one_slice(shop).stored == 1
            assert shop.services.limiter.peek(credentials_account(shop)).used == 0

    def test_an_answer_holds_its_slot_for_a_window(self, shop: Shop) -> None:
        note(shop, "/static/shipment_labels/none.pdf")
        assert one_slice(shop).failed == 1
        assert shop.services.limiter.peek(credentials_account(shop)).used == 1

    def test_a_request_that_was_never_sent_holds_none(self, shop: Shop) -> None:
        note(shop, "/static/shipment_labels/none.pdf")
        shop.execute("UPDATE backmarket.connections SET base_url = 'http://127.0.0.1:9'")
        shop.restart(allowed_base_urls=("http://127.0.0.1:9",))
        assert one_slice(shop).failed == 1
        assert shop.services.limiter.peek(credentials_account(shop)).used == 0


def tried_again(shop: Shop, bm: BackMarket) -> Label:
    """A label that is not there, after another try."""
    if not shop.execute("SELECT 1 FROM backmarket.labels"):
        return one_label(shop, bm, "/static/shipment_labels/none.pdf")
    one_slice(shop)
    return bm.get_labels(ORG).items[0]


def credentials_account(shop: Shop) -> str:
    return str(shop.one("SELECT account FROM backmarket.connections"))


class TestBucketAway:
    def test_nothing_is_counted_and_nothing_is_fetched_in_vain(self, shop: Shop, bm: BackMarket, stack: Stack) -> None:
        sell(shop, deliveries=30, returns=0)
        stack.s3.kill()
        began = Moment()
        first = one_slice(shop)
        assert (first.end, first.stored) == ("handed_on", 0)
        assert began.waits(looked_at_in(shop), 3, 8)
        assert shop.one("SELECT sum(tries) FROM backmarket.labels") == 0
        asked = sum(fetches(shop).values())
        assert asked <= 8
        second = one_slice(shop)
        assert second.end == "handed_on"
        assert sum(fetches(shop).values()) == asked, "the bucket was asked first"
        stack.s3.start()
        assert one_slice(shop).end == "done"
        assert {each.state for each in bm.get_labels(ORG)} == {"stored"}

    @pytest.mark.slow
    def test_one_organization_asks_for_all_whether_the_server_is_back(self, shop: Shop, stack: Stack) -> None:
        sell(shop, deliveries=3, returns=0)
        stack.s3.kill()
        ended = one_slice(shop)
        assert (ended.end, ended.error and ended.error.code) == ("handed_on", "bucket_unavailable")
        assert shop.services.bucket_breaker.allow_probe(), "another asks now"
        asked = fetches(shop)
        stack.s3.start()
        assert (one_slice(shop).end, fetches(shop)) == ("handed_on", asked)
        shop.services.bucket_breaker.record_success()
        assert one_slice(shop).end == "done"

    def test_a_worker_that_cannot_read_the_key_sends_no_request(self, shop: Shop) -> None:
        sell(shop, deliveries=1, returns=0)
        shop.restart(secret_keys=(SecretStr(KeyCipher.generate()),))
        shop.services.bucket_breaker.record_failure()
        ended = one_slice(shop)
        assert (ended.end, ended.error and ended.error.code) == ("handed_on", "settings")
        assert shop.services.bucket_breaker.allow_probe()

    def test_without_a_bucket_in_the_settings_labels_wait(self, shop: Shop, bm: BackMarket) -> None:
        sell(shop, deliveries=5, returns=0)
        shop.restart(s3_endpoint_url=None)
        began = Moment()
        engine._say_that_labels_wait.cache_clear()
        with capture_logs() as logs:
            assert [one_slice(shop).end for _ in range(3)] == ["handed_on"] * 3
        assert [(each["event"], each["log_level"]) for each in logs] == [("labels.no_bucket", "info")]
        assert began.waits(looked_at_in(shop), 3595, 3605)
        assert fetches(shop) == Counter()
        with BackMarket(shop.settings) as without, pytest.raises(LabelNotStored, match="not stored yet"):
            without.get_label_url(ORG, bm.get_labels(ORG).items[0].shipment_id)


class TestRaces:
    """Each with a gate, so that what may happen does."""

    def test_a_label_whose_url_changes_while_it_is_fetched_is_fetched_again_at_once(
        self, shop: Shop, bm: BackMarket
    ) -> None:
        with Gate(Reply(body=label_pdf(1, 600))) as old, Gate(Reply(body=label_pdf(2, 700))) as new:
            new.open.set()
            shop.restart(label_origins=(old.url, new.url))
            note(shop, f"{old.url}/x.pdf")
            with ThreadPoolExecutor(1) as pool:
                fetching = pool.submit(run_slice, shop.services, ORG)
                old.wait()
                note(shop, f"{new.url}/x.pdf")
                old.open.set()
                # it may be this slice or the next that fetches it again
                ended = fetching.result(PATIENCE_SECONDS)
            if ended.end == "handed_on":
                ended = one_slice(shop, force=False)
            assert ended.end == "done"
            label = bm.get_labels(ORG).items[0]
            assert (label.state, label.size) == (LabelState.STORED, len(label_pdf(2, 700)))
            assert_as_stored(shop, label)

    def test_an_object_put_under_a_lost_lease_has_its_label_fetched_again(self, shop: Shop, bm: BackMarket) -> None:
        with Gate(Reply(body=label_pdf(1, 600))) as old, Gate(Reply(body=label_pdf(2, 700))) as new:
            new.open.set()
            shop.restart(label_origins=(old.url, new.url))
            note(shop, f"{old.url}/x.pdf")
            with ThreadPoolExecutor(1) as pool:
                sleeper = pool.submit(run_slice, shop.services, ORG)
                old.wait()
                shop.execute("UPDATE backmarket.work SET lease_until = now()")
                note(shop, f"{new.url}/x.pdf")
                assert one_slice(shop) == SliceResult("done", stored=1)
                old.open.set()
                assert sleeper.result(PATIENCE_SECONDS).end == "lease_lost"
            assert bm.get_labels(ORG).items[0].state is LabelState.WANTED, "its object is another's now"
            assert one_slice(shop, force=False) == SliceResult("done", stored=1)
            assert_as_stored(shop, bm.get_labels(ORG).items[0])

    def test_a_connection_that_is_removed_meanwhile_gets_no_row(self, shop: Shop) -> None:
        with Gate(Reply(body=PDF)) as host:
            shop.restart(label_origins=(host.url,))
            note(shop, f"{host.url}/x.pdf")
            with ThreadPoolExecutor(1) as pool:
                fetching = pool.submit(run_slice, shop.services, ORG)
                host.wait()
                lifecycle.remove(shop.services.database, ORG)
                host.open.set()
                assert fetching.result(PATIENCE_SECONDS).end == "lease_lost"
            assert shop.one("SELECT count(*) FROM backmarket.labels") == 0

    def test_a_label_that_is_noted_while_a_slice_ends_is_not_forgotten(self, shop: Shop, bm: BackMarket) -> None:
        with Gate(Reply(body=PDF)) as host:
            shop.restart(label_origins=(host.url,))
            note(shop, f"{host.url}/x.pdf")
            with ThreadPoolExecutor(1) as pool:
                fetching = pool.submit(run_slice, shop.services, ORG)
                host.wait()
                shop.execute(
                    "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)"
                    " VALUES (%s, 'returns', 9, %s, 'wanted')",
                    ORG,
                    f"{host.url}/y.pdf",
                )
                host.open.set()
                assert fetching.result(PATIENCE_SECONDS).end == "done"
            assert one_slice(shop, force=False) == SliceResult("done", stored=1)

    def test_syncs_and_slices_do_not_wait_for_each_other_in_a_circle(self, shop: Shop) -> None:
        """A sync locks labels, then the work, and so does a slice; in another order they would deadlock."""
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with Gate(Reply(body=PDF)) as host, ThreadPoolExecutor(1) as pool:
            host.open.set()
            shop.restart(label_origins=(host.url,))
            note(shop, f"{host.url}/x.pdf")
            with shop.services.database.transaction() as syncing:
                syncing.execute("SELECT 1 FROM backmarket.labels FOR UPDATE")
                fetching = pool.submit(run_slice, shop.services, ORG)
                wait_until(lambda: shop.one(waits), "the slice waits for the label's row")
                work.make_due(syncing, ORG, "labels")
            assert fetching.result(PATIENCE_SECONDS).stored == 1


def assert_as_stored(shop: Shop, label: Label) -> None:
    """The object is the one that the row describes."""
    with shop.services.bucket.get(str(label.object_key)) as content:
        whole = b"".join(content.chunks)
    assert hashlib.sha256(whole).hexdigest() == label.sha256
    assert content.stored.etag == label.etag


class TestReading:
    def test_a_link_gives_the_label_to_anybody(self, shop: Shop, bm: BackMarket) -> None:
        known = sell(shop)
        one_slice(shop)
        links = {"deliveries": bm.get_label_url, "returns": bm.get_return_label_url}
        for resource, link in links.items():
            key = bm.get_labels(ORG, resource=check_resource(resource)).items[0].shipment_id
            with urllib.request.urlopen(link(ORG, key, expires=60)) as answer:
                assert answer.read() == label_pdf(key, 2000)
                assert answer.headers["Content-Type"] == "application/pdf"
                assert f'filename="{key}.pdf"' in answer.headers["Content-Disposition"]
        assert fetches(shop) == Counter(known.values())

    def test_a_link_says_why_there_is_none(self, shop: Shop, bm: BackMarket) -> None:
        shop.sell(ORG, orders=30, deliveries=12)
        shop.sync(ORG, "deliveries", download_labels=False)
        key = bm.get_labels(ORG).items[0].shipment_id
        with pytest.raises(LabelNotStored, match=r"was skipped.*download_label"):
            bm.get_label_url(ORG, key)
        with pytest.raises(LabelNotFound, match="fetch_return"):
            bm.get_return_label_url(ORG, key)
        with pytest.raises(LabelNotFound, match="fetch_delivery"):
            bm.get_label_url("another", key)
        shop.sandbox.add_fault("early_404", operation="deliveries.label")
        shop.sync(ORG, "deliveries", full=True)
        one_slice(shop)
        with pytest.raises(LabelNotStored, match=r"is retried after 20.*The API does not know this"):
            bm.get_label_url(ORG, key)

    def test_a_link_counts_for_seven_days_at_the_most(self, shop: Shop, bm: BackMarket) -> None:
        sell(shop, deliveries=6, returns=0)
        one_slice(shop)
        for expires in (0, -1, 604_801):
            with pytest.raises(InvalidArgument, match="604800"):
                bm.get_label_url(ORG, bm.get_labels(ORG).items[0].shipment_id, expires=expires)

    def test_lists_are_filtered_and_have_cursors(self, shop: Shop, bm: BackMarket) -> None:
        known = sell(shop)
        returned = {key for key, path in known.items() if "return" in path}
        found: list[Label] = []
        cursor = None
        while True:
            page = bm.get_labels(ORG, limit=3, cursor=cursor)
            found += page
            if (cursor := page.next_cursor) is None:
                break
        assert {each.shipment_id for each in found} == set(known)
        assert len(found) == len(known)
        assert {each.shipment_id for each in bm.get_labels(ORG, resource="returns")} == returned
        assert not bm.get_labels(ORG, state=LabelState.STORED).items
        assert len(bm.get_labels(ORG, state="wanted")) == len(known)
        label = bm.get_label(ORG, "returns", min(returned))
        assert label in found
        assert bm.get_label(ORG, "deliveries", min(returned)) is None
        assert bm.get_label("another", "returns", min(returned)) is None
        assert label is not None
        assert label.url not in repr(label)
        for wrong in ({"resource": "orders"}, {"state": "lost"}, {"limit": 0}, {"cursor": "x"}, {"cursor": "WzEsMl0="}):
            with pytest.raises(InvalidArgument):
                bm.get_labels(ORG, **wrong)


class TestDownloading:
    def test_a_label_that_is_stored_is_read_from_the_bucket(self, shop: Shop, bm: BackMarket, tmp_path: Path) -> None:
        known = sell(shop, deliveries=6, returns=0)
        one_slice(shop)
        key = min(known)
        target = tmp_path / "label.pdf"
        assert bm.download_label(ORG, key, to=target).state is LabelState.STORED
        assert target.read_bytes() == label_pdf(key, 2000)
        assert [each.name for each in tmp_path.iterdir()] == ["label.pdf"]
        file = io.BytesIO()
        bm.download_label(ORG, key, to=file)
        assert file.getvalue() == label_pdf(key, 2000)
        assert fetches(shop)[known[key]] == 1

    def test_a_label_that_was_left_alone_is_fetched_now(self, shop: Shop, bm: BackMarket) -> None:
        shop.sell(ORG, orders=30, deliveries=6, returns=30)
        shop.sync(ORG, "returns", download_labels=False)
        key, path = next((key, path) for key, path in paths(shop).items() if "return" in path)
        with worker(shop):
            file = io.BytesIO()
            assert bm.download_return_label(ORG, key, to=file).stored_at
        assert file.getvalue() == label_pdf(key, 2000)
        assert fetches(shop) == Counter({path: 1})

    def test_what_the_worker_tried_in_vain_is_told_at_once(self, shop: Shop, bm: BackMarket) -> None:
        note(shop, "/static/shipment_labels/none.pdf")
        with worker(shop):
            with pytest.raises(LabelNotStored, match="The API does not know this"):
                bm.download_label(ORG, 7, timeout=PATIENCE_SECONDS)
            note(shop, "http://169.254.169.254/x.pdf")
            with pytest.raises(LabelUnavailable, match="BACKMARKET_LABEL_ORIGINS"):
                bm.download_label(ORG, 7, timeout=PATIENCE_SECONDS)

    def test_without_a_worker_it_is_not_waited_for_ever(self, shop: Shop, bm: BackMarket) -> None:
        note(shop, "/static/shipment_labels/none.pdf")
        with pytest.raises(WaitTimeout, match="queue 'labels'"):
            bm.download_label(ORG, 7, timeout=0.2)
        lifecycle.disable(shop.services.database, ORG)
        with pytest.raises(ConnectionDisabled):
            bm.download_label(ORG, 7)
        with pytest.raises(ConnectionDisabled):
            bm.fetch_labels(ORG)

    @pytest.mark.parametrize("damage", ["lost", "replaced"])
    def test_what_the_bucket_has_lost_is_fetched_again(self, shop: Shop, bm: BackMarket, damage: str) -> None:
        known = sell(shop, deliveries=6, returns=0)
        one_slice(shop)
        key = min(known)
        at = label_key(ORG, "deliveries", key)
        bucket = shop.services.bucket
        bucket.delete([at])
        if damage == "replaced":
            digest = hashlib.sha256(PDF).hexdigest()
            bucket.put(at, io.BytesIO(PDF), size=len(PDF), content_type="application/pdf", sha256=digest)
        with worker(shop):
            file = io.BytesIO()
            bm.download_label(ORG, key, to=file)
        assert file.getvalue() == label_pdf(key, 2000)
        assert fetches(shop)[known[key]] == 2

    def test_a_file_that_can_not_be_written_leaves_nothing(self, shop: Shop, bm: BackMarket, tmp_path: Path) -> None:
        known = sell(shop, deliveries=6, returns=0)
        one_slice(shop)
        (tmp_path / "directory.pdf").mkdir()
        with pytest.raises(OSError, match="directory"):
            bm.download_label(ORG, min(known), to=tmp_path / "directory.pdf")
        assert [each.name for each in tmp_path.iterdir()] == ["directory.pdf"]


@contextmanager
def worker(shop: Shop) -> Iterator[None]:
    """Slices one after the other, as a worker takes them."""
    over = Event()

    def work_on() -> None:
        while not over.is_set():
            run_slice(shop.services, ORG)
            over.wait(0.05)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_on)
        try:
            yield
        finally:
            over.set()
        working.result(PATIENCE_SECONDS)
