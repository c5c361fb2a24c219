"""A SKU that another part or write sets, too, proves nothing, and is never taken for unchanged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.bulk.csv_file.skus import sku_hash
from backmarket.bulk.engine.slice import run_slice
from backmarket.bulk.jobs import JobState
from backmarket.sandbox.control.client import SandboxControl
from backmarket.work.contested import may_be_stale, set_since
from backmarket.writes.engine import slice as writes
from tests.conftest import Bucket
from tests.support.bulk_files import as_csv, hurry, job_of, one_slice, opened_shop, run, settings_for, submit
from tests.support.sellers import Shop

Row = dict[str, Any]
BOTH, ALONE = 4, 2
"""Lines that two jobs have in common, and lines of the second one alone."""


@pytest.fixture
def shop(shared_url: str, redis_url: str, s3: Bucket, sandbox: SandboxControl, org: str) -> Iterator[Shop]:
    with opened_shop(settings_for(shared_url, redis_url, s3), sandbox, org, listings=20) as shop:
        shop.sync(org, "listings")
        yield shop


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


def lines(shop: Shop, org: str, count: int, *, less: int) -> list[Row]:
    """Lines with another quantity, and a price that is lower by some units."""
    return [
        {"sku": row["sku"], "quantity": row["quantity"] + 5, "price": f"{float(row['price']) - less:.2f}"}
        for row in shop.sandbox.truth(org, "listings")[:count]
    ]


def stale(shop: Shop, org: str, skus: list[str], **options: Any) -> set[str]:
    with shop.services.database.transaction() as transaction:
        return may_be_stale(transaction, org, skus, **options)


def test_a_corrected_file_whose_answer_is_lost_is_not_taken_for_the_first_one(shop: Shop, org: str) -> None:
    """What the first file did looks like the second's: its other lines would count as refused by Back Market."""
    first, corrected = lines(shop, org, BOTH, less=1), lines(shop, org, BOTH + ALONE, less=2)
    run(shop, org, submit(shop, org, first))
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    second = submit(shop, org, corrected)
    job = run(shop, org, second)
    assert (job.state, job.lines_failed, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, 0, BOTH + ALONE)
    assert shop.sandbox.stats().count("listings.bulk", org) == 2


def test_what_is_synced_proves_as_ever(shop: Shop, org: str) -> None:
    run(shop, org, submit(shop, org, lines(shop, org, BOTH, less=1)))
    shop.sync(org, "listings")
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job = run(shop, org, submit(shop, org, lines(shop, org, BOTH + ALONE, less=2)))
    assert (job.state, shop.sandbox.stats().count("listings.bulk", org)) == (JobState.DONE, 3), "sent once more"


def test_a_write_after_a_lost_part_leaves_its_line_without_proof(shop: Shop, org: str, bm: BackMarket) -> None:
    rows = lines(shop, org, 1, less=1)
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    job_id = submit(shop, org, rows)
    run_slice(shop.services, org)
    bm.update_listing(org, sku=rows[0]["sku"], quantity=rows[0]["quantity"])
    assert writes.run_slice(shop.services, org).succeeded == 1
    job = run(shop, org, job_id)
    assert (job.state, job.lines_unknown) == (JobState.DONE_WITH_ERRORS, 1)
    assert shop.sandbox.stats().count("listings.bulk", org) == 1, "and the later write is not undone"


def test_a_part_beside_a_lost_write_is_no_proof_of_it(shop: Shop, org: str, bm: BackMarket) -> None:
    (row,) = lines(shop, org, 1, less=1)
    shop.sandbox.add_fault("reset", operation="listings.update", count=1)
    write = bm.update_listing(org, sku=row["sku"], price=row["price"], quantity=row["quantity"] + 1)
    assert writes.run_slice(shop.services, org).unknown == 1
    run(shop, org, submit(shop, org, [row]))
    shop.execute("UPDATE backmarket.api_writes SET due_at = now(), settle_at = now()")
    shop.execute("UPDATE backmarket.work SET due_at = now()")
    assert writes.run_slice(shop.services, org).unknown == 1
    found = bm.get_write(org, write.id)
    assert found is not None
    assert found.undecided, "the price is the part's, and the quantity nobody's"


