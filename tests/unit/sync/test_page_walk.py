"""A walk, against a list that changes under it: what it asks, when it says that it is over, and what that means."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backmarket.errors import IncompleteWalk
from backmarket.resources import Page, Row
from backmarket.sync.page_walk import (
    MAX_PAGES_WITHOUT_NEW_IDS,
    PASSES,
    SeenCounts,
    SeenIds,
    Walk,
    WalkKind,
)
from tests.support.examples import examples

BEGAN = datetime(2026, 5, 1, 10, tzinfo=UTC)
LONG_AGO = BEGAN - timedelta(days=1)
CHECKPOINTED = (
    "kind", "since", "started_at", "serving", "began_at", "pass_", "pass_began_at", "next_page", "page_size",
    "expected", "highest", "counted", "steady", "saves",
)  # fmt: skip


def row(key: str, created: datetime, modified: datetime) -> Row:
    return Row(key, (key,), "{}", 0, created, modified)


@dataclass
class Server:
    """A paged list, and its clock, which moves by 0.4 s with each answer and change."""

    rows: list[Row]
    size: int = 3
    now: datetime = BEGAN
    count: Callable[[int], int | None] = int
    answers: int = 0
    changes: dict[int, Callable[[Server], object]] = field(default_factory=dict)
    """What happens to the list after so many answers."""
    _born: int = 0

    @classmethod
    def of(cls, total: int, **options: Any) -> Server:
        return cls([row(f"row{number}", LONG_AGO, LONG_AGO) for number in range(total)], **options)

    @property
    def keys(self) -> set[str]:
        return {each.key for each in self.rows}

    def answer(self, number: int) -> Page:
        found = self.rows[(number - 1) * self.size : number * self.size]
        page = Page([], None, last=True)  # a 404, past the end
        if found or number == 1:
            page = Page(found, self.count(len(self.rows)), last=number * self.size >= len(self.rows))
        self.answers += 1
        if self.answers in self.changes:
            self.changes[self.answers](self)
        self.now += timedelta(seconds=0.4)
        return page

    def insert(self, at: int) -> None:
        self._born += 1
        second = self.now.replace(microsecond=0)
        self.rows.insert(at, row(f"new{self._born}", second, second))
        self.now += timedelta(seconds=0.4)

    def show(self, at: int) -> None:
        """An old row enters the list, as an order does that is no longer in state 0."""
        self._born += 1
        self.rows.insert(at, row(f"shown{self._born}", LONG_AGO, self.now.replace(microsecond=0)))
        self.now += timedelta(seconds=0.4)

    def move(self, at: int, to: int) -> None:
        """A row is modified, and moves if the list is sorted so."""
        if self.rows:
            moved = self.rows.pop(at % len(self.rows))
            self.rows.insert(to, row(moved.key, LONG_AGO, self.now.replace(microsecond=0)))
        self.now += timedelta(seconds=0.4)

    def remove(self, at: int) -> None:
        if self.rows:
            del self.rows[at % len(self.rows)]
        self.now += timedelta(seconds=0.4)


@dataclass
class Memory:
    """What PostgreSQL keeps of a walk: its checkpoint, and the ids by pass, counted as `seen_ids.py` counts them."""

    values: dict[str, Any] = field(default_factory=dict)
    passes: dict[int, SeenIds] = field(default_factory=lambda: defaultdict(SeenIds))

    def see(self, walk: Walk) -> None:
        seen = self.passes[walk.pass_]
        seen.ids |= walk.unsaved.ids
        seen.modified |= walk.unsaved.modified
        seen.newcomers |= walk.unsaved.newcomers
        walk.unsaved.clear()

    def count(self, walk: Walk) -> SeenCounts:
        now = self.passes[walk.pass_]
        return replace(now.counts(), known=len(now.ids | self.all(before=walk.pass_)))

    def all(self, *, before: int = PASSES + 1) -> set[str]:
        found = [seen for number, seen in self.passes.items() if number < before]
        return set().union(*(seen.ids | seen.modified | seen.newcomers for seen in found))

    def save(self, walk: Walk) -> None:
        self.values = {name: getattr(walk, name) for name in CHECKPOINTED}

    def restore(self) -> Watched:
        return Watched(**self.values, memory=self)


@dataclass
class Watched(Walk):
    """A walk with what PostgreSQL keeps of it."""

    memory: Memory = field(default_factory=Memory)

    def finish(self) -> None:
        """What each transaction does that stores pages."""
        self.memory.see(self)
        try:
            self.finish_pass(lambda: self.memory.count(self))
        finally:
            self.memory.save(self)

    def all_seen(self) -> set[str]:
        self.memory.see(self)
        return self.memory.all()


def new_walk(kind: WalkKind = "full") -> Watched:
    return Watched(kind=kind, since=None, started_at=BEGAN, serving=0)


def go(
    walk: Watched,
    answer: Callable[[int], Page],
    *,
    window: int = 1,
    bound: int = 500,
    shuffle: random.Random | None = None,
) -> Watched:
    """Drive a walk to its end.

    Args:
        walk: where it stands.
        answer: the API.
        window: pages asked for at once.
        bound: answers until the test fails.
        shuffle: answers come in an order that it chooses.
    """
    answered = 0
    while not walk.complete:
        asked = walk.next_pages(window)
        assert asked, "it is not over, and asks for nothing"
        if shuffle:
            shuffle.shuffle(asked)
        for number in asked:
            answered += 1
            assert answered <= bound, "it does not end"
            walk.received(number, answer(number), BEGAN)
        walk.pop_ready()
        walk.finish()
    return walk


class TestAsking:
    def test_the_first_page_goes_alone_and_the_others_together(self) -> None:
        walk, server = new_walk(), Server.of(10)
        assert walk.next_pages(5) == [1]
        assert walk.next_pages(5) == []
        walk.received(1, server.answer(1), BEGAN)
        assert walk.next_pages(2) == [2, 3]
        assert walk.next_pages(5) == [4]
        assert walk.next_pages(5) == []
        assert walk.outstanding == 4

    def test_no_room_is_no_page(self) -> None:
        assert new_walk().next_pages(0) == []

    def test_a_failed_page_is_given_out_again(self) -> None:
        walk, server = new_walk(), Server.of(10)
        walk.received(walk.next_pages(1)[0], server.answer(1), BEGAN)
        walk.next_pages(3)
        walk.failed(3)
        assert walk.next_pages(5) == [3]

    def test_a_failed_page_before_a_stray_one_is_given_out_again_though_the_list_ended_before(self) -> None:
        walk, server = new_walk(), Server.of(12)
        walk.received(walk.next_pages(1)[0], server.answer(1), BEGAN)
        assert walk.next_pages(3) == [2, 3, 4]
        walk.received(2, Page([], 12, last=True), BEGAN)
        walk.received(4, server.answer(4), BEGAN)
        walk.failed(3)
        assert walk.next_pages(5) == [3]

    def test_pages_are_stored_in_order_without_a_gap(self) -> None:
        walk, server = new_walk(), Server.of(9)
        walk.received(walk.next_pages(1)[0], server.answer(1), BEGAN)
        walk.next_pages(5)
        walk.received(3, server.answer(3), BEGAN)
        assert (walk.ready, len(walk.pop_ready())) == (1, 1)
        assert (walk.ready, len(walk.pop_ready())) == (0, 0)
        walk.received(2, server.answer(2), BEGAN)
        assert walk.ready == 2
        assert [page.rows[0].key for page in walk.pop_ready()] == ["row3", "row6"]

    def test_a_walk_that_is_over_asks_for_nothing(self) -> None:
        assert go(new_walk(), Server.of(10).answer).next_pages(5) == []

    def test_what_was_voided_is_asked_for_again(self) -> None:
        walk, server = new_walk(), Server.of(10)
        walk.received(walk.next_pages(1)[0], server.answer(1), BEGAN)
        walk.pop_ready()
        walk.next_pages(3)
        walk.received(3, server.answer(3), BEGAN)
        walk.discard_pending()
        assert walk.outstanding == 0
        assert walk.next_pages(9) == [2, 3, 4]


class TestLists:
    @pytest.mark.parametrize("total", [0, 1, 2, 3, 4, 6, 7, 100])
    @pytest.mark.parametrize("window", [1, 4])
    def test_a_quiet_list_is_seen_in_one_pass_at_the_least_cost(self, total: int, window: int) -> None:
        server = Server.of(total)
        walk = go(new_walk(), server.answer, window=window)
        assert walk.all_seen() == server.keys
        assert walk.pass_ == 1
        assert server.answers == max(1, -(-total // 3))

    def test_answers_out_of_order_make_no_difference(self) -> None:
        server = Server.of(100)
        walk = go(new_walk(), server.answer, window=7, shuffle=random.Random(1))
        assert (walk.all_seen(), walk.pass_, server.answers) == (server.keys, 1, 34)

    def test_a_page_size_that_the_server_clamps_is_learned_from_the_first_page(self) -> None:
        server = Server.of(20, size=2)
        assert go(new_walk(), server.answer, window=4).all_seen() == server.keys
        assert server.answers == 10

    def test_a_list_without_a_count_ends_where_the_server_says_so(self) -> None:
        server = Server.of(10, count=lambda _: None)
        assert go(new_walk(), server.answer, window=4).all_seen() == server.keys
        assert server.answers == 4

    def test_a_count_that_is_too_low_hides_nothing(self) -> None:
        server = Server.of(20, count=lambda real: real // 2)
        assert go(new_walk(), server.answer, window=4).all_seen() == server.keys

    def test_a_count_of_zero_hides_nothing(self) -> None:
        server = Server.of(7, count=lambda _: 0)
        assert go(new_walk(), server.answer).all_seen() == server.keys

    def test_a_count_that_is_too_high_never_passes_for_complete(self) -> None:
        server = Server.of(10, count=lambda real: real + 1)
        with pytest.raises(IncompleteWalk):
            go(new_walk(), server.answer, window=4)
        assert server.answers <= PASSES * 5

    def test_a_growing_list_is_followed_to_its_end(self) -> None:
        server = Server.of(6, changes={1: lambda s: [s.insert(len(s.rows)) for _ in range(5)]})
        assert go(new_walk(), server.answer).all_seen() == server.keys

    def test_a_list_that_shrinks_at_its_end_is_walked_again(self) -> None:
        server = Server.of(9, changes={1: lambda s: [s.remove(-1) for _ in range(4)]})
        walk = go(new_walk(), server.answer, window=4)
        assert walk.pass_ == 2
        assert walk.all_seen() >= server.keys

    def test_a_row_that_crosses_a_border_is_found_in_the_second_pass(self) -> None:
        server = Server.of(9, changes={1: lambda s: s.remove(0)})
        walk = go(new_walk(), server.answer)
        assert "row3" in walk.all_seen()
        assert walk.pass_ == 2

    def test_a_newcomer_does_not_stand_for_a_row_that_was_skipped(self) -> None:
        server = Server.of(9, changes={1: lambda s: (s.remove(0), s.insert(len(s.rows)))})
        assert "row3" in go(new_walk(), server.answer).all_seen()

    def test_rows_that_come_at_the_front_cost_no_second_pass(self) -> None:
        server = Server.of(9, changes={1: lambda s: s.insert(0)})
        walk = go(new_walk(), server.answer)
        assert walk.pass_ == 1
        assert walk.all_seen() == server.keys - {"new1"}

    def test_an_early_empty_page_does_not_end_the_walk(self) -> None:
        server = Server.of(12)
        glitches = [3]

        def answer(number: int) -> Page:
            if number in glitches:
                glitches.remove(number)
                return Page([], 12, last=False)
            return server.answer(number)

        walk = go(new_walk(), answer, window=4)
        assert (walk.pass_, walk.all_seen()) == (2, server.keys)

    def test_an_empty_page_that_stays_fails_the_walk(self) -> None:
        server = Server.of(12)
        with pytest.raises(IncompleteWalk):
            go(new_walk(), lambda number: Page([], 12, last=False) if number == 3 else server.answer(number))

    @pytest.mark.parametrize("rejected", [0, 1])
    @pytest.mark.parametrize("count", [None, 3, 10**9])
    def test_a_page_that_is_repeated_for_ever_is_bounded(self, count: int | None, rejected: int) -> None:
        page = Server.of(3).answer(1)
        endless = Page(page.rows, count, last=False, rejected=rejected)
        bound = PASSES * (MAX_PAGES_WITHOUT_NEW_IDS + 1)
        try:
            go(new_walk(), lambda _: endless, bound=bound)
        except IncompleteWalk:
            assert count == 10**9

    def test_a_page_that_is_repeated_for_ever_is_bounded_by_short_slices_too(self) -> None:
        endless = Page(Server.of(3).answer(1).rows, None, last=False)
        walk, answers = new_walk(), 0
        while not walk.complete and answers < 100:
            answers += 1
            walk.received(walk.next_pages(1)[0], endless, BEGAN)
            walk.pop_ready()
            walk.finish()
            walk = walk if walk.complete else walk.memory.restore()
        assert walk.complete
        assert answers <= MAX_PAGES_WITHOUT_NEW_IDS + 1

    def test_rows_without_a_usable_id_count_as_seen(self) -> None:
        rows = Server.of(5).answer(1).rows
        pages = {1: Page(rows[:2], 5, last=False, rejected=1), 2: Page(rows[2:3], 5, last=True, rejected=1)}
        assert go(new_walk(), pages.__getitem__).pass_ == 1

    def test_a_page_on_which_nothing_has_a_usable_id_is_passed(self) -> None:
        server = Server.of(9)
        broken = Page([], 9, last=False, rejected=3)
        walk = go(new_walk(), lambda number: broken if number == 2 else server.answer(number))
        assert walk.pass_ == 1
        assert {"row0", "row8"} <= walk.all_seen()

    def test_an_old_row_that_enters_the_list_does_not_stand_for_one_that_was_skipped(self) -> None:
        server = Server.of(9, changes={1: lambda s: (s.remove(0), s.show(len(s.rows)))})
        assert "row3" in go(new_walk(), server.answer).all_seen()

    @pytest.mark.parametrize("kind", ["full", "incremental"])
    def test_what_was_modified_since_a_walk_began_may_be_a_newcomer(self, kind: WalkKind) -> None:
        old, fresh = row("1", LONG_AGO, LONG_AGO), row("2", LONG_AGO, BEGAN)
        walk = new_walk(kind)
        walk.received(walk.next_pages(1)[0], Page([old, fresh], 2, last=True), BEGAN + timedelta(seconds=0.9))
        walk.pop_ready()
        assert (walk.unsaved.ids, walk.unsaved.modified) == ({"1"}, {"2"})

    def test_a_row_that_is_modified_meanwhile_costs_one_pass_more_at_most(self) -> None:
        server = Server.of(9, changes={1: lambda s: s.move(5, 5)})
        walk = go(new_walk(), server.answer)
        assert (walk.pass_, walk.all_seen()) == (2, server.keys)

    @pytest.mark.parametrize("kind", ["full", "incremental"])
    def test_rows_that_are_modified_in_the_middle_cost_one_request(self, kind: WalkKind) -> None:
        server = Server.of(300, changes={50: lambda s: (s.move(200, 200), s.move(280, 280))})
        walk = go(new_walk(kind), server.answer, window=4)
        assert (server.answers, walk.all_seen()) == (101, server.keys)

    def test_rows_that_come_meanwhile_cost_the_pages_that_they_fill(self) -> None:
        server = Server.of(900, changes={50: lambda s: (s.move(500, 500), [s.insert(0) for _ in range(7)])})
        walk = drive(new_walk(), server)
        assert (server.answers, walk.all_seen()) == (303 + 3, server.keys)

    def test_answers_that_overtake_each_other_are_not_taken_for_rows_that_left(self) -> None:
        server, walk = Server.of(30), new_walk()
        walk.received(walk.next_pages(1)[0], server.answer(1), BEGAN)
        assert walk.next_pages(2) == [2, 3]
        early = server.answer(2)
        server.insert(0)
        walk.received(3, server.answer(3), BEGAN)
        walk.received(2, early, BEGAN)
        assert walk.steady
        server.remove(0)
        walk.received(walk.next_pages(1)[0], server.answer(4), BEGAN)
        assert not walk.steady

    def test_a_row_that_left_costs_a_whole_pass_though_another_was_modified(self) -> None:
        server = Server.of(300, changes={50: lambda s: (s.remove(140), s.move(200, 200))})
        walk = go(new_walk(), server.answer)
        assert walk.all_seen() >= server.keys
        assert server.answers == 200

    def test_a_server_that_repeats_more_pages_than_are_compared_is_bounded(self) -> None:
        server = Server.of(90)
        endless = go(
            new_walk(),
            lambda number: replace(server.answer((number - 1) % 30 + 1), count=None, last=False),
        )
        assert (endless.all_seen(), server.answers) == (server.keys, 64)

    def test_a_row_that_was_confirmed_is_seen(self) -> None:
        walk = go(new_walk(), Server.of(3).answer)
        walk.confirm("gone")
        assert "gone" in walk.unsaved.ids
        assert "gone" in walk.all_seen()

    def test_a_row_that_two_passes_skip_can_stay_unseen(self) -> None:
        """What docs/decisions/0006 says remains: the next full walk finds it."""
        server = Server.of(
            5,
            size=2,
            changes={
                1: lambda s: s.remove(0),  # row2 crosses to page 1
                3: lambda s: s.insert(0),  # and back, before the second pass
                4: lambda s: s.remove(0),  # and to page 1 again
            },
        )
        walk = drive(new_walk(), server)
        assert walk.complete
        assert server.keys - walk.all_seen() == {"row2"}


def drive(walk: Watched, server: Server) -> Watched:
    """Page by page, by the server's own clock; between two passes lies a second."""
    while not walk.complete:
        (number,) = walk.next_pages(1)
        if number == 1:
            server.now += timedelta(seconds=1)
        at = server.now.replace(microsecond=0)
        walk.received(number, server.answer(number), at)
        walk.pop_ready()
        walk.finish()
    return walk


