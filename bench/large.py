"""What grows with the number of organizations: ticks, looks and scrapes among 10,000 and among 100,000.

    python -m bench.large [--organizations 10000,100000] [--orders 200000] [--tries 20]

Rows are made by PostgreSQL; nothing syncs. Each line is the median of some tries in milliseconds, for each size, and
how many times more the last size takes than the first: at most ten times is what ten times the organizations explain.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter

from cryptography.fernet import Fernet

from backmarket import BackMarket, changes, work
from backmarket.messages import SYNC_TASKS
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.status import deployment_metrics, inbox_events
from backmarket.status.broker import Broker
from backmarket.sync.requests import claim_due
from bench.setting import machine
from tests.support.databases import open_connection
from tests.support.many import LARGE, fill

Figures = dict[str, float]
"""Milliseconds, or bytes for each organization, by what was done."""

RUNS = 8
"""Rows of `sync_runs` of each sync: of four hours."""
SOME = 500
"""Rows that a page of the change feed has."""


@contextmanager
def filled(organizations: int, orders: int) -> Iterator[tuple[BackMarket, Services, str]]:
    """A database with so many organizations."""
    with Stack(services=("postgres", "valkey")) as stack:
        settings = Settings.model_validate(
            {
                "database_url": stack.addresses.database_url,
                "redis_url": stack.addresses.redis_url,
                "secret_keys": Fernet.generate_key().decode(),
                "limiter_key": secrets.token_hex(16),
            }
        )
        services = Services(settings)
        with BackMarket(settings) as market:
            market.apply_schema()
            fill(stack.addresses.database_url, organizations=organizations, orders=orders, runs=RUNS)
            yield market, services, stack.addresses.database_url
        services.close()


def measured(organizations: int, orders: int, tries: int) -> Figures:
    """The figures of one size."""
    with filled(organizations, orders) as (market, services, url):
        database, broker = services.database, Broker(services.settings.broker)
        middle = f"seller-{organizations // 2:06}"
        cursor = market.changes_cursor()

        def tick() -> None:
            for resource in SYNC_TASKS:
                claim_due(database, resource)
            work.claim_due(database)

        looked: Mapping[str, Callable[[], object]] = {
            "a tick with what falls due in it": tick,
            "announce changes, nothing new": lambda: changes.announce(database),
            "compare the inbox": lambda: inbox_events.record_inbox(database),
            "a scrape of the exporter": lambda: deployment_metrics.measure(database, broker),
            "counts of the overview": market.get_overview,
            "a page of the overview's organizations": lambda: market.get_connection_statuses(after=middle, limit=26),
            "status of 1,000 syncs": lambda: market.get_status(after=middle, limit=1000),
            "what fails": lambda: market.get_status(failing=True, limit=13),
            "what waits for a limit": lambda: market.get_throttled(limit=13),
            "one organization's status": lambda: market.get_status(after=middle, limit=4),
            f"{SOME} changes of the feed": lambda: market.changes(limit=SOME),
            "the feed, nothing new": lambda: market.changes(cursor, limit=SOME),
        }
        found = {name: timed(look, tries) for name, look in looked.items()}
        with open_connection(url, autocommit=True) as connection:
            for name, bytes_used in connection.execute(_SIZES).fetchall():
                found[f"{name}: bytes for each organization"] = float(bytes_used) / organizations
        return found


def timed(look: Callable[[], object], tries: int) -> float:
    """Milliseconds at the median, after one that opens the connections."""
    look()
    took = []
    for _ in range(tries):
        began = perf_counter()
        look()
        took.append(perf_counter() - began)
    return 1000 * median(took)


_SIZES = """
SELECT 'table ' || relname, pg_table_size(oid) FROM pg_class
WHERE oid IN ('backmarket.connections'::regclass, 'backmarket.sync_state'::regclass)
UNION ALL SELECT 'indexes of ' || relname, pg_indexes_size(oid) FROM pg_class
WHERE oid IN ('backmarket.connections'::regclass, 'backmarket.sync_state'::regclass)
ORDER BY 1
"""


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", default="10000,100000", help="sizes, with commas")
    parser.add_argument("--orders", type=int, default=200_000, help=f"in all; half are those of {LARGE!r}")
    parser.add_argument("--tries", type=int, default=20)
    options = parser.parse_args()
    print(f"Measured on {machine()}; PostgreSQL shares it.")
    found = {int(size): measured(int(size), options.orders, options.tries) for size in options.organizations.split(",")}
    first, last = next(iter(found.values())), list(found.values())[-1]
    print("| | " + " | ".join(f"{size:,}" for size in found) + " | times |")
    for name in first:
        print(
            f"| {name} | "
            + " | ".join(f"{each[name]:.1f}" for each in found.values())
            + f" | {last[name] / first[name]:.1f} |"
        )


if __name__ == "__main__":
    main()
