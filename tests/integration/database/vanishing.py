"""A PostgreSQL that is reached by TCP, for a program that takes the network away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict

from backmarket.database import Database
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.postgres import ROLE


@contextmanager
def served_by_tcp() -> Iterator[Database]:
    """A server of its own behind a port of this machine."""
    with Stack() as stack:
        at = conninfo_to_dict(stack.addresses.database_url)
        path = f"{at['host']}/.s.PGSQL.{at['port']}"
        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=_serve, args=(listening, path), daemon=True).start()
            port = listening.getsockname()[1]
            yield Database(f"postgresql://{ROLE}@127.0.0.1:{port}/postgres", size=8)


def _serve(listening: socket.socket, path: str) -> None:
    with suppress(OSError):  # closed: the program is over
        while True:
            outside, _ = listening.accept()
            inside = socket.socket(socket.AF_UNIX)
            inside.connect(path)
            for pair in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # one side is gone
        while read := source.recv(65536):
            sink.sendall(read)
