"""Threads that have something to say at the same time share one call."""

import threading
from collections.abc import Sequence

import pytest

from backmarket.limits.batching import Batcher
from tests.support.waiting import PATIENCE_SECONDS


def test_who_is_alone_hands_on_at_once() -> None:
    said: list[list[int]] = []
    batcher = Batcher[int](lambda items: said.append([*items]))
    batcher.add([1, 2])
    batcher.add([3])
    assert said == [[1, 2], [3]]


def test_others_leave_theirs_with_who_is_at_it_and_do_not_wait() -> None:
    said: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def slowly(items: Sequence[int]) -> None:
        said.append([*items])
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)

    batcher = Batcher[int](slowly)
    first = threading.Thread(target=batcher.add, args=([1],))
    first.start()
    assert begun.wait(PATIENCE_SECONDS)
    batcher.add([2])  # would block here if it waited
    batcher.add([3])
    assert said == [[1]]
    go_on.set()
    first.join(PATIENCE_SECONDS)
    assert said == [[1], [2, 3]]


def test_a_fault_reaches_its_finder_and_stops_no_later_caller() -> None:
    said: list[list[int]] = []

    def once_broken(items: Sequence[int]) -> None:
        if not said:
            said.append([])
            raise ValueError
        said.append([*items])

    batcher = Batcher[int](once_broken)
    with pytest.raises(ValueError):  # noqa: PT011
        batcher.add([1])
    batcher.add([2])
    assert said == [[], [2]]


def test_nothing_is_lost_among_many() -> None:
    said: list[int] = []
    batcher = Batcher[int](said.extend)

    def add(number: int) -> None:
        for _ in range(200):
            batcher.add([number, -number])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(said) == sorted([*(n for n in range(1, 9)), *(-n for n in range(1, 9))] * 200)