@pytest.mark.parametrize("other", ["unsent", "working", "ended", "write", "nothing", "synced"])
def test_a_line_is_unchanged_only_where_nothing_else_sets_its_sku(
    shop: Shop, org: str, bm: BackMarket, other: str
) -> None:
    (stored,) = [{**row, "price": f"{float(row['price']) + 1:.2f}"} for row in lines(shop, org, 1, less=1)]
    stored["quantity"] -= 5
    (changed,) = lines(shop, org, 1, less=3)
    if other == "write":
        bm.update_listing(org, sku=changed["sku"], price=changed["price"])
    elif other != "nothing":
        shop.sandbox.settings(task_delay=3600.0 if other == "working" else 0.0)
        job_id = submit(shop, org, [changed])
        if other == "working":
            one_slice(shop, org)
        elif other != "unsent":
            run(shop, org, job_id)
    if other == "synced":
        shop.sync(org, "listings")
    check = bm.check_listings_file(org, io.BytesIO(as_csv([stored])), skip_unchanged=True)
    assert check.unchanged_lines == (1 if other == "nothing" else 0)


HOUR = "interval '1 hour'"
STATES = [
    # the other part's state, how often it was sent, when it ended from the walk's begin; whether it makes rows stale,
    # and whether it does so for `skip_unchanged`, which must not drop what comes after an unsent change
    ("pending", 0, None, False, True),
    ("pending", 1, None, True, True),
    ("submitting", 1, None, True, True),
    ("submitted", 1, None, True, True),
    ("unknown", 1, None, True, True),
    ("done", 1, f"+ {HOUR}", True, True),
    ("done", 1, f"- {HOUR}", False, False),
    ("failed", 1, f"+ {HOUR}", True, True),
    ("failed", 1, f"- {HOUR}", False, False),
    ("cancelled", 0, f"+ {HOUR}", False, False),
    ("cancelled", 1, f"+ {HOUR}", True, True),
]


@pytest.mark.parametrize(
    ("state", "sent", "ended", "sent_only", "with_unsent"), STATES, ids=map(str, range(len(STATES)))
)
def test_which_other_parts_count(
    shop: Shop, org: str, state: str, sent: int, ended: str | None, sent_only: bool, with_unsent: bool
) -> None:
    (row,) = lines(shop, org, 1, less=1)
    job_id = submit(shop, org, [row])
    began = "(SELECT last_walk_started_at FROM backmarket.sync_state WHERE resource = 'listings')"
    ended_at = f"{began} {ended}" if ended else "NULL"
    shop.execute(f"UPDATE backmarket.bulk_parts SET state = %s, sent = %s, ended_at = {ended_at}", state, sent)
    other = f"  {row['sku'].upper()} "
    assert stale(shop, org, [other, "another"]) == ({other} if sent_only else set())
    assert stale(shop, org, [other, "another"], unsent=True) == ({other} if with_unsent else set())
    assert stale(shop, org, [other], unsent=True, part=(job_id, 1)) == set(), "one's own part does not count"
    shop.execute("UPDATE backmarket.bulk_parts SET sku_hashes = NULL")
    assert bool(stale(shop, org, ["another"])) is sent_only, "a part of an older version may set any"


WRITES = [
    # the write's state, how often it was sent, when it was settled from the walk's begin, whether its row was stored
    # after that; and the same two
    ("pending", 0, None, "-", False, True),
    ("pending", 1, None, "-", True, True),
    ("sending", 1, None, "-", True, True),
    ("unknown", 1, None, "-", True, True),
    ("succeeded", 1, f"+ {HOUR}", "-", True, True),
    ("succeeded", 1, f"+ {HOUR}", "+", False, False),
    ("succeeded", 1, f"- {HOUR}", "-", False, False),
    ("refused", 1, f"+ {HOUR}", "-", False, False),
]


