"""The hourly quota of SKU lines, on real PostgreSQL: never exceeded, fully used, and right with many callers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from uuid import uuid4

import psycopg
import pytest

from backmarket.database import Database
from backmarket.limits import sku_quota
from backmarket.limits.sku_quota import Free, Reserved
from backmarket.standalone.embedded import Stack
from tests.support.databases import shared_database
from tests.support.waiting import PATIENCE_SECONDS, wait_until

LIMIT, WINDOW = 20, 3600.0
STEP = WINDOW / sku_quota.STEPS


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with shared_database(stack, "quota") as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def account() -> str:
    return uuid4().hex


def reserve(
    database: Database,
    account: str,
    lines: int = 1,
    at_least: int | None = None,
    *,
    window: float = WINDOW,
    deadline: float = 0.0,
) -> Reserved:
    with database.transaction() as transaction:
        return sku_quota.reserve(
            transaction, account, lines, limit=LIMIT, window=window, at_least=at_least, deadline=deadline
        )


def free(database: Database, account: str, lines: int = 1) -> Free:
    with database.transaction() as transaction:
        return sku_quota.free(transaction, account, limit=LIMIT, lines=lines)


def about(seconds: float, at_most: float) -> bool:
    """Whether it is that wait, of which a slow test used up some; what it is compared with is far from it."""
    return at_most - PATIENCE_SECONDS < seconds <= at_most + STEP


def rows(database: Database) -> int:
    with database.transaction() as transaction:
        (count,) = transaction.execute("SELECT count(*) FROM backmarket.sku_quota").fetchone() or (0,)
    return int(count)


def test_all_or_nothing_is_granted_until_the_limit_is_reached(database: Database, account: str) -> None:
    first = reserve(database, account, 15)
    assert (first.account, first.granted, first.wait_seconds) == (account, 15, 0.0)
    denied = reserve(database, account, 6)
    assert denied.granted == 0
    assert about(denied.wait_seconds, WINDOW)
    assert reserve(database, account, 5).granted == 5
    assert reserve(database, account).granted == 0
    assert reserve(database, uuid4().hex, LIMIT).granted == LIMIT, "another account has its own"


def test_a_part_is_granted_if_it_is_large_enough(database: Database, account: str) -> None:
    reserve(database, account, 15)
    assert reserve(database, account, 50, at_least=6).granted == 0
    part = reserve(database, account, 50, at_least=5)
    assert part.granted == 5
    assert about(part.wait_seconds, WINDOW)
    assert reserve(database, account, 50, at_least=1).granted == 0


def test_the_whole_limit_at_once_and_the_next_in_the_same_moment(database: Database, account: str) -> None:
    part = reserve(database, account, 50, at_least=1)
    assert part.granted == LIMIT
    assert about(part.wait_seconds, WINDOW)


def test_the_wait_is_for_as_many_lines_as_are_wanted(database: Database, account: str) -> None:
    reserve(database, account, 10, window=WINDOW / 2)
    reserve(database, account, 10)
    one, eleven = (reserve(database, account, lines).wait_seconds for lines in (1, 11))
    assert about(one, WINDOW / 2)
    assert about(eleven, WINDOW)
    assert free(database, account).lines == 0
    assert about(free(database, account, 10).wait_seconds, WINDOW / 2)
    assert about(free(database, account, 11).wait_seconds, WINDOW)
    assert about(free(database, account, 999).wait_seconds, free(database, account, 20).wait_seconds)


def test_what_is_free_can_be_asked_without_taking_it(database: Database, account: str) -> None:
    assert free(database, account, 20) == Free(20, 0.0, closed=False)
    reserve(database, account, 15)
    assert free(database, account, 5) == Free(5, 0.0, closed=False)
    assert free(database, account, 5) == Free(5, 0.0, closed=False)


@pytest.mark.parametrize(("lines", "at_least"), [(0, None), (21, None), (5, 6), (50, 21), (5, 0)])
def test_what_can_never_be_granted_is_a_mistake(
    database: Database, account: str, lines: int, at_least: int | None
) -> None:
    with pytest.raises(ValueError, match="cannot be reserved where 20 is the limit"):
        reserve(database, account, lines, at_least)


def test_lines_given_back_are_free_at_once_and_only_those(database: Database, account: str) -> None:
    first, second = reserve(database, account, 15), reserve(database, account, 5)
    with database.transaction() as transaction:
        sku_quota.release(transaction, second)
    assert free(database, account).lines == 5
    with database.transaction() as transaction:
        sku_quota.release(transaction, first)
    assert reserve(database, account, 20).granted == 20


def test_what_was_rolled_back_was_never_reserved(database: Database, account: str) -> None:
    with database.transaction() as transaction:
        sku_quota.reserve(transaction, account, 20, limit=LIMIT, window=WINDOW)
        raise psycopg.Rollback
    assert free(database, account).lines == 20


def test_a_refusal_closes_the_quota_for_its_time(database: Database, account: str) -> None:
    reserve(database, account, 15)
    for seconds in (WINDOW / 2, 10.0):
        with database.transaction() as transaction:
            sku_quota.block(transaction, account, seconds)
    denied = reserve(database, account, 1)
    assert denied.granted == 0
    assert about(denied.wait_seconds, WINDOW / 2)
    left = free(database, account, 1)
    assert (left.lines, left.closed) == (0, True)
    assert about(left.wait_seconds, WINDOW / 2)
    assert about(free(database, account, 6).wait_seconds, WINDOW), "then the lines themselves are in the way"


def test_after_a_refusal_the_ledger_goes_on(database: Database, account: str) -> None:
    reserve(database, account, 15)
    with database.transaction() as transaction:
        sku_quota.block(transaction, account, WINDOW / 2)
    assert reserve(database, account, 5).granted == 0
    with database.transaction() as transaction:  # its time passes
        transaction.execute(
            "UPDATE backmarket.sku_quota SET free_at = clock_timestamp() WHERE account = %s AND lines IS NULL",
            (account,),
        )
    assert reserve(database, account, 5).granted == 5
    assert reserve(database, account, 1).granted == 0


def test_lines_come_free_after_the_window_and_the_deadline(database: Database, account: str) -> None:
    began = time.monotonic()
    reserved = reserve(database, account, LIMIT, window=0.3, deadline=0.3)
    assert reserve(database, account).wait_seconds <= 0.61
    wait_until(lambda: reserve(database, account).granted, "a free line")
    assert time.monotonic() - began >= 0.6
    with database.transaction() as transaction:
        sku_quota.release(transaction, reserved)
    assert free(database, account).lines == LIMIT - 1


def test_rows_are_few_and_go_when_they_are_free(database: Database, account: str) -> None:
    before = rows(database)
    for _ in range(LIMIT):
        reserve(database, account, window=3600.0)
    assert 1 <= rows(database) - before < LIMIT, "the lines of two seconds share a row"
    other = uuid4().hex
    reserve(database, other, LIMIT, window=0.1)
    wait_until(lambda: reserve(database, other, LIMIT, window=0.1).granted, "the next window")
    reserve(database, other, LIMIT, window=0.1)
    wait_until(lambda: free(database, other).lines, "a free line")
    assert sku_quota.drop_free(database) >= 1
    assert free(database, account).lines == 0


def test_callers_at_once_never_take_more_than_there_is(database: Database, account: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: reserve(database, account, 3).granted, range(40)))
    assert sorted(taken)[-7:] == [0] + [3] * 6
    assert free(database, account).lines == 2


def test_no_window_sees_more_than_the_limit(database: Database, account: str) -> None:
    window, deadline, arrivals, lock = 0.5, 0.2, list[float](), threading.Lock()

    def send(_: object) -> None:
        while len(arrivals) < 4 * LIMIT:
            asked = time.monotonic()
            reserved = reserve(database, account, 4, at_least=1, window=window, deadline=deadline)
            time.sleep(random.uniform(0, 0.1))
            arrived = time.monotonic()
            if arrived - asked < deadline:  # later is never: the deadline ends a request
                with lock:
                    arrivals.extend(repeat(arrived, reserved.granted))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    arrivals.sort()
    assert all(later - first > window for first, later in zip(arrivals, arrivals[LIMIT:], strict=False))
