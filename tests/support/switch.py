"""One address before several servers, as a failover moves it."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Thread
from types import TracebackType

LOOPBACK = "127.0.0.1"


class Switch:
    """Leads each new connection to one server, and leaves those alone that lead to another.

    Args:
        port: of the first server, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        """The port that new connections are led to."""
        self.accepted = 0
        """Connections so far."""
        self._listener = socket.create_server((LOOPBACK, 0))
        self._open: list[socket.socket] = [self._listener]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Switch:
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes its thread; close alone would not
            each.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(client)
                try:
                    server = socket.create_connection((LOOPBACK, self.target))
                except OSError:
                    client.close()
                    continue
                self._open.append(server)
                Thread(target=_pump, args=(client, server), daemon=True).start()
                Thread(target=_pump, args=(server, client), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while read := source.recv(65536):
            sink.sendall(read)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
