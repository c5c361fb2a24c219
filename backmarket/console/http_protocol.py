"""The console's HTTP connections, bounded: how many there are, and how long a client may take with a request.

uvicorn itself waits for ever for a connection's first request, for the rest of a request's head and body, and for a
client that does not read its answer.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""Seconds for a request to arrive, from the connection or from its first byte; more for a large body."""
MIN_BODY_BYTES_A_SECOND = 16 * 1024
"""Slowest arrival of a large body, in bytes a second."""
LINGER_SECONDS = 5.0
"""Seconds for which a closing connection, or the rest of an unread body, is kept."""
IDLE_SECONDS = 75
"""Seconds for which a connection is kept without a further request, or with an answer that its client does not read."""
MAX_CONNECTIONS = 400
"""Maximum number of connections: a process usually has 1,024 file descriptors."""
MAX_HEAD_BYTES = 32 * 1024
"""Maximum size of a request's head, in bytes."""

_numbers = count()
"""Of the connections, in the order in which they came: the clock of the event loop has milliseconds."""


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, with a deadline for whatever the client has to do next."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._number = next(_numbers)
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first request. Of too many connections, drop the one whose client has waited longest to send."""
        super().connection_made(transport)
        self._expect(REQUEST_SECONDS)
        if len(self.connections) > MAX_CONNECTIONS:
            others = (each for each in self.connections if isinstance(each, BoundedProtocol) and not each._is_answering)
            min(others, key=lambda each: (each._deadline, each._number), default=self)._drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._stop_timer()
        elif self._timer is None:
            self._expect(REQUEST_SECONDS)
        elif self._is_answering:
            self._deadline += len(data) / MIN_BODY_BYTES_A_SECOND

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; while an earlier part of it is being answered, end the connection without a word."""
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Expect the next request, or the end of the connection."""
        is_unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if is_unread:
            self._expect(LINGER_SECONDS)
        elif self.transport.is_closing():
            self._expect(IDLE_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its client does not read the last answer."""
        super().timeout_keep_alive_handler()
        self._expect(LINGER_SECONDS)

    def pause_writing(self) -> None:
        """Expect the client to read."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(IDLE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_unread_timer()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _drop(self) -> None:
        self.connections.discard(self)  # now: the next one that comes in this turn of the event loop drops another
        self.transport.abort()

    def _expect(self, seconds: float) -> None:
        self._stop_timer()
        self._deadline = self.loop.time() + seconds
        self._timer = self.loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        if self.flow.read_paused:  # the console itself is not reading
            self._expect(REQUEST_SECONDS)
        elif self.loop.time() < self._deadline:  # it was extended
            self._timer = self.loop.call_at(self._deadline, self._check)
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
