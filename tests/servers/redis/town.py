"""Workers beside a Redis of the tests' own, and a shop that they sync every two seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kombu import pools

from backmarket.errors import BrokerUnavailable, LimiterUnavailable
from backmarket.limits.shared import SharedLimiter
from backmarket.messages import Nudge
from backmarket.producer import Producer
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from backmarket.status.broker import Broker
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
WORKERS = (Pool("dispatch", ("dispatch",), 1), Pool("sync", ("orders",), 2))


@contextmanager
def opened_shop(settings: Settings, *, limit: int = 100_000, orders: int = 60, **urls: str) -> Iterator[Shop]:
    """A seller whose orders are due every two seconds.

    Args:
        limit: of requests in a window, which the sandbox enforces.
        orders: of the seller.
        urls: `redis_url`, and `broker_url` if it is another.
    """
    with fresh_sandbox(limit=limit) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": limit, **urls}), sandbox.control)
        try:
            shop.sell(ORG, orders=orders)
            shop.every(2)
            yield shop
        finally:
            shop.services.close()


@contextmanager
def running(shop: Shop, directory: Path, *, also: Mapping[str, str] | None = None, **more: Any) -> Iterator[Fleet]:
    """Workers and beat that are ready; none of them has died at the end."""
    with Fleet({**environment(shop.settings), **(also or {})}, directory=directory, workers=WORKERS, **more) as fleet:
        fleet.wait_ready(PATIENCE_SECONDS)
        yield fleet
        assert fleet.died == []


def goes_on(shop: Shop, what: str) -> None:
    """Wait until two more syncs have ended well."""
    for _ in range(2):
        before = shop.one("SELECT max(last_success_at) FROM backmarket.sync_state")
        wait_until(
            lambda before=before: shop.one("SELECT max(last_success_at) FROM backmarket.sync_state") != before,  # type: ignore[misc]
            f"syncs go on: {what}",
        )


def log_lines(directory: Path, name: str) -> list[dict[str, Any]]:
    """What a process of the fleet has said."""
    return [json.loads(line) for line in (directory / f"{name}.log").read_text().splitlines() if line.startswith("{")]


def asked(url: str) -> tuple[int, bool, bool]:
    """Messages sent, and whether the broker and the limiter can be asked."""
    pools.reset()  # kombu keeps connections of a process by address, whatever their TLS options
    with closing(Producer(url)) as producer, closing(Broker(url)) as broker:
        sent = producer.nudge([Nudge("orders", "shop")])
        try:
            broker.ping()
            pinged = True
        except BrokerUnavailable:
            pinged = False
    try:
        SharedLimiter(url, limit=1, window=1, sensitive_limit=1, deadline=1).peek("account")
    except LimiterUnavailable:
        return sent, pinged, False
    return sent, pinged, True
