"""Server-sent events: tell browsers what changes, with one follower of the change feed for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from threading import Event, Thread

from backmarket.console.access.users import Person
from backmarket.errors import BackMarketError
from backmarket.facade import BackMarket
from backmarket.observability.logs import Logger

READERS = 200
"""Maximum number of pages that follow at once."""
READERS_OF_A_PERSON = 20
"""Maximum number of one person's pages that follow at once."""
STREAM_SECONDS = 300.0
"""Seconds after which a browser has to connect and authenticate again."""
BREATH_SECONDS = 15.0
"""Seconds between two keep-alive comments; proxies close silent connections."""
PAUSE_SECONDS = 1.0
"""Minimum seconds between two messages: changes in between are sent together."""
AGAIN_SECONDS = 5.0
"""Seconds until following the feed is retried after an error."""

log = Logger(__name__)


class EventStream:
    """Follows the change feed from the first reader on.

    Args:
        bm: the object whose feed is followed.
    """

    def __init__(self, bm: BackMarket) -> None:
        self._bm = bm
        self._stop = Event()
        self._closing = asyncio.Event()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers: set[_Reader] = set()

    async def follow(self, person: Person, *, seconds: float = STREAM_SECONDS) -> AsyncGenerator[str, None]:
        """Server-sent events for one page; none, if too many pages follow already.

        Args:
            person: the user who sees it.
            seconds: time after which the stream ends.
        """
        of_person = sum(each.person == person for each in self._readers)
        if len(self._readers) >= READERS or of_person >= READERS_OF_A_PERSON:
            return
        self._begin()
        reader = _Reader(person)
        self._readers.add(reader)
        until = asyncio.get_running_loop().time() + seconds
        try:
            yield "retry: 3000\n: following\n\n"
            while not self._closing.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.news.wait(), min(left, BREATH_SECONDS))
                if self._closing.is_set():
                    return
                yield reader.take()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._readers.discard(reader)

    def end(self) -> None:
        """End all streams and the follower: within half a second."""
        self._stop.set()
        self._closing.set()
        for reader in self._readers:
            reader.news.set()

    def wait_ended(self) -> None:
        """Wait for the follower's thread."""
        if self._thread is not None:
            self._thread.join(10)

    def _begin(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._loop = asyncio.get_running_loop()
            self._thread = Thread(target=self._run, name="console-events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        """Follow the feed in a separate thread: it blocks."""
        while not self._stop.is_set():
            try:
                for change in self._bm.watch(stop=self._stop):
                    self._tell(change.organization_id)
            except BackMarketError as error:  # only at the beginning; later the feed reconnects by itself
                log.warning("console.events_failed", code=error.code, error=error.message)
            self._stop.wait(AGAIN_SECONDS)

    def _tell(self, organization_id: str) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._note, organization_id)

    def _note(self, organization_id: str) -> None:
        for reader in self._readers:
            reader.note(organization_id)


class _Reader:
    """One page, and the changes not sent to it yet."""

    MOST = 100
    """Maximum number of organizations that an event names; beyond it, the event says that there are more."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.news = asyncio.Event()
        self._organizations: set[str] = set()
        self._changes = 0

    def note(self, organization_id: str) -> None:
        self._changes += 1
        if len(self._organizations) < self.MOST:
            self._organizations.add(organization_id)
        self.news.set()

    def take(self) -> str:
        """The pending changes as an event; without changes, a comment."""
        if not self.news.is_set():
            return ": alive\n\n"
        told = {"changes": self._changes, "organizations": sorted(self._organizations)}
        self.news.clear()
        self._organizations.clear()
        self._changes = 0
        return f"event: change\ndata: {json.dumps(told)}\n\n"