CHANGES = ("front", "back", "show", "modify", "to_front", "to_back", "remove", "remove")
OPS = ("next_pages", "answer", "answer", "fail", "store", "restart", *CHANGES)
SCHEDULES = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 40)), max_size=120)


@dataclass
class Run:
    """A walk against a list, one step at a time, and what was in the list when each pass began."""

    server: Server
    walk: Watched = field(default_factory=new_walk)
    in_flight: list[int] = field(default_factory=list)
    stayed: set[str] = field(default_factory=set)
    """Rows that were in the list all the time since this pass began."""
    at_first: set[str] = field(default_factory=set)
    """Rows that were in the list when this pass began."""
    failed: bool = False

    def __post_init__(self) -> None:
        self.walk.memory.save(self.walk)

    def next_pages(self, room: int) -> None:
        asked = self.walk.next_pages(room)
        assert asked == sorted(set(asked))
        assert not set(asked) & set(self.in_flight), "asked for twice at once"
        assert len(asked) <= room
        self.in_flight += asked

    def answer(self, which: int) -> None:
        if self.in_flight:
            number = self.in_flight.pop(which % len(self.in_flight))
            if self.walk.pass_began_at is None:
                self.at_first, self.stayed = self.server.keys, self.server.keys
            at = self.server.now.replace(microsecond=0)
            self.walk.received(number, self.server.answer(number), at)

    def fail(self, which: int) -> None:
        if self.in_flight:
            self.walk.failed(self.in_flight.pop(which % len(self.in_flight)))

    def store(self, _: int = 0) -> None:
        try:
            self.walk.pop_ready()
            self.walk.finish()
        except IncompleteWalk:
            self.failed = True

    def front(self, _: int) -> None:
        self.server.insert(0)

    def back(self, _: int) -> None:
        self.server.insert(len(self.server.rows))

    def show(self, at: int) -> None:
        self.server.show(at)

    def modify(self, at: int) -> None:
        self.server.move(at, at % max(1, len(self.server.rows)))

    def to_front(self, at: int) -> None:
        self.server.move(at, 0)

    def to_back(self, at: int) -> None:
        self.server.move(at, len(self.server.rows))

    def remove(self, at: int) -> None:
        self.server.remove(at)
        self.stayed &= self.server.keys

    def restart(self, _: int = 0) -> None:
        self.in_flight = []
        if not self.walk.complete:
            self.walk = self.walk.memory.restore()

    @property
    def ended(self) -> bool:
        return self.failed or self.walk.complete

    def play(self, schedule: list[tuple[str, int]]) -> None:
        """Take the steps, and then, with a list at rest, whatever steps are left."""
        for step, argument in schedule:
            if self.ended:
                return
            getattr(self, step)(argument)
        for _ in range(PASSES * (len(self.server.rows) + len(schedule) + MAX_PAGES_WITHOUT_NEW_IDS)):
            if self.ended:
                return
            self.next_pages(2)
            self.answer(0)
            self.store()
        raise AssertionError("it does not end")


