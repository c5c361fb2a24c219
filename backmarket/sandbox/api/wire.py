"""How answers are sent, including those that never arrive completely.

ASGI has no way to break a connection. `SandboxProtocol` therefore hands the transport to the application, in
the scope's `extensions`; a fault that breaks a connection uses that transport, then waits until the server
has noticed, so that it does not answer 500 instead. Without a transport (an in-process test client) the same
faults raise `ConnectionResetError`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backmarket.sandbox.api.responses import Answer, Headers
from backmarket.sandbox.world.fault_rules import Fault

EXTENSION: Final = "backmarket.sandbox.transport"

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends RST."""

_DRIPS: Final = 20


class SandboxProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which gives the application its transport."""

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"transport": self.transport}}


def http_date(timestamp: float) -> bytes:
    """A `Date` header's value for a POSIX timestamp in seconds."""
    return formatdate(timestamp, usegmt=True).encode()


async def deliver(answer: Answer, headers: Headers, send: Send) -> None:
    """Send a complete answer."""
    await _start(answer, headers, len(answer.body), send)
    await send({"type": "http.response.body", "body": answer.body})


async def withhold(fault: Fault, scope: Scope, receive: Receive) -> None:
    """Give no answer: `timeout` lets the caller wait first, `reset` sends RST, `close` only closes."""
    if fault.kind == "timeout":
        await _wait_for_the_end(receive, fault.seconds)
    transport = _transport(scope)
    if fault.kind == "reset":
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError, ValueError):  # the caller is gone, so its descriptor is closed
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
    await _wait_for_the_end(receive, 5.0)


async def cut(answer: Answer, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
    """Announce the full length, send half of the body, close."""
    await _start(answer, headers, len(answer.body) + 1, send)
    await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
    _transport(scope).close()
    await _wait_for_the_end(receive, 5.0)


async def drip(answer: Answer, headers: Headers, seconds: float, send: Send) -> None:
    """Send the body in small chunks, over some seconds."""
    await _start(answer, headers, len(answer.body), send)
    size = max(1, -(-len(answer.body) // _DRIPS))
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(seconds / _DRIPS)
        part = answer.body[start : start + size]
        await send({"type": "http.response.body", "body": part, "more_body": start + size < len(answer.body)})
    if not answer.body:
        await send({"type": "http.response.body", "body": b""})


async def pour(pieces: Iterable[bytes], size: int, headers: Headers, send: Send) -> None:
    """Send a PDF of the given size, in chunks."""
    await _start(Answer(200, b"", b"application/pdf"), headers, size, send)
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _start(answer: Answer, headers: Headers, length: int, send: Send) -> None:
    typed = ((b"content-type", answer.content_type),) if answer.content_type else ()
    first = (*typed, (b"content-length", str(length).encode()))
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*first, *headers, *answer.headers],
        }
    )


def _transport(scope: Scope) -> Any:
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        raise ConnectionResetError("the sandbox broke the connection on purpose")
    return extension["transport"]


async def _wait_for_the_end(receive: Receive, seconds: float) -> None:
    """Return when the caller is gone, or after the given seconds."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
