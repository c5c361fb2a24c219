"""Connections to exactly the address that was checked.

A name is resolved once for a connection; all of its addresses are checked, and one of them is used. So the name cannot
change to another address in between. TLS is still verified against the name, and a kept connection belongs to that
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from time import monotonic

from backmarket.client.deadline import Clock, Resolver, TimedBackend, resolve
from backmarket.client.origins import is_public

KEEP_NAMES = 5.0
"""Seconds that the addresses of a name are cached; a new connection after that resolves it again."""


class AddressRefused(Exception):
    """One of a name's addresses is not public."""


class Names:
    """The addresses of names, cached for some seconds; safe to share between threads.

    Args:
        resolver: finds them.
    """

    def __init__(self, resolver: Resolver = resolve) -> None:
        self._resolver = resolver
        self._lock = Lock()
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """All of a name's addresses.

        Raises:
            OSError: if there are none, or they cannot be resolved now.
        """
        with self._lock:
            until, known = self._known.get(name, (0.0, ()))
        if monotonic() < until:
            return known
        found = tuple(self._resolver(name))
        if not found:
            raise OSError("the name has no address")
        with self._lock:
            self._known[name] = (monotonic() + KEEP_NAMES, found)
        return found


class Pinned(TimedBackend):
    """Opens connections to checked addresses; raises `AddressRefused` for a forbidden one.

    Args:
        names: resolves.
        clock: limits every wait.
        public: whether every address of a name must be public.
    """

    def __init__(self, names: Names, clock: Clock, *, public: bool) -> None:
        super().__init__(self._checked, clock)
        self._names = names
        self._public = public

    def _checked(self, name: str) -> Sequence[str]:
        addresses = self._names.addresses(name)
        if self._public and not all(map(is_public, addresses)):
            raise AddressRefused
        return addresses
