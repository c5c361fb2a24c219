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
    """As many different loopback ports that nobody listens on now.

    They lie below the range that the system takes the local ports of outgoing connections from. In that range
    a server that is down can't be restarted for sure: a client that keeps trying to reach it may be given the
    very port it calls, and be connected to itself.

    Somebody else may take a port before our server does, so whoever starts one tries again with others.
    """
    candidates = random.sample(range(_LOWEST, _highest()), 2000)
    ports: list[int] = []
    with ExitStack() as held:  # held together, so that none is given twice
        while len(ports) < count:
            port = candidates.pop()
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind((LOOPBACK, port))
                ports.append(port)
    return ports


def free_port(wanted: int) -> int:
    """This loopback port if nobody has it, and another one otherwise; 0: any."""
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
