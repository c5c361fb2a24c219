"""What a process tells whoever watches it: what it did, how long that took, how it ended. By default nobody watches.

So the rest of the package knows no library for metrics or traces. No fact names an organization, an account or a
person: facts become labels of metrics and attributes of traces, which many people see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from backmarket.errors import BackMarketError

Fact = str | int | float


@dataclass(slots=True)
class Span:
    """Something that takes time.

    Attributes:
        name: what: `task`, `api_request`, `download`, `store`.
        facts: about it; more may be added until it ends.
        seconds: that it took; known at its end.
        error: the code of the error that ended it, or its class where it is none of ours; None: it ended well.
    """

    name: str
    facts: dict[str, Fact]
    seconds: float = 0.0
    error: str | None = None
    kept: dict[object, Any] = field(default_factory=dict)
    """What a watcher keeps with it, under itself."""


class Watcher(Protocol):
    """Told of everything, in the thread in which it happens. Must be quick, and raise nothing."""

    def began(self, span: Span) -> None:
        """Something begins."""
        ...

    def ended(self, span: Span) -> None:
        """It ended, well or not."""
        ...

    def told(self, name: str, facts: dict[str, Fact]) -> None:
        """Something happened that takes no time."""
        ...


_watchers: tuple[Watcher, ...] = ()


def watch(watcher: Watcher) -> None:
    """Tell a watcher of everything from now on; one that watches already is told once."""
    global _watchers  # noqa: PLW0603 - of this process
    if watcher not in _watchers:
        _watchers = (*_watchers, watcher)


def ignore(watcher: Watcher) -> None:
    """Tell a watcher nothing more."""
    global _watchers  # noqa: PLW0603 - of this process
    _watchers = tuple(each for each in _watchers if each is not watcher)


def tell(name: str, **facts: Fact) -> None:
    """Something happened: `slice`, `limiter_wait`, `limiter_denied`, `limiter_block`, `rows`."""
    for watcher in _watchers:
        watcher.told(name, facts)


@contextmanager
def span(name: str, **facts: Fact) -> Iterator[Span]:
    """Tell of what happens within the `with` block (2 us where nobody watches)."""
    watchers = _watchers
    current = Span(name, facts)
    if not watchers:
        yield current
        return
    for watcher in watchers:
        watcher.began(current)
    begun = perf_counter()
    try:
        yield current
    except BaseException as error:
        current.error = error.code if isinstance(error, BackMarketError) else type(error).__name__
        raise
    finally:
        current.seconds = perf_counter() - begun
        for watcher in reversed(watchers):
            watcher.ended(current)
