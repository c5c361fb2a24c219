"""What belongs to nobody leaves the bucket, what a row needs stays or is fetched again, whoever is killed meanwhile."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from backmarket.bucket import deletion_queue, objects
from backmarket.bucket.keys import invoice_key, label_key, labels_prefix
from backmarket.bucket.retention import drop_old
from backmarket.connections import Account
from backmarket.errors import BucketUnavailable, NotDeleted
from backmarket.organizations import lifecycle
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.upkeep import bucket_deletions, bucket_reconcile, bucket_sweep, erasure
from backmarket.upkeep.bucket_deletions import Deleted
from backmarket.upkeep.bucket_reconcile import ManyGarbage
from backmarket.upkeep.bucket_sweep import Swept
from backmarket.writes import retention
from tests.support.waiting import wait_until

PDF = b"%PDF-1.7 a label"
NEIGHBOURS = ("a", "a-b", "a.b", "a/b", "A", "..", "a" * 190)
"""Organizations whose keys come in another order by bytes than by directories."""


class House:
    """Rows and objects of a few organizations.

    Args:
        settings: of the test's own corner of the stack.
    """

    def __init__(self, settings: Settings) -> None:
        self.services = Services(settings)

    def connect(self, *organizations: str, **account: Any) -> None:
        """Connect organizations."""
        for organization in organizations:
            lifecycle.upsert(
                self.services.database,
                self.services.key_cipher,
                self.services.settings,
                Account(organization, "key", **account),
                discard_rows=bool(account),
            )
        self.execute("UPDATE backmarket.work SET due_at = 'infinity'")

    def put(self, key: str, content: bytes = PDF) -> str:
        """Put an object into the bucket."""
        digest = hashlib.sha256(content).hexdigest()
        return self.services.bucket.put(
            key, io.BytesIO(content), size=len(content), content_type="application/pdf", sha256=digest
        )

    def put_all(self, keys: Iterable[str]) -> None:
        """Put many objects into the bucket."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.put, keys))

    def store(self, organization: str, *shipments: int, resource: str = "deliveries", etag: str | None = None) -> None:
        """Write rows of labels that are stored; of the content that `put` puts."""
        found = hashlib.md5(PDF, usedforsecurity=False).hexdigest() if etag is None else etag
        keys = [label_key(organization, resource, shipment) for shipment in shipments]
        self.execute(
            "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state, object_key, size, etag,"
            " sha256, content_type, stored_at) SELECT %s, %s, s, '/l.pdf', 'stored', k, %s, %s, 'x', 'application/pdf',"
            " now() FROM unnest(%s::bigint[], %s::text[]) AS n (s, k)",
            organization, resource, len(PDF), found, list(shipments), keys,
        )  # fmt: skip

    def keep(self, organization: str, *shipments: int, resource: str = "deliveries") -> list[str]:
        """Store labels, rows and objects."""
        keys = [label_key(organization, resource, shipment) for shipment in shipments]
        self.put_all(keys)
        self.store(organization, *shipments, resource=resource)
        return keys

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, if it gives any."""
        with self.services.database.transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def keys(self, prefix: str = "") -> set[str]:
        """What is in the bucket."""
        found: list[str] = []
        while page := [each.key for each in self.services.bucket.list(prefix, after=found[-1] if found else "")]:
            found += page
        return set(found)

    def states(self) -> dict[tuple[str, int], str]:
        """The state of each label."""
        rows = self.execute("SELECT organization_id, shipment_id, state FROM backmarket.labels")
        return {(organization, shipment): state for organization, shipment, state in rows}

    def due(self) -> set[str]:
        """The organizations whose labels are to be looked at."""
        rows = self.execute("SELECT organization_id FROM backmarket.work WHERE kind = 'labels' AND due_at <= now()")
        return {organization for (organization,) in rows}

    def quiet(self) -> None:
        """Let the time be over in which somebody may still store what is to be deleted."""
        self.execute(
            "UPDATE backmarket.bucket_deletions SET due_at = now(), requested_at = now() - make_interval(secs => %s)",
            bucket_deletions.QUIET_SECONDS,
        )

    def wait_for_the_servers_clock(self) -> None:
        """Wait until the server's `Date` is beyond what is stored: some set it once a second, late."""
        newest = max(each.modified for each in self.services.bucket.list(""))
        wait_until(lambda: (self.services.bucket.server_time() or newest) > newest, "the server's clock went on")

    def work_off(self) -> Deleted:
        """Work off what is due; a deletion that the S3 server put off is tried again, once its reason has passed."""
        deleted = 0

        def nothing_is_put_off() -> bool:
            nonlocal deleted
            self.execute("UPDATE backmarket.bucket_deletions SET due_at = now() WHERE error IS NOT NULL")
            deleted += bucket_deletions.work_off(self.services).objects
            return not self.execute("SELECT 1 FROM backmarket.bucket_deletions WHERE error IS NOT NULL")

        wait_until(nothing_is_put_off, "the S3 server did what it was asked for")
        return Deleted(deleted)

    def open_deletions(self) -> list[str]:
        """What is yet to be deleted, or looked at once more."""
        return [key for (key,) in self.execute("SELECT object_key FROM backmarket.bucket_deletions ORDER BY 1")]


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    house = House(settings)
    yield house
    house.services.close()


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object is old enough to be deleted."""
    monkeypatch.setattr(bucket_sweep, "YOUNG_SECONDS", -60)
    monkeypatch.setattr(bucket_deletions, "YOUNG_SECONDS", -60)


def killed_when(act: Callable[[], object], condition: Callable[[], bool]) -> bool:
    """Do it in another process, which is killed as soon as the condition holds.

    Returns:
        Whether it was killed before its end.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    wait_until(condition, "the other process is in the middle of it")
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


