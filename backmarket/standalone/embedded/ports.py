"""Free loopback ports."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """The given number of different loopback ports on which no process listens now.

    They are below the range from which the system takes the local ports of outgoing connections. In that range, a
    restart of a stopped server may fail: a client that keeps trying to reach it may be given the very port it calls,
    and be connected to itself.

    Another process may take a port before our server does, so the caller that starts a server retries with other ports.
    """
    candidates = random.sample(range(_LOWEST, _highest()), 2000)
    ports: list[int] = []
    with ExitStack() as held:  # held together, so that no port is returned twice
        while len(ports) < count:
            port = candidates.pop()
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind((LOOPBACK, port))
                ports.append(port)
    return ports


def free_port(wanted: int) -> int:
    """This loopback port if it is free, otherwise another one; 0: any."""
    with suppress(OSError), socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted:
            listener.bind((LOOPBACK, wanted))
            return wanted
    return free_ports(1)[0]


def _highest() -> int:
    """One more than the highest port to choose from."""
    with suppress(OSError, ValueError):
        lowest_ephemeral = int(_EPHEMERAL_RANGE.read_text().split()[0])
        if lowest_ephemeral >= _LOWEST + 5000:
            return lowest_ephemeral
    return 32_768
