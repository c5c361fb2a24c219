"""The demo's checks: the tables, read through `BackMarket`, against the sandbox's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from time import monotonic, sleep
from typing import Any, TypeVar

from backmarket.database import Database
from backmarket.errors import BackMarketError, BulkFileRefused
from backmarket.facade import BackMarket
from backmarket.queries.pagination import Page
from backmarket.resources import RESOURCE_NAMES
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.sandbox.control.client import SandboxControl
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.standalone.demo.sellers import ALIVE, DEAD, SELLERS, SHIPS_ALONE

TOTALS = ("orders", "listings", "deliveries", "returns")
"""Tables whose rows the progress bars count."""
FOR_ALL = ("orders", "listings")
"""Resources that a seller without BackShip has, too."""
BULK_LINES = 300
"""Lines of the submitted file."""
WAIT = 180.0
"""Seconds that a requested sync may take; on an idle machine it takes less than one."""

T = TypeVar("T")


class DemoFailed(BackMarketError):
    """A check of the demo failed."""

    code = "demo"


@dataclass(frozen=True, slots=True)
class Row:
    """A seller's line in the report; `stored` in the order of `COPIES`."""

    seller: str
    stored: tuple[int, ...]
    requests: int
    faults: int
    seconds: float | None
    health: str


@dataclass(frozen=True, slots=True)
class Shops:
    """What the checks read.

    Attributes:
        market: the object that a host application uses.
        database: for reads that `market` does not offer.
        sandbox: the API's data, and counters of its requests.
    """

    market: BackMarket
    database: Database
    sandbox: SandboxControl

    def all_settled(self) -> bool:
        """Every seller was synced, or refused."""
        return all(
            status.state == "not_available" or status.error_code == "unauthorized" or status.last_success_at is not None
            for status in self.market.get_status()
            if status.organization_id != DEAD or status.resource == "orders"
        )

    def stored(self) -> dict[str, int]:
        """Rows stored until now."""
        copies = " UNION ALL ".join(f"SELECT organization_id FROM backmarket.{table}" for table in TOTALS)
        counts = dict(self.rows(f"SELECT organization_id, count(*) FROM ({copies}) AS c GROUP BY 1"))
        return {name: counts.get(name, 0) for name in ALIVE}

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The result of a statement."""
        with self.database.transaction() as transaction:
            return transaction.execute(statement.encode()).fetchall()


def rows_of(seller: SellerSpec) -> int:
    """How many rows the sandbox's lists have for a seller, without order lines."""
    shipments = seller.deliveries + seller.returns if seller.backship else 0
    return seller.orders + seller.listings + shipments


def answers(sandbox: SandboxControl) -> bool:
    """Whether the sandbox answers."""
    try:
        sandbox.stats()
    except Exception:  # noqa: BLE001 - whatever its client raises
        return False
    return True


def first_syncs(shops: Shops) -> list[Row]:
    """The report: what each seller's sync stored and took."""
    stats = shops.sandbox.stats()
    seconds = dict(
        shops.rows(
            "SELECT organization_id, extract(epoch FROM max(finished_at) - min(started_at))::float8"
            " FROM backmarket.sync_runs WHERE outcome = 'done' GROUP BY 1"
        )
    )
    found = []
    for seller in SELLERS:
        counted = stats.sellers[seller.name]
        found.append(
            Row(
                seller.name,
                tuple(len(copy(shops.market, seller.name)) for copy in COPIES.values()),
                counted.requests - sum(counted.labels.values()),
                sum(counted.faults.values()),
                seconds.get(seller.name),
                shops.market.get_connection_status(seller.name).connection.health,
            )
        )
    return found


def equal_to_the_truth(shops: Shops, names: Iterable[str] = ALIVE) -> None:
    """Every order, line, listing, delivery and return, in every field."""
    for name in names:
        orders = shops.sandbox.truth(name)
        truths = {
            "orders": {row["order_id"]: row for row in orders},
            "lines": {line["id"]: line for row in orders for line in row["orderlines"]},
            "listings": {row["id"]: row for row in shops.sandbox.truth(name, "listings")},
        }
        for shipments in () if name == SHIPS_ALONE else ("deliveries", "returns"):
            truths[shipments] = {row["shipmentId"]: row for row in shops.sandbox.truth(name, shipments)}
        for copy, truth in truths.items():
            _same(f"{copy} of {name}", COPIES[copy](shops.market, name), truth)