@pytest.mark.usefixtures("old")
class TestSweep:
    def test_where_all_is_well_nothing_happens(self, house: House) -> None:
        house.connect(*NEIGHBOURS)
        kept = {key for each in NEIGHBOURS for key in house.keep(each, 1, 2)}
        assert bucket_sweep.sweep(house.services) == Swept(objects=2 * len(NEIGHBOURS))
        assert house.keys() == kept
        assert set(house.states().values()) == {"stored"}
        assert house.due() == set()

    @pytest.mark.parametrize("page", [1, 2, 1000])
    def test_each_object_without_a_row_goes_and_each_row_without_its_object_is_wanted(
        self, house: House, page: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket_reconcile, "PAGE", page)
        house.connect(*NEIGHBOURS)
        kept = {key for each in NEIGHBOURS for key in house.keep(each, 2, 30)}
        for each in NEIGHBOURS[::2]:
            house.store(each, 1, 31)
        house.put_all(label_key(each, "deliveries", 3) for each in (*NEIGHBOURS, "nobody"))
        assert bucket_sweep.sweep(house.services) == Swept(22, len(NEIGHBOURS) + 1, 8)
        assert house.keys() == kept
        lost = {at for at, state in house.states().items() if state == "wanted"}
        assert lost == {(each, shipment) for each in NEIGHBOURS[::2] for shipment in (1, 31)}
        assert house.due() == set(NEIGHBOURS[::2])
        assert house.execute(
            "SELECT DISTINCT size, etag, sha256, stored_at FROM backmarket.labels WHERE size IS NULL"
        ) == [(None,) * 4]
        assert bucket_sweep.sweep(house.services).lost == 0

    @pytest.mark.parametrize("content", [b"%PDF-1.7 another", b"%PDF-1.7 longer than the label"])
    def test_an_object_that_is_not_the_one_that_was_stored_is_fetched_again(self, house: House, content: bytes) -> None:
        house.connect("shop")
        (key, _) = house.keep("shop", 1, 2)
        house.put(key, content)
        assert bucket_sweep.sweep(house.services).lost == 1
        assert house.states() == {("shop", 1): "wanted", ("shop", 2): "stored"}

    def test_invoices_that_a_write_refers_to_stay_and_what_is_not_ours_is_not_touched(self, house: House) -> None:
        house.connect("shop")
        invoice = invoice_key("shop", 1, 1)
        house.execute(
            "INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale, environment,"
            " region, object_key) VALUES ('shop', 'upload_order_invoice', '1', 'order/1', '{}', 'fr-fr', 'production',"
            " 'EU', %s)",
            invoice,
        )
        house.put_all([invoice, invoice_key("shop", 1, 2), "uploads/a.csv", "labels.txt"])
        assert bucket_sweep.sweep(house.services) == Swept(objects=2, deleted=1)
        assert house.keys() == {invoice, "uploads/a.csv", "labels.txt"}

    def test_a_young_object_is_left_alone(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket_sweep, "YOUNG_SECONDS", 3600)
        house.connect("shop")
        (key,) = house.keep("shop", 1)
        house.put(key, b"the next label, whose row is not written yet")
        house.put(label_key("shop", "deliveries", 2))
        house.store("shop", 3)
        assert bucket_sweep.sweep(house.services) == Swept(objects=2, lost=1), "what is missing cannot be young"
        assert len(house.keys()) == 2

    def test_a_label_that_is_stored_while_its_garbage_is_deleted_is_fetched_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.connect("shop")
        house.put(label_key("shop", "deliveries", 1))
        delete = house.services.bucket.delete

        def store_and_delete(keys: list[str]) -> None:
            house.store("shop", 1)
            delete(keys)

        monkeypatch.setattr(house.services.bucket, "delete", store_and_delete)
        assert bucket_sweep.sweep(house.services) == Swept(objects=1, deleted=1, lost=1)
        assert house.states() == {("shop", 1): "wanted"}
        assert house.due() == {"shop"}

    def test_a_row_that_changes_while_its_object_is_looked_for_stays(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.connect("shop", "left")
        house.store("shop", 1, etag="of the label before")
        house.store("left", 1)
        look = house.services.bucket.list

        def change_and_look(prefix: str, **options: Any) -> Any:
            if prefix.startswith(labels_prefix("shop")):
                house.execute("UPDATE backmarket.labels SET etag = 'of the next' WHERE organization_id = 'shop'")
                lifecycle.remove(house.services.database, "left")
            return look(prefix, **options)

        monkeypatch.setattr(house.services.bucket, "list", change_and_look)
        assert bucket_sweep.sweep(house.services).lost == 0
        assert house.states() == {("shop", 1): "stored"}

    @pytest.mark.slow
    def test_many_in_turns_by_a_process_that_is_killed_and_two_at_once_in_flat_memory(self, house: House) -> None:
        house.connect("shop", "other")
        house.keep("shop", *range(2000))
        house.keep("other", *range(300), resource="returns")
        house.put_all(label_key("shop", "deliveries", shipment) for shipment in range(5000, 5200))
        gone = [label_key("shop", "deliveries", shipment) for shipment in range(0, 2000, 8)]
        house.services.bucket.delete(gone)
        place = "SELECT position <> '' FROM backmarket.bucket_sweep"
        killed_when(lambda: bucket_sweep.sweep(house.services), lambda: house.execute(place) == [(True,)])
        tracemalloc.start()
        try:
            slices = 0
            while bucket_sweep.sweep(house.services, seconds=0).more:
                slices += 1
            assert tracemalloc.get_traced_memory()[1] < 12 * 2**20
        finally:
            tracemalloc.stop()
        assert 1 <= slices < 10, "each goes on where the one before ended"
        lost = {at for at, state in house.states().items() if state == "wanted"}
        assert lost == {("shop", shipment) for shipment in range(0, 2000, 8)}
        assert len(house.keys()) == 2300 - len(gone)
        house.put_all(gone)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: bucket_sweep.sweep(house.services), range(2)))
        assert sum(each.lost for each in both) == 0
        assert len(house.keys()) == 2300 - len(gone)

    def test_very_many_without_a_row_are_left_until_a_person_has_looked(self, house: House) -> None:
        """A database that was restored, or another deployment's bucket, costs no label."""
        house.connect("shop")
        house.keep("shop", *range(20))
        house.put_all(label_key("shop", "deliveries", shipment) for shipment in range(100, 121))
        with pytest.raises(ManyGarbage, match=r"21 of 41 .* BACKMARKET_S3_BUCKET"):
            bucket_sweep.sweep(house.services)
        house.execute("UPDATE backmarket.bucket_sweep SET due_at = now()")
        assert bucket_sweep.sweep_if_due(house.services, seconds=20) is None
        assert house.execute("SELECT tries, due_at > now() FROM backmarket.bucket_sweep") == [(1, True)]
        assert len(house.keys()) == 41
        house.execute("UPDATE backmarket.bucket_sweep SET accept_garbage = true, due_at = now()")
        assert bucket_sweep.sweep_if_due(house.services, seconds=20) == Swept(objects=41, deleted=21)
        house.put_all(label_key("shop", "deliveries", shipment) for shipment in range(100, 121))
        with pytest.raises(ManyGarbage):
            bucket_sweep.sweep(house.services)
        assert bucket_sweep.sweep(house.services, accept_garbage=True).deleted == 21

    def test_it_is_due_once_a_day_and_one_does_it(self, house: House) -> None:
        with ThreadPoolExecutor(8) as pool:
            swept = list(pool.map(lambda _: bucket_sweep.sweep_if_due(house.services, seconds=20), range(8)))
        assert [each for each in swept if each] == [Swept()]
        ((hours,),) = house.execute(
            "SELECT round(extract(epoch FROM due_at - now()) / 3600) FROM backmarket.bucket_sweep"
        )
        assert hours == 24

    def test_one_that_is_not_at_its_end_goes_on_at_once(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket_reconcile, "PAGE", 1)
        house.connect("shop")
        house.keep("shop", 1, 2, 3)
        swept = [bucket_sweep.sweep_if_due(house.services, seconds=0) for _ in range(20)]
        assert sum(each.objects for each in swept if each) == 3
        assert [each.more for each in swept if each][-1] is False
        assert swept[-1] is None

    def test_while_the_server_is_away_it_is_put_off(self, house: House) -> None:
        settings = house.services.settings
        away = Services(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
        waits = []
        for tries in (0, 1, 2, 30):  # the last as after more than a day
            house.execute("UPDATE backmarket.bucket_sweep SET tries = %s WHERE %s > 0", tries, tries)
            assert bucket_sweep.sweep_if_due(away, seconds=1) is None
            waits += house.execute(
                "SELECT round(extract(epoch FROM due_at - now()) / 60), tries, error LIKE '%S3_ENDPOINT_URL%'"
                " FROM backmarket.bucket_sweep"
            )
            house.execute("UPDATE backmarket.bucket_sweep SET due_at = now()")
        assert waits == [(1, 1, True), (2, 2, True), (4, 3, True), (60, 31, True)]
        assert bucket_sweep.sweep_if_due(house.services, seconds=20) == Swept()
        assert house.execute("SELECT tries, error FROM backmarket.bucket_sweep") == [(0, None)]
        away.close()

    def test_without_a_bucket_there_is_nothing_to_sweep(self, house: House) -> None:
        without = Services(house.services.settings.model_copy(update={"s3_endpoint_url": None}))
        assert bucket_sweep.sweep_if_due(without, seconds=1) is None
        assert house.execute("SELECT * FROM backmarket.bucket_sweep") == []
        without.close()

    def test_without_a_bucket_deletions_wait_in_silence(self, house: House) -> None:
        house.connect("shop")
        house.keep("shop", 1)
        lifecycle.remove(house.services.database, "shop")
        without = Services(house.services.settings.model_copy(update={"s3_endpoint_url": None}))
        with capture_logs() as logs:
            assert bucket_deletions.work_off(without) == Deleted()
        assert logs == []
        assert house.execute("SELECT DISTINCT tries FROM backmarket.bucket_deletions") == [(0,)]
        without.close()


class TestDeletions:
    def test_a_removed_organization_s_objects_go_and_no_other_s(self, house: House) -> None:
        house.connect(*NEIGHBOURS)
        kept = {key for each in NEIGHBOURS[1:] for key in house.keep(each, 1, 2)}
        house.keep("a", 1, 2)
        house.put(invoice_key("a", 1, 1))
        house.wait_for_the_servers_clock()
        lifecycle.remove(house.services.database, "a")
        assert len(house.open_deletions()) == 2
        assert bucket_deletions.work_off(house.services) == Deleted(objects=3)
        assert house.keys() == kept

    def test_what_is_being_stored_now_is_left_alone(self, house: House) -> None:
        house.connect("shop")
        house.keep("shop", 1)
        house.wait_for_the_servers_clock()
        lifecycle.remove(house.services.database, "shop")
        house.execute("UPDATE backmarket.bucket_deletions SET requested_at = requested_at - interval '10 seconds'")
        assert bucket_deletions.work_off(house.services) == Deleted()
        assert len(house.keys()) == 1
        house.execute("UPDATE backmarket.bucket_deletions SET due_at = now(), requested_at = now()")
        assert bucket_deletions.work_off(house.services) == Deleted(objects=1)

    def test_the_second_time_is_the_last(self, house: House, old: None) -> None:
        house.connect("shop")
        house.keep("shop", 1)
        lifecycle.remove(house.services.database, "shop")
        bucket_deletions.work_off(house.services)
        house.put(label_key("shop", "deliveries", 2))
        assert bucket_deletions.work_off(house.services) == Deleted(), "not due before whoever was storing has ended"
        assert len(house.open_deletions()) == 2
        house.quiet()
        assert bucket_deletions.work_off(house.services).objects == 1
        assert house.keys() == set()
        assert house.open_deletions() == []

    def test_an_organization_that_is_connected_again_keeps_what_it_has_now(self, house: House, old: None) -> None:
        house.connect("shop")
        house.keep("shop", 1, 2)
        lifecycle.remove(house.services.database, "shop")
        house.connect("shop")
        (key,) = house.keep("shop", 2)
        house.store("shop", 3)
        assert house.work_off() == Deleted(objects=1)
        assert house.keys() == {key}
        assert house.states() == {("shop", 2): "stored", ("shop", 3): "wanted"}, "the one that was lost is fetched"
        house.quiet()
        assert house.work_off() == Deleted()
        assert house.keys() == {key}

    def test_rows_that_are_discarded_take_their_objects_along(self, house: House) -> None:
        house.connect("shop")
        house.keep("shop", 1)
        house.connect("shop", region="NA", locale="en-us")
        assert bucket_deletions.work_off(house.services).objects == 1
        assert house.keys() == set()

    def test_an_erased_order_s_labels_go(self, house: House) -> None:
        house.connect("shop")
        keys = [*house.keep("shop", 1, 2), *house.keep("shop", 1, resource="returns")]
        house.execute(
            "INSERT INTO backmarket.orders (organization_id, order_id, raw, content) VALUES ('shop', 7, '{}', 1)"
        )
        for table, shipment, order in (("deliveries", 1, 7), ("deliveries", 2, 8), ("returns", 1, 7)):
            house.execute(
                f"INSERT INTO backmarket.{table} (organization_id, shipment_id, order_id, raw, content)"
                " VALUES ('shop', %s, %s, '{}', 1)",
                shipment, order,
            )  # fmt: skip
        erasure.erase_order(house.services.database, "shop", 7)
        assert house.open_deletions() == [keys[0], keys[2]]
        assert bucket_deletions.work_off(house.services).objects == 2
        assert house.keys() == {keys[1]}
        house.quiet()
        bucket_deletions.work_off(house.services)
        assert house.open_deletions() == []

    def test_what_was_not_committed_is_not_deleted(self, house: House) -> None:
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, ["labels/a"])
            transaction.rollback()
        assert house.open_deletions() == []

    def test_an_organization_without_objects_leaves_nothing_to_do(self, house: House) -> None:
        house.connect("shop")
        lifecycle.remove(house.services.database, "shop")
        assert house.open_deletions() == []

    def test_while_the_server_is_away_they_wait(self, house: House) -> None:
        house.connect("shop")
        house.keep("shop", 1)
        lifecycle.remove(house.services.database, "shop")
        away = Services(house.services.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"}))
        assert bucket_deletions.work_off(away) == Deleted()
        ((tries, error),) = house.execute("SELECT tries, error FROM backmarket.bucket_deletions WHERE due_at > now()")
        assert tries == 1
        assert "BACKMARKET_S3_ENDPOINT_URL" in error
        house.execute("UPDATE backmarket.bucket_deletions SET due_at = now()")
        assert bucket_deletions.work_off(house.services).objects == 1
        assert house.execute("SELECT DISTINCT tries, error FROM backmarket.bucket_deletions") == [(0, None)]
        away.close()

    @pytest.mark.slow
    def test_many_in_turns_by_a_process_that_is_killed(self, house: House) -> None:
        house.connect("shop", "other")
        house.store("shop", 0)
        kept = set(house.keep("other", 1))
        house.put_all(label_key("shop", "deliveries", shipment) for shipment in range(2500))
        lifecycle.remove(house.services.database, "shop")
        place = "SELECT max(position) <> '' FROM backmarket.bucket_deletions"
        killed_when(lambda: bucket_deletions.work_off(house.services), lambda: house.execute(place) == [(True,)])
        house.execute("UPDATE backmarket.bucket_deletions SET due_at = now()")
        slices = 0
        while bucket_deletions.work_off(house.services, seconds=0).more:
            slices += 1
        assert 1 <= slices < 12
        assert house.keys() == kept

    def test_a_label_that_is_stored_while_its_key_is_deleted_is_fetched_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.connect("shop")
        key = label_key("shop", "deliveries", 1)
        house.put(key)
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, [key])
        delete = house.services.bucket.delete

        def store_and_delete(keys: list[str]) -> None:
            house.store("shop", 1)
            delete(keys)

        monkeypatch.setattr(house.services.bucket, "delete", store_and_delete)
        assert bucket_deletions.work_off(house.services) == Deleted(objects=1)
        assert house.states() == {("shop", 1): "wanted"}
        assert house.due() == {"shop"}

    def test_two_at_once_do_each_once(self, house: House) -> None:
        keys = [label_key("shop", "deliveries", shipment) for shipment in range(50)]
        house.put_all(keys)
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, keys)
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: bucket_deletions.work_off(house.services), range(4)))
        assert sum(each.objects for each in done) == 50
        assert house.keys() == set()


