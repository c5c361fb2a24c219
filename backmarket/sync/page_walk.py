"""A walk over a paged list, as pure state: which page to request next, and when the walk is complete. It never sends.

Rows shift between pages while a walk runs. A row that leaves the list pulls its successors to the page before,
and the row that moves to a page already read is not shown. So a pass over the list counts only rows
that were there when it began; if it saw fewer than the API then counted, something may have been skipped, and the
list is walked again; from the second pass on, rows seen in any pass count. When rows appear at the front, the rest
shifts back: rows are seen twice, which is harmless.

The ids that a walk has seen are kept in PostgreSQL (`seen_ids.py`). A walk holds those since its last checkpoint, and
is told the counts when a pass is over (docs/decisions/0019).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Literal

from backmarket.errors import IncompleteWalk
from backmarket.resources import Page

WalkKind = Literal["full", "incremental"]

PASSES = 3
"""Maximum passes over a list whose rows shift; then the walk fails and is retried later."""

MAX_PAGES_WITHOUT_NEW_IDS = 20
"""Pages in a row whose ids the pages before them have all shown, after which a pass ends: the server repeats itself."""

MIN_PAGES_REPEATED = 16
"""Pages from which on, whenever their number has doubled, a pass ends if half of the rows shown were repetitions."""

RECHECKED_PAGES = 8
RECHECKED_SHARE = 64
"""A second pass that only checks ends or becomes a whole one after so many pages, and after one of so many pages."""


@dataclass(frozen=True, slots=True)
class SeenCounts:
    """How many distinct ids a walk has seen.

    Attributes:
        seen: in this pass, of rows that were there when it began.
        old: in this pass, of those and of rows modified since that were created before.
        shown: in this pass, of all rows.
        known: those of `seen`, and every id of earlier passes.
    """

    seen: int
    old: int
    shown: int
    known: int


@dataclass(slots=True)
class SeenIds:
    """Ids that a pass has seen.

    Attributes:
        ids: of rows that were there when it began.
        modified: of rows created before it began, and modified since: they may have been there, or not.
        newcomers: of rows that appeared since, or may have.
    """

    ids: set[str] = field(default_factory=set)
    modified: set[str] = field(default_factory=set)
    newcomers: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.ids or self.modified or self.newcomers)

    def clear(self) -> None:
        """Forget all."""
        self.ids.clear()
        self.modified.clear()
        self.newcomers.clear()

    def counts(self) -> SeenCounts:
        """The counts of a walk that has seen nothing else."""
        old = self.ids | self.modified
        return SeenCounts(len(self.ids), len(old), len(old | self.newcomers), len(self.ids))


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
        complete: every page was stored, and the list was seen completely.
        saves: number of its checkpoints; 0: `walks` has no row for it.
        counted: the highest count in any pass; None: the API has not said.
        steady: no row is known to have left the list since the walk began. The second pass of such a walk only checks:
            it ends as soon as the rows that the API counts were seen.
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
    complete: bool = False
    saves: int = 0
    counted: int | None = None
    steady: bool = True

    _waiting: dict[int, Page] = field(default_factory=dict)
    _asked: dict[int, int] = field(default_factory=dict)
    """Pages requested and not answered; and `counted` at that time, below which no answer counts if no row leaves."""
    _end: int | None = None
    """Number of this pass's last page, once an answer has shown it."""
    _pages_without_new_ids: int = 0
    """Pages stored in a row without a new id."""
    _recent: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=MAX_PAGES_WITHOUT_NEW_IDS))
    """The ids of the last pages."""
    _doublings: int = 0
    """How often the number of stored pages had doubled when repetitions were last looked for."""
    unsaved: SeenIds = field(default_factory=SeenIds)
    """Ids seen since the last checkpoint, all in this pass; the checkpoint clears them."""

    def __post_init__(self) -> None:
        self._doublings = (self.next_page - 1).bit_length()

    def next_pages(self, room: int) -> list[int]:
        """The next pages to request, lowest first; each is given out once.

        Args:
            room: maximum number of pages.
        """
        if self.complete or room <= 0:
            return []
        if not self.page_size or self.expected is None or self.rechecking:  # the first page tells how many there are
            last = self.next_page
        else:
            last = max(1, -(-self.highest // self.page_size))
        if self._end is not None:
            last = min(last, self._end)
        last = max(last, *self._waiting, 0)  # pages beyond the end wait for those before them
        taken = self._asked.keys() | self._waiting.keys()
        free = (page for page in range(self.next_page, last + 1) if page not in taken)
        pages = list(islice(free, room))
        self._asked.update(dict.fromkeys(pages, self.counted or 0))
        return pages

    def received(self, number: int, page: Page, answered_at: datetime) -> None:
        """A page was answered.

        Args:
            number: of the page, from 1.
            page: an empty one where the API said that there is no such page.
            answered_at: by the API's clock, or before.
        """
        counted = self._asked.pop(number, 0)
        self.began_at = self.began_at or answered_at
        self.pass_began_at = self.pass_began_at or answered_at
        if not self.page_size and number == self.next_page:
            self.page_size = max(1, page.size)
            self.expected = page.count
            self.highest = page.count or 0
        elif page.count is not None:
            self.highest = max(self.highest, page.count)
        if page.count is not None:
            self.steady = self.steady and page.count >= counted
            self.counted = max(self.counted or 0, page.count)
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
        self._asked.pop(number, None)

    @property
    def ready(self) -> int:
        """Number of pages that can be stored now, without a gap before them."""
        number = self.next_page
        while number in self._waiting:
            number += 1
        return number - self.next_page

    @property
    def goes_on(self) -> bool:
        """Whether pages are requested and not answered: whatever is stored, this pass is not over."""
        return bool(self._asked)

    @property
    def rechecking(self) -> bool:
        """Whether this pass only checks, page by page, that no row was skipped."""
        return self.steady and self.pass_ > 1

    @property
    def outstanding(self) -> int:
        """Number of pages requested or answered, and not stored."""
        return len(self._asked) + len(self._waiting)

    def ready_pages(self) -> list[Page]:
        """The pages that `pop_ready` would return now; changes nothing."""
        return [self._waiting[number] for number in range(self.next_page, self.next_page + self.ready)]

    def pop_ready(self) -> list[Page]:
        """The pages that can be stored now, in order; what they show counts as seen."""
        pages = []
        while (page := self._waiting.pop(self.next_page, None)) is not None:
            pages.append(page)
            self._see(self.next_page, page)
            self.next_page += 1
        return pages

    def finish_pass(self, count: Callable[[], SeenCounts]) -> None:
        """Decide, when all requested pages are stored, whether the pass and the walk are over.

        A new pass begins if the list was not seen completely.

        Args:
            count: counts the ids seen so far; called only when a decision needs it.

        Raises:
            IncompleteWalk: if the last pass too saw fewer rows than the API counted.
        """
        if self.complete or self._asked or self._waiting or not self.page_size:
            return
        if self._pages_left() and not self.rechecking and not self._repeats(count):
            return
        seen = count()
        if self._saw_all(seen):
            self.complete = True
        elif self.rechecking and self._pages_left():
            pages = self.highest // self.page_size
            self.steady = self.next_page <= min(RECHECKED_PAGES, pages // RECHECKED_SHARE)
        elif self.pass_ == PASSES:
            raise IncompleteWalk(
                f"The list ended before all of it was seen: the API counted {self.expected} rows,"
                f" {seen.known} came in {PASSES} passes."
            )
        else:
            self._begin_pass(steady=self.steady and self.pass_ == 1 and seen.old >= (self.expected or 0))

    def discard_pending(self) -> None:
        """Forget every page that is not stored: its slice is over."""
        self._asked.clear()
        self._waiting.clear()

    def confirm(self, key: str) -> None:
        """A row that the walk did not show was requested by its id, whatever the answer."""
        self.unsaved.ids.add(key)

    def _pages_left(self) -> bool:
        if self._end is not None and self.next_page > self._end:
            return False
        if self.expected is None:
            return self._end is None
        return self.next_page <= -(-self.highest // self.page_size)

    def _saw_all(self, seen: SeenCounts) -> bool:
        if self.expected is None:
            return True
        if self.next_page == 2 and seen.shown >= self.expected:  # one answer shows one moment
            return True
        return seen.known >= self.expected

    def _repeats(self, count: Callable[[], SeenCounts]) -> bool:
        """Whether the server repeats more pages than are compared one by one; then the pass ends."""
        stored = self.next_page - 1
        doublings = stored.bit_length()
        if doublings == self._doublings or stored < MIN_PAGES_REPEATED:
            return False
        self._doublings = doublings
        if 2 * count().shown > stored * self.page_size:
            return False
        self._end = stored
        return True

    def _begin_pass(self, *, steady: bool) -> None:
        self.pass_ += 1
        self.steady = steady
        self.pass_began_at = None
        self.next_page, self.page_size, self.expected, self.highest = 1, 0, None, 0
        self._end, self._pages_without_new_ids, self._doublings = None, 0, 0
        self._recent.clear()

    def _see(self, number: int, page: Page) -> None:
        seen = self._sorted(page)
        ids = seen.ids | seen.modified | seen.newcomers
        nothing_new = ids.issubset(chain.from_iterable(self._recent))
        self._pages_without_new_ids = self._pages_without_new_ids + 1 if nothing_new else 0
        self._recent.append(frozenset(ids))
        # the API counts rows without a usable id, too
        self.unsaved.ids.update(seen.ids, (f"?{number}.{index}" for index in range(page.rejected)))
        self.unsaved.modified |= seen.modified
        self.unsaved.newcomers |= seen.newcomers
        if self._pages_without_new_ids == MAX_PAGES_WITHOUT_NEW_IDS:
            self._end = number

    def _sorted(self, page: Page) -> SeenIds:
        """The ids of a page's rows, by whether they were there when the pass began.

        A row modified since may be an old one that entered the list just then, as an order does that leaves
        state 0. The API's clock has whole seconds: a row of the second in which the pass began may have been
        counted or not. Neither counts as seen by this pass.
        """
        seen = SeenIds()
        began = self.pass_began_at.replace(microsecond=0) if self.pass_began_at else None
        for row in page.rows:
            kind = seen.ids
            if began is not None and row.modified is not None and row.modified >= began:
                kind = seen.newcomers if row.created is None else seen.modified
            if began is not None and row.created is not None and row.created >= began:
                kind = seen.newcomers
            kind.add(str(row.key))
        return seen