def no_backship(shops: Shops) -> None:
    """A resource that an account may not use does not harm its other resources."""
    found = shops.market.get_connection_status(SHIPS_ALONE)
    states = {resource: status.state for resource, status in found.resources.items()}
    expect(f"health of {SHIPS_ALONE}", found.connection.health, "ok")
    expect(
        f"state of {SHIPS_ALONE}",
        states,
        {"deliveries": "not_available", "listings": "ok", "orders": "ok", "returns": "not_available"},
    )


def labels_given(shops: Shops) -> int:
    """How many labels the API gives."""
    return sum(len(_labels(shops, name)) for name in ALIVE)


def labels_stored(shops: Shops, names: Iterable[str] = ALIVE) -> None:
    """Each label is in the bucket; one whose download failed is retried early."""
    until = monotonic() + WAIT
    for name in set(names) - {SHIPS_ALONE}:
        given = _labels(shops, name)
        while not given.items() <= (stored := _stored_labels(shops, name)).items():
            if monotonic() > until:
                raise DemoFailed(f"{len(given) - len(stored)} labels of {name} were not stored within {WAIT:g} s.")
            if all(label.tries for label in shops.market.get_labels(name, state="wanted", limit=1000)):
                shops.market.fetch_labels(name)
            sleep(0.1)
        for (resource, key), digest in stored.items():
            file = BytesIO()
            ask = shops.market.download_label if resource == "deliveries" else shops.market.download_return_label
            ask(name, key, to=file)
            expect(f"label {key} of {name}", sha256(file.getvalue()).hexdigest(), digest)


def _labels(shops: Shops, name: str) -> dict[tuple[str, int], str]:
    """The digest of each label that the API gives for a seller's shipments."""
    least = shops.sandbox.settings().label_bytes
    return {
        (resource, row["shipmentId"]): sha256(label_pdf(row["shipmentId"], least)).hexdigest()
        for resource, field in (("deliveries", "labelUrl"), ("returns", "label"))
        for row in (shops.sandbox.truth(name, resource) if name != SHIPS_ALONE else ())
        if row[field]
    }


def _stored_labels(shops: Shops, name: str) -> dict[tuple[str, int], str]:
    stored = _all(lambda cursor: shops.market.get_labels(name, state="stored", limit=1000, cursor=cursor))
    return {(label.resource, label.shipment_id): str(label.sha256) for label in stored}


def dead_token_is_told(shops: Shops) -> None:
    """No more than one request for each resource and a probe, and a reason on the connection."""
    connection = shops.market.get_connection_status(DEAD).connection
    expect(f"{DEAD} is refused", connection.refused_at is not None, True)
    expect(f"error of {DEAD}", connection.last_error_code, "unauthorized")
    expect(f"{DEAD} asked too often", shops.sandbox.stats().sellers[DEAD].requests > len(RESOURCE_NAMES) + 1, False)
    expect(f"rows of {DEAD}", [len(copy(shops.market, DEAD)) for copy in COPIES.values()], [0] * len(COPIES))


