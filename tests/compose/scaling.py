"""Throughput of one, two and four workers against an API that takes its time."""

from __future__ import annotations

from backmarket.standalone.demo.checks import DemoFailed, Shops
from backmarket.standalone.demo.screen import Screen
from tests.compose.project import PATIENCE_SECONDS, Project, wait_until

ORGANIZATIONS = 400
LATENCY = 1.0
"""Seconds of the API for each request: a worker's 16 threads can do 16 syncs a second, and the two cores are idle."""
COUNTS = (1, 2, 4)
LEAST_GAIN = 1.5
"""Four workers against one; 3.5 on a quiet machine, and less on one that has other work to do."""


def tell(screen: Screen, stack: Project, shops: Shops) -> None:
    """Syncs of orders a second, by number of `worker-sync`."""
    with screen.step(f"{ORGANIZATIONS} small sellers are connected and synced"):
        open_many(shops)
    shops.sandbox.settings(latency=LATENCY, jitter=0.0)
    rates = {}
    for count in COUNTS:
        with screen.step(f"--scale worker-sync={count}: all of them synced again"):
            stack.up(worker_sync=count)
            stack.wait_well()
            rates[count] = ORGANIZATIONS / measure(shops)
        screen.say(f"    {rates[count]:.1f} syncs a second")
    if rates[4] < LEAST_GAIN * rates[1]:
        raise DemoFailed(f"Four workers are only {rates[4] / rates[1]:.1f} times as fast as one.")
    shops.sandbox.settings(latency=0.1)


def open_many(shops: Shops) -> None:
    """Sellers with three orders each, and nothing else to do."""
    for resource in ("listings", "deliveries", "returns"):
        shops.market.update_schedule(resource, enabled=False)
    for number in range(ORGANIZATIONS):
        name = f"small-{number}"
        shops.sandbox.add_seller(name, f"token-of-{name}", orders=3, listings=0, deliveries=0, returns=0)
        shops.market.upsert_connection(name, f"token-of-{name}", base_url="http://sandbox:8765")
    wait_until(lambda: shops.rows(_LEFT)[0][0] == 0, PATIENCE_SECONDS, "all are synced")


def measure(shops: Shops) -> float:
    """Make all of them due at once; the seconds until all are synced."""
    shops.rows(_DUE)
    seconds = wait_until(lambda: shops.rows(_LEFT)[0][0] == 0, PATIENCE_SECONDS, "all are synced")
    return max(seconds, 0.001)


_SMALL = "organization_id LIKE 'small-%' AND resource = 'orders'"
_DUE = (
    f"UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL, last_success_at = NULL WHERE {_SMALL}"
    " RETURNING 1"
)
_LEFT = f"SELECT count(*) FROM backmarket.sync_state WHERE {_SMALL} AND last_success_at IS NULL"
