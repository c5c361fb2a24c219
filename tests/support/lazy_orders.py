"""Stands for Back Market's list of orders at any size: pages are made when they are asked for, and nothing is kept."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from backmarket.client import Answer
from backmarket.limits import Grant, Slot
from backmarket.services import Services

PAGE_SIZE = 50
LONG_AGO = "2026-01-01T10:00:00+00:00"

_ADDRESS = (
    '{"first_name":"A","last_name":"B","gender":0,"street":"1 Rue du Test","street2":"","postal_code":"75001",'
    '"city":"Paris","country":"FR","phone":"0100000000","email":"a@test.example"}'
)
_ORDER = (
    '{"order_id":%(id)d,"state":9,"date_creation":"2026-01-01T10:00:00+00:00","date_modification":"%(modified)s",'
    '"date_shipping":"2026-01-01T10:00:00+00:00","date_payment":"2026-01-01T10:00:00+00:00","price":"229.00",'
    '"shipping_price":"0.00","currency":"EUR","country_code":"fr-fr","tracking_number":"T%(id)d","tracking_url":"",'
    '"shipper_display":"Colissimo","is_backship":false,"payment_method":"CARD","sales_taxes":"0",'
    f'"shipping_address":{_ADDRESS},"billing_address":{_ADDRESS},'
    '"orderlines":[{"id":%(id)d,"state":3,"date_creation":"2026-01-01T10:00:00+00:00","price":"229.00",'
    '"shipping_price":"0.00","shipping_delay":48,"currency":"EUR","return_reason":null,"return_message":"",'
    '"listing":"SKU-1","listing_id":7,"orderline_fee":"22.90","product":"A telephone, 64 GB, blue","quantity":1,'
    '"brand":"None","product_id":9,"backcare":false,"sales_taxes":"0","imei":"350000000000000","condition":1}]}'
)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class LazyOrders:
    """A list of orders, newest first, in place of a `Transport`.

    Attributes:
        total: orders from the beginning.
        modified: when orders were modified that were, by id.
        removed: ids that are gone.
        then: what happens before the request of a number, from 1; an exception is raised by that request.
        requests: answered so far.
    """

    total: int
    modified: dict[int, str] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    then: dict[int, Callable[[], Any]] = field(default_factory=dict)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def modify(self, order: int) -> None:
        """Modify an order now."""
        self.modified[order] = datetime.now(UTC).isoformat(timespec="seconds")

    def get(self, credentials: Any, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Answer:
        """Answer a request, as `Transport.get` does."""
        with self._lock:
            self.requests += 1
            then = self.then.pop(self.requests, None)
        if then is not None:
            then()
        asked = dict(parameters)
        if "page" not in asked:
            order = int(path.rpartition("/")[2])
            gone = order in self.removed or not 1 <= order <= self.total
            return _answer(404, "{}") if gone else _answer(200, self._body(order))
        orders = self._page(int(asked["page"]), all_=asked.get("date_modification", "") <= LONG_AGO)
        count = self.total - len(self.removed) if asked.get("date_modification", "") <= LONG_AGO else len(self.modified)
        last = int(asked["page"]) * PAGE_SIZE >= count
        results = ",".join(map(self._body, orders))
        return _answer(200, f'{{"count":{count},"next":{"null" if last else "1"},"results":[{results}]}}')

    def close(self) -> None:
        """There is nothing to close."""

    def _page(self, number: int, *, all_: bool) -> list[int]:
        first = (number - 1) * PAGE_SIZE
        if not all_:
            return sorted(self.modified.keys() - self.removed, reverse=True)[first : first + PAGE_SIZE]
        start = self.total - first
        for gone in sorted(self.removed, reverse=True):
            start -= gone >= start
        listed = (order for order in range(start, 0, -1) if order not in self.removed)
        return list(itertools.islice(listed, PAGE_SIZE))

    def _body(self, order: int) -> str:
        return _ORDER % {"id": order, "modified": self.modified.get(order, LONG_AGO)}


class NoLimit:
    """Grants every slot at once, in place of a limiter."""

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        """Grant all."""
        return Grant(tuple(Slot(account, "slot", sensitive) for _ in range(want)), 0.0, blocked=False)

    def close(self) -> None:
        """Nothing is open."""

    def complete(self, slots: Sequence[Slot]) -> None:
        """Nothing is counted."""

    def release(self, slots: Sequence[Slot]) -> None:
        """Nothing is counted."""


def answer_with(services: Services, orders: Any) -> None:
    """Let a list, or what chooses one, answer a process's requests, without a limit."""
    services.__dict__.update(transport=orders, limiter=NoLimit())


def _answer(status: Literal[200, 404], body: str) -> Answer:
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return Answer(status, {"date": date, "content-type": "application/json"}, body.encode())