@pytest.mark.parametrize(
    ("state", "sent", "settled", "row_is", "sent_only", "with_unsent"), WRITES, ids=map(str, range(len(WRITES)))
)
def test_which_other_writes_count(
    shop: Shop,
    org: str,
    bm: BackMarket,
    state: str,
    sent: int,
    settled: str | None,
    row_is: str,
    sent_only: bool,
    with_unsent: bool,
) -> None:
    (row,) = lines(shop, org, 1, less=1)
    write = bm.update_listing(org, sku=row["sku"], quantity=1)
    began = "(SELECT last_walk_started_at FROM backmarket.sync_state WHERE resource = 'listings')"
    settled_at = f"{began} {settled}" if settled else "NULL"
    shop.execute(f"UPDATE backmarket.api_writes SET state = %s, sent = %s, settled_at = {settled_at}", state, sent)
    moved = "last_synced_at = (SELECT COALESCE(max(settled_at), now()) FROM backmarket.api_writes)"
    shop.execute(f"UPDATE backmarket.listings SET {moved} {row_is} interval '1 s'")
    sku = row["sku"]
    assert stale(shop, org, [sku, "another"]) == ({sku} if sent_only else set())
    assert stale(shop, org, [sku, "another"], unsent=True) == ({sku} if with_unsent else set())
    assert stale(shop, org, [sku], unsent=True, write=write.id) == set()


def test_since_a_moment_whatever_was_set_counts_though_it_is_stored(shop: Shop, org: str, bm: BackMarket) -> None:
    (row,) = lines(shop, org, 1, less=1)
    before = shop.one("SELECT clock_timestamp()")
    bm.update_listing(org, sku=row["sku"], price=row["price"])
    assert writes.run_slice(shop.services, org).succeeded == 1
    after = shop.one("SELECT clock_timestamp()")
    with shop.services.database.transaction() as transaction:
        assert set_since(transaction, org, [row["sku"]], before) == {row["sku"]}
        assert set_since(transaction, org, [row["sku"]], after) == set()
        assert may_be_stale(transaction, org, [row["sku"]]) == set()


def test_organizations_of_one_account_share_its_skus(shop: Shop, org: str) -> None:
    (row,) = lines(shop, org, 1, less=1)
    shop.connect("another", f"token-{org}")
    shop.execute("UPDATE backmarket.connections SET account = 'shared'")
    submit(shop, org, [row])
    assert stale(shop, "another", [row["sku"]], unsent=True) == {row["sku"]}


def test_parts_that_wait_hold_up_only_the_same_skus(shop: Shop, org: str) -> None:
    shop.sandbox.add_fault("reset", operation="listings.bulk", count=1)
    first = submit(shop, org, lines(shop, org, 4, less=1))
    run_slice(shop.services, org)
    same = submit(shop, org, lines(shop, org, 2, less=2))
    after_same = submit(shop, org, lines(shop, org, 1, less=3))
    others = submit(shop, org, lines(shop, org, 8, less=1)[4:])
    run_slice(shop.services, org)
    states = [job_of(shop, org, each).state for each in (first, same, after_same, others)]
    assert states[:3] == [JobState.RUNNING, JobState.PENDING, JobState.PENDING]
    assert states[3] in {JobState.RUNNING, JobState.DONE}, "others go on"
    for job_id in (first, same, after_same):
        run(shop, org, job_id)
    prices = {row["sku"]: float(row["price"]) for row in shop.sandbox.truth(org, "listings")}
    wanted = lines(shop, org, 1, less=0)[0]
    assert prices[wanted["sku"]] == float(wanted["price"])
    hurry(shop)


@pytest.mark.parametrize("sku", ["A-1", " a-1 ", "STRASSE-1", "ÜNÏcode", "\tİ ", "x" * 250], ids=map(str, range(6)))
def test_a_sku_has_one_number_everywhere(shop: Shop, sku: str) -> None:
    assert shop.one("SELECT backmarket.sku_hash(%s)", sku) == sku_hash(sku)