@pytest.mark.parametrize("hours", [-2, 2])
def test_only_the_servers_own_clock_says_how_old_an_object_is(
    house: House, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, apart = house.services.bucket, timedelta(hours=hours)
    listed, server_time = bucket.list, bucket.server_time
    monkeypatch.setattr(
        bucket, "list", lambda *args, **more: [replace(o, modified=o.modified + apart) for o in listed(*args, **more)]
    )
    monkeypatch.setattr(bucket, "server_time", lambda: (server_time() or objects.NEVER_OLD) + apart)
    house.connect("shop")
    young = [label_key("shop", "deliveries", 1), label_key("gone", "deliveries", 1)]
    house.put_all(young)
    assert bucket_sweep.sweep(house.services) == Swept(objects=2)
    with house.services.database.transaction() as transaction:
        deletion_queue.request(transaction, [labels_prefix("gone")])
    house.execute("UPDATE backmarket.bucket_deletions SET requested_at = now() - interval '1 h'")
    assert bucket_deletions.work_off(house.services) == Deleted(0)
    assert house.keys() == set(young), "their rows may not be written yet, whichever machine's clock is wrong"
    monkeypatch.setattr(bucket_sweep, "YOUNG_SECONDS", -1)
    assert bucket_sweep.sweep(house.services) == Swept(objects=2, deleted=2)


def locked(house: House, monkeypatch: pytest.MonkeyPatch, keys: Iterable[str]) -> Counter[str]:
    """Let the server keep some objects, as an object lock does; how often each was to be deleted."""
    tries, kept, delete = Counter[str](), set(keys), house.services.bucket.delete

    def refuse(asked: list[str]) -> None:
        delete([key for key in asked if key not in kept])
        tries.update(held := kept.intersection(asked))
        if held:
            raise NotDeleted("Locked.", held)

    monkeypatch.setattr(house.services.bucket, "delete", refuse)
    return tries


@pytest.mark.usefixtures("old")
class TestObjectsThatCannotBeDeleted:
    KEYS = tuple(label_key("shop", "deliveries", number) for number in range(12))

    def test_hold_up_no_other_deletion(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        house.put_all(self.KEYS)
        tries = locked(house, monkeypatch, self.KEYS[:6])
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, self.KEYS)
        house.quiet()
        assert bucket_deletions.work_off(house.services) == Deleted(6)
        assert house.open_deletions() == sorted(self.KEYS[:6])
        assert house.execute("SELECT DISTINCT tries, error LIKE '%%lock%%' FROM backmarket.bucket_deletions") == [
            (1, True)
        ]
        assert max(tries.values()) == 1

    @pytest.mark.parametrize("page", [2, 1000])
    def test_hold_up_no_sweep_and_no_removed_organization(
        self, house: House, page: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket_reconcile, "PAGE", page)
        house.put_all(self.KEYS)
        tries = locked(house, monkeypatch, self.KEYS[:6])
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, [labels_prefix("shop")])
        house.quiet()
        assert bucket_deletions.work_off(house.services) == Deleted(6)
        assert house.open_deletions() == []
        assert bucket_sweep.sweep(house.services, accept_garbage=True) == Swept(objects=6)
        assert house.keys() == set(self.KEYS[:6])
        assert max(tries.values()) == 2

    def test_prefixes_that_cannot_be_listed_hold_up_no_other(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing, good = ([labels_prefix(f"{kind}-{number}") for number in range(6)] for kind in ("failing", "good"))
        tries, listed = Counter[str](), house.services.bucket.list

        def away(prefix: str, **options: Any) -> Any:
            tries[prefix] += 1
            if prefix in failing:
                raise BucketUnavailable("It is away.")
            return listed(prefix, **options)

        monkeypatch.setattr(house.services.bucket, "list", away)
        with house.services.database.transaction() as transaction:
            deletion_queue.request(transaction, [*failing, *good])
        house.quiet()
        while set(house.open_deletions()) & set(good):
            house.execute("UPDATE backmarket.bucket_deletions SET due_at = due_at - interval '5 s'")
            bucket_deletions.work_off(house.services)
            assert max(tries.values()) <= 2


def test_rows_that_are_locked_hold_up_no_retention(house: House) -> None:
    house.connect("shop")
    house.execute(
        "INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale, environment,"
        " region, state, settled_at) SELECT 'shop', 'update_order', n::text, 'order/' || n, '{}', 'fr-fr',"
        " 'production', 'EU', 'refused', now() - make_interval(days => 300 - n) FROM generate_series(1, 12) n"
    )
    database = house.services.database
    with database.transaction() as transaction:
        transaction.execute("SELECT FROM backmarket.api_writes WHERE object_id::int <= 6 FOR UPDATE")
        assert drop_old(database, retention._DROP, 90, batch=4).rows == 6
    assert drop_old(database, retention._DROP, 90, batch=4).rows == 6
