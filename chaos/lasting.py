"""The fault of a round that never heals: one object that the API answers wrongly for ever."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from time import monotonic
from typing import Any, Final, NamedTuple

from backmarket import Write
from backmarket.status.broker import Broker
from backmarket.status.deployment_metrics import measure
from backmarket.status.sync_status import SyncStatus
from backmarket.writes.targets import listing_lane, order_lane
from chaos.flows import JOBS, LINES, Flows, sync_at_once
from chaos.grounds import PART_LINES, Grounds
from chaos.pauses import SHORTER, most_tries
from chaos.schedule import ANSWERS, Lasting
from chaos.sellers import BULK, COUNT, FULL_WALKS_EVERY, LARGE, LIED_TO, PAGED, WRITES

PLAIN: Final = 20
"""The number of a seller that has neither writes nor bulk files."""


PARTS: Final = JOBS * -(-LINES // PART_LINES)
"""Of the bulk files of a seller."""


class Retried(NamedTuple):
    """What is retried on its own, as docs/states.md has it.

    Attributes:
        first: seconds of its first pause; it grows up to an hour.
        requests: that one try costs at most.
    """

    first: float
    requests: int = 1


WRITE: Final = Retried(2.0)
LABEL: Final = Retried(15.0)
LINE: Final = Retried(30.0)
PART: Final = Retried(2.0, requests=8)
"""It is sent, polled, or read back: eight lines at once."""
SYNC: Final = Retried(15.0, requests=6)
"""Four tries of a page; or three passes, each of which requests the last page twice."""
MISSING_ROW: Final = Retried(SHORTER * FULL_WALKS_EVERY, requests=4)
"""Four tries in each full walk."""


class Broken:
    """Nothing is broken for ever; the base of what may be.

    Args:
        lasting: the object and the answer.
        grounds: where the round takes place.
        flows: prepared.
    """

    def __init__(self, lasting: Lasting | None, grounds: Grounds, flows: Flows) -> None:
        self.lasting, self.grounds, self.flows = lasting, grounds, flows
        self.organizations: list[str] = []
        """Those all of whose requests fail."""
        self.walks: list[str] = []
        """Organizations whose full walks of the orders fail."""
        self.lanes: list[tuple[str, str]] = []
        """Organizations and lanes whose writes fail."""
        self.labels: list[tuple[str, str, int]] = []
        """Organizations, resources and shipments whose labels fail."""
        self.lines: list[tuple[str, str, int]] = []
        """Organizations, idempotency keys of bulk files, and numbers of lines that cannot be read back."""
        self.rows: set[tuple[str, str, str]] = set()
        """Organizations, resources and ids of stored rows that cannot be compared."""
        self.retried: list[Retried] = []
        """What is retried meanwhile."""
        self.rules: list[int] = []
        """The sandbox's numbers of its rules that never end."""
        self._answers: list[int] = []
        """Those of them that answer so."""
        self._healed_at, self._healed = monotonic(), 0

    def begin(self) -> None:
        """Break it, before anything goes on."""

    def outlast(self) -> None:
        """All else is whole again: what it costs is counted from now on."""
        self._healed_at, self._healed = monotonic(), self._struck()

    def named(self) -> bool:
        """Whether what an operator looks at names it with a reason: the public object, and the metrics."""
        return True

    def cost(self) -> tuple[int, int]:
        """Requests that met the fault since all else is whole, and how many docs/states.md allows for that time."""
        seconds = monotonic() - self._healed_at
        allowed = sum(each.requests * most_tries(seconds, each.first) for each in self.retried)
        return self._struck() - self._healed, allowed

    def exempt(self) -> dict[str, list[str]]:
        """What need not come to its end, for the statements of `chaos.quiet`: parts of keys, joined by slashes."""
        works: list[tuple[str, Sequence[tuple[object, ...]]]] = [
            ("writes", self.lanes), ("labels", self.labels), ("bulk", self.lines),
        ]  # fmt: skip
        return {
            "broken": self.organizations,
            "walks": self.walks,
            "lanes": _joined(self.lanes),
            "labels": _joined(self.labels),
            "lines": _joined(self.lines),
            "works": _joined((key[0], kind) for kind, keys in works for key in keys),
        }

    def _name(self, number: int) -> str:
        return self.flows.sellers.names[number]

    def _break(self, **rule: Any) -> None:
        """Answer so for ever. The first rule that matches a request strikes, so this one comes before all others."""
        assert self.lasting is not None
        self._answers.append(self.grounds.sandbox.add_fault(**ANSWERS[self.lasting.answer], **rule))
        self.rules.append(self._answers[-1])

    def _struck(self) -> int:
        return sum(each.struck for each in self.grounds.sandbox.stats().faults if each.number in self._answers)

    def _counted(self, metric: str) -> bool:
        """Whether a metric of the deployment is above zero."""
        with closing(Broker(self.grounds.settings.broker)) as broker:
            found = measure(self.grounds.market._services.database, broker)
        return sum(each.value for each in found if each.name == metric) > 0


