"""Events and spans of a process: what it did, how long that took, how it ended. Without a subscriber, nothing happens.

So the rest of the package imports no library for metrics or traces. No attribute names an organization, an account or a
person: attributes become labels of metrics and attributes of traces, which many people see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from backmarket.errors import BackMarketError

AttributeValue = str | int | float


@dataclass(slots=True)
class Span:
    """Something that takes time.

    Attributes:
        name: what: `task`, `api_request`, `download`, `store`.
        attributes: about it; more may be added until it ends.
        seconds: that it took; known at its end.
        error: code of the error that ended it, or its class if it is no `BackMarketError`; None: it ended well.
    """

    name: str
    attributes: dict[str, AttributeValue]
    seconds: float = 0.0
    error: str | None = None
    state: dict[object, Any] = field(default_factory=dict)
    """Where a subscriber keeps something for the span's duration, under itself as the key."""


class Subscriber(Protocol):
    """Called for every span and event, in the thread in which it happens. Must be quick, and raise nothing."""

    def on_start(self, span: Span) -> None:
        """A span starts."""
        ...

    def on_end(self, span: Span) -> None:
        """A span has ended, well or not."""
        ...

    def on_event(self, name: str, attributes: dict[str, AttributeValue]) -> None:
        """Something happened that takes no time."""
        ...


_subscribers: tuple[Subscriber, ...] = ()


def subscribe(subscriber: Subscriber) -> None:
    """Call a subscriber from now on; subscribing twice calls it once."""
    global _subscribers  # noqa: PLW0603 - of this process
    if subscriber not in _subscribers:
        _subscribers = (*_subscribers, subscriber)


def unsubscribe(subscriber: Subscriber) -> None:
    """Stop calling a subscriber."""
    global _subscribers  # noqa: PLW0603 - of this process
    _subscribers = tuple(each for each in _subscribers if each is not subscriber)


def emit(name: str, **attributes: AttributeValue) -> None:
    """Report an event: `slice`, `limiter_wait`, `limiter_denied`, `limiter_block`, `rows`."""
    for subscriber in _subscribers:
        subscriber.on_event(name, attributes)


@contextmanager
def span(name: str, **attributes: AttributeValue) -> Iterator[Span]:
    """Report what the `with` block does as a span (2 us without a subscriber)."""
    subscribers = _subscribers
    current = Span(name, attributes)
    if not subscribers:
        yield current
        return
    for subscriber in subscribers:
        subscriber.on_start(current)
    begun = perf_counter()
    try:
        yield current
    except BaseException as error:
        current.error = error.code if isinstance(error, BackMarketError) else type(error).__name__
        raise
    finally:
        current.seconds = perf_counter() - begun
        for subscriber in reversed(subscribers):
            subscriber.on_end(current)
