"""The counters of a sandbox as one value, which the control API sends and its client reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from backmarket.sandbox.world.world import World


class SellerStats(msgspec.Struct, kw_only=True):
    """The requests with one seller's token. Requests that got no answer have status 0."""

    requests: int = 0
    operations: dict[str, int] = {}
    pages: dict[str, dict[int, int]] = {}
    labels: dict[str, int] = {}
    """Number of requests of each label, by its path."""
    statuses: dict[int, int] = {}
    faults: dict[str, int] = {}
    violations: int = 0
    """Requests over the limit: as many others as it allows had arrived in the window before."""
    sensitive_violations: int = 0
    sku_lines: int = 0
    """SKU lines accepted for processing."""
    sku_lines_refused: int = 0
    """Bulk files and single updates refused because of the hourly limit."""


class FaultStats(msgspec.Struct, kw_only=True):
    """An active rule: number of requests that matched it, and that suffered."""

    number: int
    kind: str
    seen: int
    struck: int


class Stats(msgspec.Struct, kw_only=True):
    """Everything counted since the start or the last reset."""

    requests: int
    in_flight: int
    """Requests in flight."""
    in_flight_maximum: int
    waiting_changes: int
    sellers: dict[str, SellerStats]
    """Sellers by name; requests with an unknown token are under `unknown`."""
    address_violations: dict[str, int]
    faults: list[FaultStats]

    @property
    def violations(self) -> int:
        """The sum over all sellers."""
        return sum(seller.violations for seller in self.sellers.values())

    def count(self, operation: str, seller: str | None = None) -> int:
        """Requests of one operation, by one seller or all."""
        chosen = self.sellers.values() if seller is None else [self.sellers.get(seller, SellerStats())]
        return sum(one.operations.get(operation, 0) for one in chosen)


def statistics(world: World) -> Stats:
    """The counters as they are now."""
    violations = world.limits.violations("account")
    sensitive = world.limits.violations("account", sensitive=True)
    sellers = {
        name: SellerStats(
            requests=tally.requests,
            operations=dict(tally.operations),
            pages={operation: dict(pages) for operation, pages in tally.pages.items()},
            labels=dict(tally.labels),
            statuses=dict(tally.statuses),
            faults=dict(tally.faults),
            violations=violations.get(name, 0),
            sensitive_violations=sensitive.get(name, 0),
            sku_lines=world.sellers[name].sku_ledger.lines if name in world.sellers else 0,
            sku_lines_refused=world.sellers[name].sku_ledger.refused if name in world.sellers else 0,
        )
        for name, tally in world.traffic.tallies.items()
    }
    return Stats(
        requests=sum(seller.requests for seller in sellers.values()),
        in_flight=world.traffic.in_flight,
        in_flight_maximum=world.traffic.in_flight_maximum,
        waiting_changes=len(world.schedule),
        sellers=sellers,
        address_violations=world.limits.violations("address"),
        faults=[
            FaultStats(number=rule.number, kind=rule.fault.kind, seen=rule.seen, struck=rule.struck)
            for rule in world.faults.rules
        ],
    )