class TestGuarantee:
    @given(total=st.integers(0, 30), size=st.integers(1, 5), schedule=SCHEDULES)
    @settings(max_examples=examples(400), deadline=None)
    def test_what_over_means(self, total: int, size: int, schedule: list[tuple[str, int]]) -> None:
        """One pass: every row that stayed in the list was seen. More: a row can only be missing for each that left.

        From the second pass on, what any pass saw counts, so a row that was seen and has left may stand for one
        that every pass skipped.
        """
        run = Run(Server.of(total, size=size))
        run.play(schedule)
        if run.failed:
            return
        missing = run.stayed - run.walk.all_seen()
        if run.walk.pass_ == 1:
            assert not missing
        assert len(missing) <= len(run.walk.all_seen() - run.at_first)

    @given(total=st.integers(0, 30), size=st.integers(1, 5), schedule=SCHEDULES)
    @settings(max_examples=examples(200), deadline=None)
    def test_a_list_at_rest_is_seen_whole_in_one_pass_whatever_happens_to_the_requests(
        self, total: int, size: int, schedule: list[tuple[str, int]]
    ) -> None:
        run = Run(Server.of(total, size=size))
        run.play([step for step in schedule if step[0] not in CHANGES])
        assert run.walk.complete
        assert run.walk.pass_ == 1
        assert run.walk.all_seen() == run.server.keys


