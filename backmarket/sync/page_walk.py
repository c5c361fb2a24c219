"""A walk over a paged list, as pure state: which page to request next, and when the walk is complete. It never sends.

Rows shift between pages while a walk runs. A row that leaves the list pulls its successors to the page before,
and the row that moves to a page already read is not shown. So a pass over the list counts only rows
that were there when it began; if it saw fewer than the API then counted, something may have been skipped, and the
list is walked again; from the second pass on, rows seen in any pass count. When rows appear at the front, the rest
shifts back: rows are seen twice, which is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from backmarket.errors import IncompleteWalk
from backmarket.resources import Page, Row

WalkKind = Literal["full", "incremental"]

PASSES = 3
"""Maximum passes over a list whose rows shift; then the walk fails and is retried later."""

MAX_PAGES_WITHOUT_NEW_IDS = 20
"""Pages in a row without a new id, after which a pass ends: the server repeats itself."""


@dataclass
class Walk:
    """State of a walk.

    Attributes:
        kind: `full`, or `incremental` when only rows modified since a time are requested.
        since: that time, by the API's clock.
        started_at: when it began, by PostgreSQL's clock.
        serving: number of the sync request that it answers (`sync_state.requested`).
        began_at: when the first page was answered, by the API's clock, or before; None: it was not yet.
        pass_: number of the pass over the list, from 1.
        pass_began_at: the same for the first page of this pass.
        next_page: the first page that is not yet stored.
        page_size: rows per page, as the first page showed; 0 before that.
        expected: rows that the API counted when this pass began; None where it does not say.
        highest: the highest count in this pass.
        seen: ids seen in this pass that were there when it began.
        newcomers: ids seen in this pass that appeared since it began.
        before: ids seen in earlier passes.
        complete: every page was stored, and the list was seen completely.
        saves: number of its checkpoints; 0: `walks` has no row for it.
    """

    kind: WalkKind
    since: datetime | None
    started_at: datetime
    serving: int
    began_at: datetime | None = None
    pass_: int = 1
    pass_began_at: datetime | None = None
    next_page: int = 1
    page_size: int = 0
    expected: int | None = None
    highest: int = 0
    seen: set[str] = field(default_factory=set)
    newcomers: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    complete: bool = False
    saves: int = 0

    _waiting: dict[int, Page] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    _end: int | None = None
    """Number of this pass's last page, once an answer has shown it."""
    _pages_without_new_ids: int = 0
    """Pages stored in a row without a new id."""
    _fresh: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))

    def next_pages(self, room: int) -> list[int]:
        """The next pages to request, lowest first; each is given out once.

        Args:
            room: maximum number of pages.
        """
        if self.complete or room <= 0:
            return []
        if not self.page_size or self.expected is None:  # the first page of a pass tells how many there are
            last = self.next_page
        else:
            last = max(1, -(-self.highest // self.page_size))
        if self._end is not None:
            last = min(last, self._end)
        last = max(last, *self._waiting, 0)  # pages beyond the end wait for those before them
        taken = self._asked | self._waiting.keys()
        free = (page for page in range(self.next_page, last + 1) if page not in taken)
        pages = list(islice(free, room))
        self._asked.update(pages)
        return pages

    def received(self, number: int, page: Page, answered_at: datetime) -> None:
        """A page was answered.

        Args:
            number: of the page, from 1.
            page: an empty one where the API said that there is no such page.
            answered_at: by the API's clock, or before.
        """
        self._asked.discard(number)
        self.began_at = self.began_at or answered_at
        self.pass_began_at = self.pass_began_at or answered_at
        if not self.page_size and number == self.next_page:
            self.page_size = max(1, page.size)
            self.expected = page.count
            self.highest = page.count or 0
        elif page.count is not None:
            self.highest = max(self.highest, page.count)
        if page.size >= self.page_size and not page.last:  # a page follows, whatever the count says
            self.highest = max(self.highest, number * self.page_size + 1)
        if page.size == 0 or (page.count is None and page.last):
            self._end = number if self._end is None else min(self._end, number)
        self._waiting[number] = page

    def ends_early(self, number: int, page: Page) -> bool:
        """Whether a page says that the list ends before all rows that the API counted can have come."""
        counted = -(-self.highest // self.page_size) if self.page_size and self.expected is not None else 0
        return page.size == 0 and 1 < number <= counted and (self._end is None or number < self._end)

    def failed(self, number: int) -> None:
        """A page was not answered; it will be given out again."""
        self._asked.discard(number)

    @property
    def ready(self) -> int:
        """Number of pages that can be stored now, without a gap before them."""
        number = self.next_page
        while number in self._waiting:
            number += 1
        return number - self.next_page

    @property
    def outstanding(self) -> int:
        """Number of pages requested or answered, and not stored."""
        return len(self._asked) + len(self._waiting)

    def pop_ready(self) -> list[Page]:
        """The pages that can be stored now, in order; what they show counts as seen."""
        pages = []
        while (page := self._waiting.pop(self.next_page, None)) is not None:
            pages.append(page)
            self._see(self.next_page, page)
            self.next_page += 1
        return pages

    def finish_pass(self) -> None:
        """Decide, when all requested pages are stored, whether the pass and the walk are over.

        A new pass begins if the list was not seen completely.

        Raises:
            IncompleteWalk: if the last pass too saw fewer rows than the API counted.
        """
        if self.complete or self._asked or self._waiting or not self.page_size or self._pages_left():
            return
        if self._saw_all():
            self.complete = True
            return
        if self.pass_ == PASSES:
            raise IncompleteWalk(
                f"The list ended before all of it was seen: the API counted {self.expected} rows,"
                f" {len(self.seen | self.before)} came in {PASSES} passes."
            )
        self._begin_pass()

    def discard_pending(self) -> None:
        """Forget every page that is not stored: its slice is over."""
        self._asked.clear()
        self._waiting.clear()

    def fresh(self) -> tuple[list[str], list[str]]:
        """Ids seen since the last call: those that were there when the pass began, and newcomers."""
        seen, newcomers = self._fresh
        self._fresh = (set(), set())
        return list(seen), list(newcomers)

    def confirm(self, key: str) -> None:
        """A row that the walk did not show was requested by its id, whatever the answer."""
        self.seen.add(key)
        self._fresh[0].add(key)

    def all_seen(self) -> set[str]:
        """Every id that any pass has seen."""
        return self.seen | self.newcomers | self.before

    def _pages_left(self) -> bool:
        if self._end is not None and self.next_page > self._end:
            return False
        if self.expected is None:
            return self._end is None
        return self.next_page <= -(-self.highest // self.page_size)

    def _saw_all(self) -> bool:
        if self.expected is None:
            return True
        if self.next_page == 2:  # one answer shows one moment
            return len(self.seen | self.newcomers) >= self.expected
        return len(self.seen | self.before) >= self.expected

    def _begin_pass(self) -> None:
        self.pass_ += 1
        self.before |= self.seen | self.newcomers
        self.seen, self.newcomers = set(), set()
        self.pass_began_at = None
        self.next_page, self.page_size, self.expected, self.highest = 1, 0, None, 0
        self._end, self._pages_without_new_ids = None, 0

    def _see(self, number: int, page: Page) -> None:
        seen, newcomers = self._sorted(page.rows)
        nothing_new = self.seen.issuperset(seen) and self.newcomers.issuperset(newcomers)
        self._pages_without_new_ids = self._pages_without_new_ids + 1 if nothing_new else 0
        # the API counts rows without a usable id, too
        seen.extend(f"?{number}.{index}" for index in range(page.rejected))
        for all_, fresh, ids in zip((self.seen, self.newcomers), self._fresh, (seen, newcomers), strict=True):
            fresh.update(ids)
            all_.update(ids)
        if self._pages_without_new_ids == MAX_PAGES_WITHOUT_NEW_IDS:
            self._end = number

    def _sorted(self, rows: Iterable[Row]) -> tuple[list[str], list[str]]:
        """The ids of rows that were there when the pass began, and of those that may have come since.

        A row modified since may be an old one that entered the list just then, as an order does that leaves
        state 0. The API's clock has whole seconds: a row of the second in which the pass began may have been
        counted or not. Both count as newcomers, which costs another pass at worst.
        """
        began = self.pass_began_at.replace(microsecond=0) if self.pass_began_at else None
        seen: list[str] = []
        newcomers: list[str] = []
        for row in rows:
            new = began is not None and any(at is not None and at >= began for at in (row.created, row.modified))
            (newcomers if new else seen).append(str(row.key))
        return seen, newcomers


def restore(values: dict[str, Any], seen: Iterable[tuple[int, list[str], list[str]]]) -> Walk:
    """Restore a walk from its checkpoint.

    Args:
        values: the columns of `walks` that `Walk` has under the same names.
        seen: pass, ids and newcomers of each row of `walk_seen`.
    """
    walk = Walk(**values)
    for pass_, ids, newcomers in seen:
        if pass_ == walk.pass_:
            walk.seen.update(ids)
            walk.newcomers.update(newcomers)
        else:
            walk.before.update(ids, newcomers)
    # slices shorter than MAX_PAGES_WITHOUT_NEW_IDS detect a server that repeats itself, too
    surplus = walk.next_page - 1 - -(-len(walk.seen | walk.newcomers) // max(1, walk.page_size))
    walk._pages_without_new_ids = max(0, min(surplus, MAX_PAGES_WITHOUT_NEW_IDS - 1))
    return walk
