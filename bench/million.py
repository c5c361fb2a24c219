"""One organization with very many orders, and four at once in one process: its peak memory, seconds and requests.

    python -m bench.million --orders 1000000 --together 4

The API is a list that makes its pages when they are asked for, in this process, without a limit; PostgreSQL is the
embedded one.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic

import psycopg
from cryptography.fernet import Fernet

from backmarket.connections import Account
from backmarket.database.schema import schema_text
from backmarket.organizations import lifecycle
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.sync.engine import run_slice
from backmarket.sync.requests import request_sync
from tests.support.lazy_orders import Killed, LazyOrders, answer_with

STATUS = Path("/proc/self/status")


def memory(name: str) -> float:
    """Megabytes of this process: `VmRSS`, or since `forget_peak` the highest, `VmHWM`."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Let the peak begin at what is used now."""
    Path("/proc/self/clear_refs").write_text("5")


def kill() -> None:
    """The worker dies here."""
    raise Killed


class Bench:
    """Organizations of one size, each with a list of its own."""

    def __init__(self, stack: Stack, orders: int) -> None:
        addresses = stack.addresses
        with psycopg.connect(addresses.database_url, autocommit=True) as connection:
            connection.execute(schema_text().encode())
        self.orders = orders
        self.settings = Settings(
            database_url=addresses.database_url,
            redis_url=addresses.redis_url,
            secret_keys=(Fernet.generate_key().decode(),),
            limiter_key="limiter-key-of-the-benchmark-only",
            user_agent="BM-Bench-Million;dev@test.example",
        )
        self.lists: dict[str, LazyOrders] = {}

    def services(self, organization: str) -> Services:
        """A worker's services, whose requests this organization's list answers."""
        services = Services(self.settings)
        answer_with(services, self.lists[organization])
        return services

    def open(self, organization: str) -> None:
        """Connect an organization."""
        self.lists[organization] = LazyOrders(self.orders)
        services = self.services(organization)
        lifecycle.upsert(services.database, services.key_cipher, self.settings, Account(organization, organization))
        services.close()

    def run(self, what: str, organizations: list[str], *, full: bool = False, kills: tuple[float, ...] = ()) -> None:
        """Sync organizations at once, and print what it took."""
        pages = self.orders // 50
        for one in organizations:
            listed = self.lists[one]
            listed.requests = 0
            listed.then = {max(1, int(pages * share)): kill for share in kills}
            if full or kills:
                listed.then[pages // 2] = partial(listed.modify, listed.total // 4)
        forget_peak()
        base, began = memory("VmRSS"), monotonic()
        with ThreadPoolExecutor(len(organizations)) as pool:
            list(pool.map(lambda one: self._sync(one, full=full), organizations))
        took, requests = monotonic() - began, sum(self.lists[one].requests for one in organizations)
        print(
            f"{what}: {len(organizations)} x {self.orders:,} orders, {took:.0f} s, {requests:,} requests"
            f" ({pages * len(organizations):,} pages), memory {base:.0f} MB before, peak {memory('VmHWM'):.0f} MB",
            flush=True,
        )

    def _sync(self, organization: str, *, full: bool) -> None:
        services = self.services(organization)
        request_sync(services.database, organization, "orders", full=full)
        while True:
            try:
                run_slice(services, organization, "orders")
            except Killed:
                services.close()
                services = self.services(organization)
                self._execute(services, "lease_until = now() - interval '1 s'", organization)
            self._execute(services, "next_due_at = now(), sync_due_at = now() + interval '1 day'", organization)
            with services.database.transaction() as transaction:
                (open_,) = transaction.execute(
                    "SELECT requested > served FROM backmarket.sync_state"
                    " WHERE organization_id = %s AND resource = 'orders'",
                    (organization,),
                ).fetchone() or (False,)
            if not open_:
                break
        services.close()

    @staticmethod
    def _execute(services: Services, assignments: str, organization: str) -> None:
        with services.database.transaction() as transaction:
            transaction.execute(
                f"UPDATE backmarket.sync_state SET {assignments}"
                " WHERE organization_id = %s AND resource = 'orders'".encode(),
                (organization,),
            )

    def remove(self, organization: str, count: int) -> None:
        """Let orders be gone, spread over the list."""
        listed = self.lists[organization]
        listed.removed |= set(range(7, listed.total, listed.total // count))

    def check(self, organization: str) -> None:
        """Every order is stored, and exactly those that are gone are marked."""
        services = self.services(organization)
        with services.database.transaction() as transaction:
            stored, removed = transaction.execute(
                "SELECT count(*), count(removed_at) FROM backmarket.orders WHERE organization_id = %s",
                (organization,),
            ).fetchone() or (0, 0)
        services.close()
        assert (stored, removed) == (self.orders, len(self.lists[organization].removed)), (stored, removed)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--together", type=int, default=4)
    options = parser.parse_args()
    with Stack() as stack:
        bench = Bench(stack, options.orders)
        names = [f"org{number}" for number in range(options.together)]
        for name in names:
            bench.open(name)
        print(f"an idle process: {memory('VmRSS'):.0f} MB", flush=True)
        bench.run("first sync, killed twice", names[:1], kills=(0.3, 0.7))
        bench.check(names[0])
        bench.run("incremental", names[:1])
        bench.remove(names[0], 5)
        bench.run("full walk with removed rows, killed twice", names[:1], full=True, kills=(0.3, 0.7))
        bench.check(names[0])
        if options.together > 1:
            bench.run("first sync of the others at once", names[1:])
            for name in names:
                bench.remove(name, 5)
            bench.run("full walks at once", names, full=True)
            for name in names:
                bench.check(name)


if __name__ == "__main__":
    main()