class Listing(Broken):
    """A listing whose price is to be changed."""

    def begin(self) -> None:
        """Break it by its id."""
        seller = self._name(WRITES.start)
        self._id = self.grounds.sandbox.truth(seller, "listings")[0]["id"]
        self.lanes, self.retried = [(seller, listing_lane(self._id))], [WRITE, WRITE]
        self._break(seller=seller, path=f"/ws/listings/{self._id}")

    def named(self) -> bool:
        """By its writes."""
        ((seller, _),) = self.lanes
        return self._counted_writes(self.grounds.market.get_writes(seller, object_id=self._id).items)

    def _counted_writes(self, writes: Sequence[Write]) -> bool:
        """Whether each write says why it failed, or behind which one it waits, and the open ones are counted."""
        told = [(each.error_code and each.error) or each.behind for each in writes]
        return all(told) and any(told) and (self._counted("writes") or not any(each.open for each in writes))


class Order(Listing):
    """An order that is to be accepted and shipped, and its line."""

    def begin(self) -> None:
        """Break it by its id."""
        seller = self._name(WRITES.start)
        self._id = next(int(key) for _, operation, key in self.flows.wishes.writes if operation == "orders.update")
        self.lanes, self.retried = [(seller, order_lane(self._id))], [WRITE, WRITE, WRITE]
        (line,) = next(row["orderlines"] for row in self.grounds.sandbox.truth(seller) if row["order_id"] == self._id)
        for path in (f"/ws/orders/{self._id}", f"/ws/orderlines/{line['id']}"):
            self._break(seller=seller, path=path)

    def named(self) -> bool:
        """By its writes."""
        ((seller, _),) = self.lanes
        return self._counted_writes(self.grounds.market.get_writes(seller, order_id=self._id).items)


class Line(Broken):
    """A SKU of a bulk file whose answers are lost: its parts are read back, the last one line by line."""

    def begin(self) -> None:
        """Break the SKU's listing, and lose the answer of each part."""
        seller, number = self._name(BULK.start), PART_LINES + 2
        sku = list(self.flows.wishes.lines[seller])[number]
        self.lines, self.retried = [(seller, "file 0", number + 2)], [LINE]
        self._break(seller=seller, path=f"/ws/listings/detail?sku={sku}")
        lost = {"operation": "listings.bulk", "seller": seller, "count": PARTS}
        self.rules.append(self.grounds.sandbox.add_fault("close", applied=True, **lost))

    def named(self) -> bool:
        """By its part, or as a line whose outcome is unknown."""
        market, ((seller, key, line),) = self.grounds.market, self.lines
        for job in market.get_bulk_jobs(seller).items:
            for part in market.get_bulk_parts(seller, job.id):
                if job.idempotency_key == key and line in part.line_numbers:
                    return bool(part.error or part.outcomes.get(str(line)))
        return False


class Label(Broken):
    """A label of the seller that has most of them."""

    def begin(self) -> None:
        """Break its file."""
        seller = self._name(LARGE)
        row = next(row for row in self.grounds.sandbox.truth(seller, "deliveries") if row["labelUrl"])
        self.labels, self.retried = [(seller, "deliveries", row["shipmentId"])], [LABEL]
        self._break(seller=seller, path=row["labelUrl"].removeprefix(self.grounds.sandbox.url))

    def named(self) -> bool:
        """As a label that is wanted, or was given up."""
        ((seller, _, shipment),) = self.labels
        label = self.grounds.market.get_label(seller, "deliveries", shipment)
        return bool(label and label.error_code and label.error) and self._counted("labels_wanted")


