"""One organization with 200,000 orders on its first sync, next to many small ones: how late are their syncs?

    python -m bench.fairness [--large 1] [--orders 200000] [--organizations 200] [--interval 10] [--seconds 120]

Three times, with beat, a dispatcher and one worker: the small ones alone; with the large one and the limit out of the
way, so that the machine is what is short, until it is synced; and with the real limit for a while. A sync is as late as
its success comes after the moment at which it was due; one that is due at the end counts with what it is late by then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic, sleep

import psycopg

from backmarket.errors import ENV_PREFIX
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from bench.setting import Setting, machine, percentile, setting, wait_until, workers

LARGE = "large-%"
LIMIT = 200
NO_LIMIT = 1_000_000


def main() -> None:
    """Print a line for each of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=1, help="large organizations")
    parser.add_argument("--orders", type=int, default=200_000, help="of each large organization")
    parser.add_argument("--organizations", type=int, default=200, help="small ones")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two syncs of a small one")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to look; the large sync may take thrice")
    options = parser.parse_args()
    small = {f"small-{number}": f"token-of-{number}" for number in range(options.organizations)}
    sellers = [SellerSpec(name=name, token=token, orders=3) for name, token in small.items()]
    large = {f"large-{number}": f"token-of-large-{number}" for number in range(options.large)}
    sellers += [SellerSpec(name=name, token=token, orders=options.orders) for name, token in large.items()]
    print(f"Measured on {machine()}; PostgreSQL, Valkey, the sandbox and all of ours share it.")
    with setting(SandboxServer(sellers)) as here:
        with running(here, small, options.interval, NO_LIMIT):
            late = lateness(here, options.interval, options.seconds / 4)
        say("the small ones alone", late)
        with running(here, small, options.interval, NO_LIMIT):
            walk(here, large)
            began = monotonic()
            late = lateness(here, options.interval, 3 * options.seconds, until_walked=True)
            say(f"beside the large, without a limit: {progress(here, monotonic() - began)}", late)
        with running(here, small, options.interval, LIMIT):
            walk(here, large)
            began = monotonic()
            late = lateness(here, options.interval, options.seconds)
            say(f"beside the large, with the limit: {progress(here, monotonic() - began)}", late)
        print(f"{here.sandbox.control.stats().violations} violations of the limit")


@contextmanager
def running(here: Setting, small: dict[str, str], interval: float, limit: int) -> Iterator[None]:
    """The small ones, due in their phases, with beat, a dispatcher and a worker."""
    here.empty()
    here.connect(small)
    here.only("orders")
    here.execute("UPDATE backmarket.schedule SET interval_seconds = %s", interval)
    here.execute(_INTO_PHASE, interval)
    here.sandbox.control.settings(limit=limit)
    with workers({**here.environment, f"{ENV_PREFIX}RATE_LIMIT": str(limit)}, "sync"):
        wait_until(lambda: here.execute(_WAITING) == [(0,)], 60, "every small one was synced once")
        yield


def walk(here: Setting, large: Mapping[str, str]) -> None:
    """Connect the large ones."""
    for organization, token in large.items():
        here.market.upsert_connection(organization, token, base_url=here.sandbox.url)


def walked(here: Setting) -> bool:
    """Whether the large ones are synced."""
    return here.execute(_UNWALKED, LARGE) == [(0,)]


def progress(here: Setting, seconds: float) -> str:
    """How far the large ones came."""
    orders = here.execute("SELECT count(*) FROM backmarket.orders WHERE organization_id LIKE %s", LARGE)[0][0]
    return f"{orders} orders in {seconds:.0f} s{'' if walked(here) else ', not finished'}"


def lateness(here: Setting, interval: float, seconds: float, *, until_walked: bool = False) -> list[float]:
    """How late each sync of a small one was, in seconds.

    Args:
        here: the setting.
        interval: seconds between two syncs.
        seconds: how long to look.
        until_walked: at the most; no longer than the first sync of the large ones takes.
    """
    late: list[float] = []
    known: dict[str, tuple[datetime, datetime]] = {}
    until = monotonic() + seconds
    with psycopg.connect(here.database_url, autocommit=True) as connection:
        while monotonic() < until and not (until_walked and walked(here)):
            for organization, due, success in connection.execute(_STATES, (LARGE,)):
                before = known.get(organization)
                if before is not None and success != before[1]:
                    late.append((success - before[0]).total_seconds())
                known[organization] = (due, success)
            sleep(min(0.2, interval / 20))
        late += [row[0] for row in connection.execute(_LATE_NOW, (LARGE,))]
    return late


def say(what: str, late: list[float]) -> None:
    """One line of the table."""
    middle, most = percentile(late, 0.5), percentile(late, 0.99)
    print(
        f"{what} | {len(late)} small syncs, late by {middle:.2f} s (median), {most:.2f} s (99%, goal: 30),"
        f" {max(late):.2f} s (most)",
        flush=True,
    )


_INTO_PHASE = """
UPDATE backmarket.sync_state
SET next_due_at = backmarket.next_in_phase(organization_id || '/' || resource, %s) WHERE resource = 'orders'
"""

_WAITING = "SELECT count(*) FROM backmarket.sync_state WHERE resource = 'orders' AND runs = 0"

_UNWALKED = """
SELECT count(*) FROM backmarket.sync_state
WHERE organization_id LIKE %s AND resource = 'orders' AND last_full_walk_at IS NULL
"""

_STATES = """
SELECT organization_id, next_due_at, last_success_at FROM backmarket.sync_state
WHERE resource = 'orders' AND organization_id NOT LIKE %s
"""

_LATE_NOW = """
SELECT extract(epoch FROM clock_timestamp() - next_due_at)::float8 FROM backmarket.sync_state
WHERE resource = 'orders' AND organization_id NOT LIKE %s AND next_due_at < clock_timestamp()
"""


if __name__ == "__main__":
    main()
