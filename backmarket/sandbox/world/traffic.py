"""The sandbox's traffic: counters by seller, operation and page, and a log of the last requests."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

LOG_LENGTH: Final = 50_000
"""Maximum number of requests in the log."""


@dataclass(slots=True)
class Entry:
    """One request. `arrival`: the server's monotonic clock, in seconds; status 0: no answer (yet); `label`: path of the
    requested label.
    """

    seller: str
    operation: str
    page: int | None
    arrival: float
    query: dict[str, str]
    status: int = 0
    fault: str | None = None
    label: str = ""


@dataclass(slots=True)
class Tally:
    """The counters of one seller."""

    requests: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    pages: dict[str, Counter[int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class Traffic:
    """All requests since the start or the last reset."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.log: deque[Entry] = deque(maxlen=LOG_LENGTH)
        self.in_flight = 0
        self.in_flight_maximum = 0

    def arrive(
        self, seller: str, operation: str, page: int | None, arrival: float, query: dict[str, str], label: str = ""
    ) -> Entry:
        """Count a request as it arrives; a label's request with its path."""
        tally = self.tallies.get(seller)
        if tally is None:
            tally = self.tallies[seller] = Tally()
        tally.requests += 1
        tally.operations[operation] += 1
        if page is not None:
            tally.pages.setdefault(operation, Counter())[page] += 1
        if label:
            tally.labels[label] += 1
        entry = Entry(seller, operation, page, arrival, query, label=label)
        self.log.append(entry)
        return entry

    def answered(self, entry: Entry, status: int, fault: str | None) -> None:
        """Record a request's result; status 0: it got no answer."""
        entry.status, entry.fault = status, fault
        tally = self.tallies.setdefault(entry.seller, Tally())
        tally.statuses[status] += 1
        if fault is not None:
            tally.faults[fault] += 1

    def enter(self) -> None:
        """Count one more request in flight."""
        self.in_flight += 1
        self.in_flight_maximum = max(self.in_flight_maximum, self.in_flight)

    def leave(self) -> None:
        """Count one request less in flight."""
        self.in_flight -= 1

    def reset(self) -> None:
        """Forget everything but the requests in flight."""
        self.tallies.clear()
        self.log.clear()
        self.in_flight_maximum = self.in_flight