class MissingOrder(Broken):
    """An order that the list does not show any more, and that cannot be requested by its id. One whose id is not found
    either is gone, like any other: then its row must say so.
    """

    def begin(self) -> None:
        """Sync the orders: all are there at first."""
        sync_at_once(self.grounds.market, self._name(LIED_TO.start), "orders")

    @property
    def _shows_nothing(self) -> bool:
        """Whether the answer says neither that the order is there nor that it is gone."""
        assert self.lasting is not None
        return self.lasting.answer != "404"

    def outlast(self) -> None:
        """Let a stored order vanish, and break its id."""
        seller = self._name(LIED_TO.start)
        stored = self.grounds.ask(
            "SELECT order_id FROM backmarket.orders WHERE organization_id = %s AND removed_at IS NULL", seller
        )
        listed = {row["order_id"] for row in self.grounds.sandbox.truth(seller) if row["state"] not in {0, 8}}
        order = min(listed & {order for (order,) in stored})
        self._row, self.retried = (seller, order), [MISSING_ROW]
        self.rows = {(seller, "orders", str(order))} if self._shows_nothing else set()
        self._break(seller=seller, path=f"/ws/orders/{order}")
        self.grounds.sandbox.change(seller, remove=1, ids=[order])
        super().outlast()

    def named(self) -> bool:
        """As a sync that could not look for all missing rows; one that is gone, as a row that is marked."""
        seller, order = self._row
        if not self._shows_nothing:
            row = "SELECT removed_at FROM backmarket.orders WHERE organization_id = %s AND order_id = %s"
            return self.grounds.ask(row, seller, order) != [(None,)]
        found = _failing(self.grounds, seller).get("orders")
        return bool(found and found.error) and self._counted("sync_missing_rows")


class Page(Broken):
    """The second page of the orders of a seller who has walked in full before, and now does every few seconds."""

    def begin(self) -> None:
        """Sync them, and then break the page."""
        seller = self._name(PAGED)
        self.walks, self.retried = [seller], [SYNC]
        sync_at_once(self.grounds.market, seller, "orders")
        self.grounds.ask(
            "UPDATE backmarket.sync_state SET full_interval_seconds = %s, full_walk_due_at = now()"
            " WHERE organization_id = %s AND resource = 'orders'",
            FULL_WALKS_EVERY,
            seller,
        )
        self._break(seller=seller, operation="orders.list", page=2)

    def named(self) -> bool:
        """As a sync that fails."""
        found = _failing(self.grounds, *self.walks).get("orders")
        return bool(found and found.error_code and found.error) and self._counted("sync_failing_organizations")


class Organization(Broken):
    """All requests of one organization: one that only syncs, or has writes or bulk files besides."""

    def begin(self) -> None:
        """Break every operation of its account."""
        number = self.flows.dice.choice((PLAIN, WRITES.start, BULK.start))
        seller = self._name(number)
        writes = sum(len(asked) for (name, _, _), asked in self.flows.wishes.writes.items() if name == seller)
        parts = PARTS if number in BULK else 0
        self.organizations, self.retried = [seller], [SYNC] * 4 + [WRITE] * writes + [PART] * parts
        self._break(seller=seller)

    def named(self) -> bool:
        """By its syncs."""
        for name in self.organizations:
            found = _failing(self.grounds, name).values()
            if not any(each.error_code and each.error for each in found):
                return False
        return self._counted("sync_failing_organizations")


class Account(Organization):
    """All requests with a key that two organizations share."""

    def begin(self) -> None:
        """Connect the second one, and break every operation of the account."""
        seller = self._name(PLAIN + 1)
        other = seller.rpartition(".")[0] + f".{COUNT}"
        self.grounds.market.upsert_connection(other, f"token-of-{seller}", base_url=self.grounds.sandbox.url)
        self.organizations, self.retried = [seller, other], [SYNC] * 8
        self._break(seller=seller)


BROKEN: Final[dict[str, type[Broken]]] = {
    "listing": Listing,
    "order": Order,
    "line": Line,
    "label": Label,
    "missing order": MissingOrder,
    "page": Page,
    "organization": Organization,
    "account": Account,
}
"""By the objects of `chaos.schedule`."""


def broken(lasting: Lasting | None, grounds: Grounds, flows: Flows) -> Broken:
    """What is broken for ever in a round."""
    return (Broken if lasting is None else BROKEN[lasting.thing])(lasting, grounds, flows)


def _failing(grounds: Grounds, organization: str) -> dict[str, SyncStatus]:
    """An organization's syncs of `backmarket status --failing`."""
    found = grounds.market.get_status(failing=True)
    return {each.resource: each for each in found if each.organization_id == organization}


def _joined(keys: Iterable[tuple[object, ...]]) -> list[str]:
    return ["/".join(map(str, key)) for key in keys]
