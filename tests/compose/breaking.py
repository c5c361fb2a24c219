"""What is killed and restarted while there is work, and that none of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from backmarket.standalone.demo import checks
from backmarket.standalone.demo.checks import DemoFailed, Shops
from backmarket.standalone.demo.screen import Screen
from backmarket.standalone.demo.sellers import ALIVE
from tests.compose.project import PATIENCE_SECONDS, Project, wait_until

ORDERS = 15_000
"""Of each large seller: 300 pages, which the limit of 200 in ten seconds makes last."""
BATCH = 16
"""Pages that are stored in one transaction; one may have been under way when the fault came."""
BULK_LINES = 100
"""Of the file under way during a fault; all of them together fit the hour's quota of the account."""
GRACE = 45.0
"""Seconds; `stop_grace_period`."""


def tell(screen: Screen, stack: Project, shops: Shops) -> None:
    """One fault after another, each while a large seller is on its first walk and a bulk job is under way."""
    shops.sandbox.remove_faults()
    faults: tuple[tuple[str, Callable[[], object], str], ...] = (
        ("A worker was killed (SIGKILL)", partial(stack.kill, "worker-sync"), "worker-sync"),
        ("Redis was killed (SIGKILL)", partial(stack.kill, "redis"), "redis"),
        ("PostgreSQL was killed (SIGKILL)", partial(stack.kill, "postgres"), "postgres"),
        ("Redis was restarted", partial(stack.compose, "restart", "redis"), ""),
        ("PostgreSQL was restarted", partial(stack.compose, "restart", "postgres"), ""),
    )
    for number, (sentence, fault, service) in enumerate(faults):
        with screen.step(f"{sentence}: all went on by itself, nothing was lost"):
            before = stack.restarts(service) if service else 0
            seconds, synced = under(shops, f"large-{number}", fault)
            if service and stack.restarts(service) == before:
                raise DemoFailed(f"The engine did not start {service} again.")
        screen.say(
            f"    the walk went on {seconds:.1f} s after it, its {ORDERS} orders were stored {synced:.1f} s after it"
        )
    with screen.step("A worker is told to end within its grace period, hands on, and another goes on"):
        handed_on(stack, shops)
    with screen.step("A worker that hangs (SIGSTOP) is killed by its own health check, and started again"):
        hang(stack)


def under(shops: Shops, name: str, fault: Callable[[], object]) -> tuple[float, float]:
    """Let a large seller be walked and a bulk job run, do something to that, and see that all of it is done.

    Returns:
        Seconds from the fault until the walk went on, and until it ended.
    """
    sell(shops, name)
    bulk = ALIVE[0]
    lines = ["sku;quantity", *(f"{row['sku']};{row['quantity'] + 1}" for row in listings(shops, bulk))]
    sent_before = shops.sandbox.stats().sellers[bulk].sku_lines
    job = shops.market.create_or_update_listings(bulk, "\n".join(lines))
    wait_until(lambda: pages(shops, name) > 20, PATIENCE_SECONDS, "the walk is under way")
    at = pages(shops, name)
    fault()
    began = monotonic()
    wait_until(lambda: pages(shops, name) > at + 2 * BATCH or synced(shops, name), PATIENCE_SECONDS, "the walk goes on")
    on = monotonic() - began
    wait_until(lambda: synced(shops, name), PATIENCE_SECONDS, "the walk ended")
    done = monotonic() - began
    wait_until(job.done, PATIENCE_SECONDS, "the bulk job ended")
    outcome = job.status()
    sent = shops.sandbox.stats().sellers[bulk].sku_lines - sent_before
    if (outcome.state, outcome.lines_done, sent) != ("done", len(lines) - 1, len(lines) - 1):
        raise DemoFailed(f"The bulk job: {outcome.state}, {outcome.lines_done} lines done, {sent} sent.")
    shops.market.sync(bulk, "listings").wait(PATIENCE_SECONDS)
    checks.labels_stored(shops, [name])
    checks.equal_to_the_truth(shops, [*ALIVE, name])
    return on, done


def handed_on(stack: Project, shops: Shops) -> None:
    """SIGTERM in the middle of a walk: the container ends by itself, with 0, and its successor ends the walk."""
    name = "large-stopped"
    sell(shops, name)
    wait_until(lambda: pages(shops, name) > 20, PATIENCE_SECONDS, "the walk is under way")
    (old,) = stack.containers("worker-sync")
    began = monotonic()
    stack.compose("stop", "worker-sync")
    if monotonic() - began > GRACE or stack.inspect(old)["State"]["ExitCode"]:
        raise DemoFailed(f"It took {monotonic() - began:.0f} s: {stack.inspect(old)['State']}")
    owner = shops.rows(
        f"SELECT lease_until > now() FROM backmarket.sync_state WHERE organization_id = '{name}'"
        " AND resource = 'orders'"
    )
    if owner[0][0]:
        raise DemoFailed("The lease was kept.")
    stack.up()
    wait_until(lambda: synced(shops, name), PATIENCE_SECONDS, "the walk ended")
    checks.equal_to_the_truth(shops, [name])


def hang(stack: Project) -> None:
    """Freeze a worker's process, which then neither answers nor hears a SIGTERM."""
    (container,) = stack.containers("worker-labels")
    before = stack.inspect(container)["RestartCount"]
    stack.compose("exec", "-T", "worker-labels", "sh", "-c", "kill -s STOP -- -1")
    wait_until(
        lambda: stack.inspect(container)["RestartCount"] > before, PATIENCE_SECONDS, "the hung worker is started again"
    )
    stack.wait_well()


def sell(shops: Shops, name: str) -> None:
    """Open an account and connect it."""
    shops.sandbox.add_seller(name, f"token-of-{name}", orders=ORDERS, listings=50, deliveries=40, returns=10)
    shops.market.upsert_connection(name, f"token-of-{name}", base_url="http://sandbox:8765")


def listings(shops: Shops, name: str) -> list[dict[str, Any]]:
    """Some listings as they are now."""
    return shops.sandbox.truth(name, "listings")[:BULK_LINES]


def pages(shops: Shops, name: str) -> int:
    """Pages of a walk of orders that are stored."""
    found = shops.rows(
        f"SELECT max(next_page) FROM backmarket.walks WHERE organization_id = '{name}' AND resource = 'orders'"
    )
    return int(found[0][0] or 0)


def synced(shops: Shops, name: str) -> bool:
    """All four resources of a seller are synced."""
    states = shops.market.get_connection_status(name).resources.values()
    return all(state.last_success_at is not None for state in states)
