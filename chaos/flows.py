"""The work of a round: what sellers change behind our back, and what the host application asks for meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from backmarket import BackMarket
from backmarket.errors import BackMarketError, ConnectionUnauthorized, TransientError
from backmarket.sandbox import SandboxControl
from backmarket.sync.engine import run_slice
from backmarket.sync.requests import request_sync
from chaos.schedule import SECONDS
from chaos.sellers import BULK, COUNT, LIED_TO, WRITES, Sellers

ORDERS, LISTINGS, PRICES = 3, 2, 2
"""Of each seller with writes: how many are changed, and how often each price."""

JOBS, LINES = 2, 28
"""Of each seller with bulk files: files, and lines of each: a whole part, and one that is short enough to be read back
line by line."""

Ask = Callable[[BackMarket], object]


@dataclass
class Wishes:
    """What the host application asks for, and what is to take place at Back Market.

    Attributes:
        asks: with the seconds from the beginning at which each is asked for.
        writes: by seller, operation and object, in their order.
        lines: the values of each SKU line, by seller.
    """

    asks: list[tuple[float, Ask]] = field(default_factory=list)
    writes: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[str, dict[str, tuple[int, float]]] = field(default_factory=lambda: defaultdict(dict))


class Flows:
    """Everything that goes on in a round, in threads, until it is told to end.

    Args:
        sandbox: the API.
        market: as a host application uses it.
        sellers: of the round.
        seed: of the round.
    """

    def __init__(self, sandbox: SandboxControl, market: BackMarket, sellers: Sellers, seed: int) -> None:
        self.sandbox, self.market, self.sellers = sandbox, market, sellers
        self.dice = Random(f"flows {seed}")
        self.wishes = Wishes()
        self.ended = Event()
        self.changed = 0
        """Changes at the sandbox."""
        self.asked = 0
        self.repeated = 0
        """Times that the application had to ask again, as PostgreSQL or the bucket was away."""
        self.errors: list[str] = []
        self._new: dict[tuple[str, str], list[int | str]] = defaultdict(list)
        self._threads: list[Thread] = []

    def prepare(self) -> None:
        """What must be there before writes and files can be asked for: their rows, synced without a fault."""
        for name in self.sellers.group(WRITES):
            self._wish_writes(name)
        for name in self.sellers.group(BULK):
            self._wish_files(name)
        for name in self.sellers.group(range(BULK.start, WRITES.stop)):
            for resource in ("orders", "listings"):
                sync_at_once(self.market, name, resource)
        self.wishes.asks.sort(key=lambda ask: ask[0])

    def begin(self) -> None:
        """Let everything go on."""
        asks = self.wishes.asks
        self._threads = [
            Thread(target=self._guarded, args=(self._change,), daemon=True),
            *(Thread(target=self._guarded, args=(self._ask, asks[number::3]), daemon=True) for number in range(3)),
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let changes end; what the application has not asked for yet it asks for at once."""
        self.ended.set()
        self._threads[0].join()

    @property
    def asking(self) -> int:
        """Threads of the application that have not asked for all yet; no more than the seconds it has patience for."""
        return sum(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - the round says so, and is red
            self.errors.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _change(self) -> None:
        """A change every tenth of a second."""
        changes = self._changes()
        until = monotonic() + SECONDS
        while not self.ended.wait(0.1) and monotonic() < until:
            seller, change = next(changes)
            added = self.sandbox.change(seller, **change).added
            self._new[seller, change.get("resource", "orders")] += added
            self.changed += 1

    def _changes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Whose rows change next, and how; nothing that only a daily walk could find, but where walks are short."""
        gone: dict[str, int] = defaultdict(int)
        while True:
            number = self.dice.randrange(COUNT)
            name = self.sellers.names[number]
            lied_to = number in LIED_TO
            shipments = self.dice.choice(("deliveries", "returns"))
            match self.dice.randrange(8):
                case 0 | 1:
                    yield name, {"add": self.dice.randint(1, 2)}
                case 2 | 3 if number not in WRITES:
                    yield name, {"modify": self.dice.randint(1, 3)}
                case 4 if lied_to:
                    yield name, {"resource": shipments, "modify": 1}
                case 4 if ids := self._new[name, shipments]:  # its label is printed
                    yield name, {"resource": shipments, "modify": 1, "ids": [ids.pop()]}
                case 5:
                    yield name, {"resource": shipments, "add": 1}
                case 6 if number not in BULK and number not in WRITES:
                    yield name, {"resource": "listings", "modify": 2, "add": 1}
                case 7 if lied_to and gone[name] < 3:
                    gone[name] += 1
                    kind = self.dice.choice(("remove", "hide"))
                    yield name, {"modify": 1, "silent": True} if self.dice.random() < 0.3 else {kind: 1}

    def _ask(self, asks: list[tuple[float, Ask]]) -> None:
        """Ask as a host application does: again, with the same key, where it is not known whether it was heard."""
        began = monotonic()
        for at, ask in asks:
            self.ended.wait(max(0.0, at - (monotonic() - began)))
            until = monotonic() + 60
            while True:
                try:
                    ask(self.market)
                except (
                    TransientError,
                    ConnectionUnauthorized,
                ):  # the latter until a person connects it again (`quiet`)
                    self.repeated += 1
                    if monotonic() > until:
                        raise
                    sleep(0.3)
                except BackMarketError as error:
                    raise RuntimeError(f"an ask was refused: {error.code}: {error.message}") from error
                else:
                    break
            self.asked += 1

    def _wish(self, ask: Ask) -> None:
        self.wishes.asks.append((self.dice.uniform(0.0, SECONDS - 2.0), ask))

    def _wish_files(self, name: str) -> None:
        rows = self.sandbox.truth(name, "listings")[: JOBS * LINES]
        for number in range(JOBS):
            part = rows[number * LINES : (number + 1) * LINES]
            values = {row["sku"]: (row["quantity"] + 5, 100.5 + place) for place, row in enumerate(part)}
            text = "\n".join(
                ["sku;quantity;price", *(f"{sku};{many};{price}" for sku, (many, price) in values.items())]
            )
            self.wishes.lines[name] |= values
            self._wish(_file(name, text, f"file {number}"))

    def _wish_writes(self, name: str) -> None:
        paid = [row for row in self.sandbox.truth(name) if row["state"] not in {0, 8}][:ORDERS]
        for number, row in enumerate(paid):
            line = row["orderlines"][0] | {"state": 1, "quantity": 1, "imei": None, "serial_number": ""}
            self.sandbox.change(name, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": [line]})
            tracking, imei = f"TRACK-{number}", _with_check_digit(35693803564000 + number)
            order = row["order_id"]
            self._wish_lane(
                name,
                ("orders.update", "update_order", order, {"new_state": 2}),
                ("orders.update", "update_order", order, {"new_state": 3, "tracking_number": tracking}),
                ("orderlines.update", "update_orderline", line["id"], {"imei": imei}),
                sku=line["listing"],
            )
        for row in self.sandbox.truth(name, "listings")[:LISTINGS]:
            prices = [f"{100 + number}.50" for number in range(PRICES)]
            self._wish_lane(
                name, *(("listings.update", "update_listing", row["id"], {"price": price}) for price in prices)
            )

    def _wish_lane(self, name: str, *calls: tuple[str, str, Any, dict[str, Any]], sku: str = "") -> None:
        """Writes of one object, asked for one right after the other; those that accept an order send the SKU, too."""
        for operation, _, object_id, arguments in calls:
            added = {"currency": "EUR"} if operation == "listings.update" else {}
            if arguments.get("new_state") == 2:
                added = {"sku": sku}
            self.wishes.writes[name, operation, str(object_id)].append(arguments | added)
        key = f"lane {len(self.wishes.asks)}"

        def ask(market: BackMarket) -> None:
            for number, (_, method, object_id, arguments) in enumerate(calls):
                getattr(market, method)(name, object_id, **arguments, idempotency_key=f"{key}/{number}")

        self._wish(ask)


def sync_at_once(market: BackMarket, name: str, resource: str) -> None:
    """Sync a resource of an organization in this process, where nothing is broken yet.

    Raises:
        RuntimeError: if that did not succeed.
    """
    request_sync(market._services.database, name, resource)
    result = run_slice(market._services, name, resource)
    if result.end != "done":
        raise RuntimeError(f"{resource} of {name} could not be synced: {result.end}")


def _file(name: str, text: str, key: str) -> Ask:
    return lambda market: market.create_or_update_listings(name, text, idempotency_key=key)


def _with_check_digit(body: int) -> str:
    """An IMEI of these 14 digits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(str(body))]
    return f"{body}{-sum(number - 9 if number > 9 else number for number in doubled) % 10}"