def quiet_sync(shops: Shops) -> None:
    """Nothing has changed, so each costs one request (listings: one a page) and writes no row and no event."""
    limit_kept(shops)
    shops.sandbox.remove_faults()
    shops.sandbox.reset()
    before = _written(shops)
    asked = [
        (name, resource) for name in ALIVE for resource in RESOURCE_NAMES if name != SHIPS_ALONE or resource in FOR_ALL
    ]
    for handle in [shops.market.sync(name, resource) for name, resource in asked]:
        handle.wait(WAIT)
    stats = shops.sandbox.stats()
    for seller in SELLERS:
        if seller.name != DEAD:
            expected = -(-seller.listings // 50) + (1 if seller.name == SHIPS_ALONE else 3)
            expect(f"requests of {seller.name}", stats.sellers[seller.name].requests, expected)
    expect("rows and events", _written(shops), before)


def five_changes(shops: Shops) -> None:
    """The next sync stores the changes at the API, and nothing else."""
    name = ALIVE[0]
    shops.sandbox.reset()
    ((last,),) = shops.rows("SELECT max(id) FROM backmarket.changes")
    changed = sorted(str(key) for key in shops.sandbox.change(name, modify=5).modified)
    outcome = shops.market.sync_orders(name).wait(WAIT)
    expect("orders written", (outcome.rows_created, outcome.rows_updated), (0, 5))
    expect(f"requests of {name}", shops.sandbox.stats().sellers[name].requests, 1)
    events = shops.rows(f"SELECT external_id, kind FROM backmarket.changes WHERE id > {last} ORDER BY 1")
    expect("events", events, [(key, "updated") for key in changed])
    equal_to_the_truth(shops)


def three_listings_gone(shops: Shops) -> None:
    """A row that a full walk no longer lists and the API no longer finds by id is marked as gone."""
    name = ALIVE[0]
    gone = sorted(map(str, shops.sandbox.change(name, resource="listings", remove=3).removed))
    outcome = shops.market.sync_listings(name).wait(WAIT)
    expect("listings removed", outcome.rows_removed, 3)
    events = shops.rows("SELECT external_id FROM backmarket.changes WHERE kind = 'removed' ORDER BY 1")
    expect("events", [key for (key,) in events], gone)
    equal_to_the_truth(shops)


def bulk_files(shops: Shops) -> None:
    """A file with one bad line sends nothing; without that line, every line is sent once and done."""
    name = ALIVE[0]
    rows = shops.sandbox.truth(name, "listings")[:BULK_LINES]
    lines = ["sku;quantity", *(f"{row['sku']};{row['quantity'] + 1}" for row in rows)]
    try:
        shops.market.create_or_update_listings(name, "\n".join([*lines[:7], "NEW-1;a few", *lines[7:]]))
    except BulkFileRefused as refused:
        expect("faults", [(fault.line, fault.column) for fault in refused.faults], [(8, "quantity")])
    else:
        raise DemoFailed("A file with a bad line was not refused.")
    outcome = shops.market.create_or_update_listings_and_sync(name, "\n".join(lines), max_wait=WAIT)
    expect("state of the job", (outcome.job.state, outcome.job.lines_done), ("done", BULK_LINES))
    expect("lines sent", shops.sandbox.stats().sellers[name].sku_lines, BULK_LINES)
    expect("bulk jobs", len(shops.market.get_bulk_jobs(name)), 1)
    equal_to_the_truth(shops)


def limit_kept(shops: Shops) -> None:
    """The rate limit was kept: the sandbox counts the requests of every window."""
    expect("requests above the limit", shops.sandbox.stats().violations, 0)


def _all(pages: Callable[[str | None], Page[T]]) -> list[T]:
    """The rows of all pages."""
    found: list[T] = []
    cursor = None
    while True:
        page = pages(cursor)
        found += page
        if (cursor := page.next_cursor) is None:
            return found


def _orders(market: BackMarket, name: str) -> dict[Any, Any]:
    rows = _all(lambda cursor: market.get_orders(name, limit=1000, cursor=cursor))
    return {order.order_id: order.raw for order in rows}


def _lines(market: BackMarket, name: str) -> dict[Any, Any]:
    rows = _all(lambda cursor: market.get_orderlines(name, limit=1000, cursor=cursor))
    return {line.orderline_id: line.raw for line in rows}


def _listings(market: BackMarket, name: str) -> dict[Any, Any]:
    rows = _all(lambda cursor: market.get_listings(name, limit=1000, cursor=cursor))
    return {str(listing.listing_id): listing.raw for listing in rows}


def _deliveries(market: BackMarket, name: str) -> dict[Any, Any]:
    rows = _all(lambda cursor: market.get_deliveries(name, limit=1000, cursor=cursor))
    return {delivery.shipment_id: delivery.raw for delivery in rows}


def _returns(market: BackMarket, name: str) -> dict[Any, Any]:
    rows = _all(lambda cursor: market.get_returns(name, limit=1000, cursor=cursor))
    return {one.shipment_id: one.raw for one in rows}


COPIES = {
    "orders": _orders,
    "lines": _lines,
    "listings": _listings,
    "deliveries": _deliveries,
    "returns": _returns,
}
"""Each seller's stored rows by key, as a host application reads them."""


def _written(shops: Shops) -> list[tuple[Any, ...]]:
    """Changes with every row that is written."""
    copies = " UNION ALL ".join(
        f"SELECT '{table}', count(*), max(last_synced_at) FROM backmarket.{table}" for table in (*TOTALS, "orderlines")
    )
    return shops.rows(
        f"{copies} UNION ALL SELECT 'changes', count(*), max(recorded_at) FROM backmarket.changes ORDER BY 1"
    )


def _same(what: str, stored: dict[Any, Any], truth: dict[Any, Any]) -> None:
    missing, surplus = len(truth.keys() - stored.keys()), len(stored.keys() - truth.keys())
    differing = sum(unsigned(stored[key]) != unsigned(truth[key]) for key in stored.keys() & truth.keys())
    if missing or surplus or differing:
        raise DemoFailed(f"The {what} differ: {missing} missing, {surplus} too many, {differing} not the same.")


def expect(what: str, found: T, expected: T) -> None:
    """Compare.

    Raises:
        DemoFailed: if they differ.
    """
    if found != expected:
        raise DemoFailed(f"Wrong {what}: {found}, and not {expected}.")