class TestCheckpoints:
    @pytest.mark.parametrize(
        "count", [lambda real: real, lambda _: None, lambda real: real // 2], ids=["right", "none", "low"]
    )
    @pytest.mark.parametrize("every", [1, 2, 3])
    def test_a_walk_that_is_restored_all_the_time_ends_as_one_that_is_not(
        self, count: Callable[[int], int | None], every: int
    ) -> None:
        changes: dict[int, Callable[[Server], object]] = {2: lambda s: s.remove(0), 3: lambda s: s.insert(0)}
        plain, broken = (Run(Server.of(20, count=count, changes=changes)) for _ in range(2))
        for run in (plain, broken):
            steps = 0
            while not run.ended:
                run.next_pages(1)
                run.answer(0)
                run.store()
                steps += 1
                if run is broken and steps % every == 0:
                    run.restart()
        assert broken.walk.all_seen() == plain.walk.all_seen()
        assert broken.walk.pass_ == plain.walk.pass_

    def test_pages_that_were_taken_but_not_settled_are_not_lost(self) -> None:
        server, walk = Server.of(6), new_walk()
        for number in (1, 2):
            walk.next_pages(1)
            walk.received(number, server.answer(number), BEGAN)
        walk.pop_ready()
        walk.memory.see(walk)
        walk.memory.save(walk)
        walk = walk.memory.restore()
        walk.finish()
        assert walk.complete
        assert walk.all_seen() == server.keys
