"""Following the change feed: one connection that waits for announcements, and comes back where it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from threading import Event
from time import monotonic

from backmarket.changes.feed import CHANNEL, NOW, Change, ChangeFilter, Changes, get_changes, read
from backmarket.database import Database, Listener
from backmarket.errors import DatabaseUnavailable, InvalidArgument
from backmarket.limits import backoff
from backmarket.observability.logs import Logger

MAX_RECONNECT_PAUSE_SECONDS = 5.0
"""Maximum pause between two tries to reach PostgreSQL again."""

log = Logger(__name__)


def watch(
    database: Database,
    after: str | None = NOW,
    where: ChangeFilter | None = None,
    *,
    timeout: float | None = None,
    poll: float = 5.0,
    stop: Event | None = None,
) -> Iterator[Change]:
    """Follow the feed: each event once, in order, for as long as it is iterated.

    Holds one connection of its own. Where that is lost, or PostgreSQL is away, it comes back by itself and goes on
    behind the last event that it gave.

    Args:
        after: a cursor; `now`: from here on; None: from the oldest event that is kept.
        where: a filter; None: all events.
        timeout: seconds without an event after which it ends; None: never.
        poll: seconds between two looks, where no announcement is heard.
        stop: ends it within half a second when set, for the thread that another one runs it in.

    Raises:
        InvalidArgument: if the cursor or a figure is invalid; at the call.
        ChangesMissed: if events after the cursor were dropped, or may have been lost in a failover.
        DatabaseUnavailable: if PostgreSQL is away at the call; later it is waited for.
    """
    if poll <= 0 or (timeout is not None and timeout < 0):
        raise InvalidArgument("poll must be more than 0 seconds, and timeout 0 or more.")
    where = where or ChangeFilter()
    start = get_changes(database, after, where, limit=1)
    cursor = start.next_cursor if after == NOW else after
    return _Follower(database, cursor, where, poll, stop or Event()).follow(timeout)


class _Follower:
    """One iteration over the feed, and the connection that it holds."""

    def __init__(self, database: Database, cursor: str | None, where: ChangeFilter, poll: float, stop: Event) -> None:
        self._database = database
        self._cursor = cursor
        self._where = where
        self._poll = poll
        self._stop = stop
        self._listener: Listener | None = None
        self._failures = 0

    def follow(self, timeout: float | None) -> Iterator[Change]:
        with closing(self):
            quiet_since = monotonic()
            while not self._stop.is_set():
                page = self._read()
                if page is not None:
                    for change in page:
                        yield change
                        quiet_since = monotonic()
                        if self._stop.is_set():
                            return
                    self._cursor = page.next_cursor
                    if page.more:
                        continue
                left = self._poll if timeout is None else quiet_since + timeout - monotonic()
                if left <= 0:
                    return
                if page is None:
                    pause = backoff.between_tries(self._failures, 0.2, MAX_RECONNECT_PAUSE_SECONDS)
                    self._stop.wait(min(left, pause))
                else:
                    self._wait(min(left, self._poll))

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _read(self) -> Changes | None:
        """The next events; None: PostgreSQL is away."""
        try:
            if self._listener is None:
                self._listener = self._database.listen(CHANNEL)
            with self._listener.transaction() as transaction:
                page = read(transaction, self._cursor, self._where, 1000)
        except DatabaseUnavailable as error:
            self._lost(error)
            return None
        if self._failures:
            log.info("changes.following_again", failures=self._failures)
            self._failures = 0
        return page

    def _wait(self, seconds: float) -> None:
        """Until an announcement, a loss of the connection, the stop, or so many seconds later."""
        until = monotonic() + seconds
        try:
            while self._listener is not None and not self._stop.is_set() and (left := until - monotonic()) > 0:
                if self._listener.wait(min(left, 0.5)):
                    return
        except DatabaseUnavailable as error:
            self._lost(error)

    def _lost(self, error: DatabaseUnavailable) -> None:
        self.close()
        if not self._failures:
            log.warning("changes.connection_lost", code=error.code, error=error.message)
        self._failures += 1
