"""Sellers for tests: a sandbox, services that talk to it, and the truth to compare tables with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from backmarket.connections import Account
from backmarket.database import Database, Transaction
from backmarket.errors import ENV_PREFIX
from backmarket.organizations import lifecycle
from backmarket.resources import OF_A_MARKET, ORDERS, RESOURCES
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.sync import leases
from backmarket.sync.engine import SliceResult, run_slice
from backmarket.sync.leases import Lease
from backmarket.sync.requests import request_sync
from tests.support.databases import not_as_process, open_connection
from tests.support.waiting import wait_until


@dataclass
class Shop:
    """One process of ours beside one sandbox: what a worker does, without a worker.

    Attributes:
        settings: of the test's own corner of the stack.
        sandbox: stands for Back Market.
        resources: which syncs the test is about; those that are connected have no others.
        services: of the process.
    """

    settings: Settings
    sandbox: SandboxControl
    resources: tuple[str, ...] = ("orders",)
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.settings.model_copy(update={"allowed_base_urls": (self.sandbox.url,)})
        self.services = Services(self.settings)
        self.services.limiter.skip_recovery()

    def restart(self, **changes: Any) -> None:
        """Another process, with other settings perhaps; PostgreSQL's statistics of the last one are written down."""
        self.services.close()
        self.settings = self.settings.model_copy(update=changes)
        self.services = Services(self.settings)

    def sell(self, organization: str, *, orders: int = 300, token: str | None = None, **spec: Any) -> None:
        """Open a seller account named like the organization, and connect it."""
        token = token or f"token-of-{organization}"
        self.sandbox.add_seller(organization, token, orders=orders, **spec)
        self.connect(organization, token, **({"markets": spec["markets"]} if "markets" in spec else {}))

    def connect(self, organization: str, token: str, **parts: Any) -> None:
        """Connect an organization with a token."""
        account = Account(organization, token, base_url=self.sandbox.url, **parts)
        lifecycle.upsert(self.services.database, self.services.key_cipher, self.settings, account)
        self.execute("DELETE FROM backmarket.sync_state WHERE NOT resource = ANY(%s)", list(self.resources))

    def run_slice(
        self,
        organization: str,
        resource: str = "orders",
        *,
        full: bool = False,
        ask: bool = True,
        market: str = "",
        **asked: Any,
    ) -> SliceResult:
        """One slice; asked for, so that it is due."""
        if ask:
            request_sync(self.services.database, organization, resource, full=full, market=market, **asked)
        return run_slice(self.services, organization, resource, market)

    def sync(
        self, organization: str, resource: str = "orders", *, full: bool = False, market: str = "", **asked: Any
    ) -> SliceResult:
        """Slices until the walk ends, as the dispatcher would give them."""
        slice_ = self.run_slice(organization, resource, full=full, market=market, **asked)
        requests = slice_.requests
        while slice_.end == "handed_on":
            self.make_due(organization, resource)
            slice_ = self.run_slice(organization, resource, ask=False, market=market)
            requests += slice_.requests
        return SliceResult(slice_.end, requests)

    def make_due(self, organization: str, resource: str = "orders") -> None:
        """Let what the next slice waits for be over, in all markets."""
        self.execute(
            "UPDATE backmarket.sync_state SET next_due_at = now() WHERE organization_id = %s AND resource = %s",
            organization,
            resource,
        )

    def every(self, seconds: float) -> None:
        """Sync everything at this interval, in seconds."""
        self.execute("UPDATE backmarket.schedule SET interval_seconds = %s", seconds)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own; its rows, if it gives any."""
        with self._transaction() as transaction:
            cursor = transaction.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _transaction(self) -> AbstractContextManager[Transaction]:
        """What the test itself changes and looks at, its process may have no right to."""
        url = self.settings.need("database_url")
        return self.services.database.transaction() if not_as_process(url) == url else open_connection(url)

    def one(self, statement: str, *values: Any) -> Any:
        """The only value of a statement."""
        return self.execute(statement, *values)[0][0]

    def assert_equals_truth(self, organization: str) -> None:
        """Every order and line that the sandbox lists is stored as it is there, and nothing else."""
        truth = {row["order_id"]: row for row in self.sandbox.truth(organization)}
        listed = {key for key, row in truth.items() if row["state"] not in {0, 8}}
        stored = dict(
            self.execute(
                "SELECT order_id, raw FROM backmarket.orders WHERE organization_id = %s AND removed_at IS NULL",
                organization,
            )
        )
        assert listed - set(stored) == set(), "orders are missing"
        assert set(stored) - set(truth) == set(), "orders are stored that are gone"
        assert {key for key in stored if unsigned(stored[key]) != unsigned(truth[key])} == set(), "orders differ"
        lines = {line["id"]: (key, line) for key in stored for line in truth[key]["orderlines"]}
        stored_lines = {
            key: (order, raw)
            for key, order, raw in self.execute(
                "SELECT orderline_id, order_id, raw FROM backmarket.orderlines"
                " WHERE organization_id = %s AND removed_at IS NULL",
                organization,
            )
        }
        assert stored_lines == lines, "order lines differ"

    def assert_rows_equal_truth(self, organization: str, name: str) -> None:
        """Every listing, delivery or return that the sandbox has is stored as it is there, and nothing else."""
        resource = RESOURCES[name]
        truth = {str(row[resource.key.source]): row for row in self.sandbox.truth(organization, name)}
        key = resource.key.name
        stored = dict(
            self.execute(
                f"SELECT {key}::text, raw FROM backmarket.{name} WHERE organization_id = %s AND removed_at IS NULL",
                organization,
            )
        )
        assert set(truth) - set(stored) == set(), f"{name} are missing"
        assert set(stored) - set(truth) == set(), f"{name} are stored that are gone"
        assert {one for one in stored if unsigned(stored[one]) != unsigned(truth[one])} == set(), f"{name} differ"

    def assert_market_equals_truth(self, organization: str, market: str) -> None:
        """Every listing is stored as the sandbox shows it in a further market, and nothing else."""
        truth = {
            row["id"]: {name: row[name] for name in OF_A_MARKET if name in row}
            for row in self.sandbox.truth(organization, "listings", market)
        }
        stored = dict(
            self.execute(
                "SELECT listing_id::text, raw FROM backmarket.listing_markets"
                " WHERE organization_id = %s AND market = %s AND removed_at IS NULL",
                organization,
                market,
            )
        )
        assert stored == truth, f"{market} differs"


def let_time_pass(shop: Shop, seconds: float) -> None:
    """Make all that is noted of refused keys so many seconds older."""
    shop.execute(_AGED, *[seconds] * 4)


_AGED = """UPDATE backmarket.connections SET refused_at = refused_at - make_interval(secs => %s),
    unauthorized_at = unauthorized_at - make_interval(secs => %s),
    next_probe_at = next_probe_at - make_interval(secs => %s), probed_at = probed_at - make_interval(secs => %s)"""


@contextmanager
def counted_writes(shop: Shop) -> Iterator[Callable[[], dict[str, int]]]:
    """Counts row writes (inserted, updated and deleted) for each table, from here to the call."""
    shop.restart()
    before = _writes(shop)

    def since() -> dict[str, int]:
        shop.restart()
        after = _writes(shop)
        return {table: after[table] - before[table] for table in after if after[table] != before[table]}

    yield since


def _writes(shop: Shop) -> dict[str, int]:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: shop.one(others) == 0, "the last process's connections ended, and wrote their statistics down")
    return dict(
        shop.execute(
            "SELECT COALESCE(inhparent::regclass::text, s.relname), sum(n_tup_ins + n_tup_upd + n_tup_del)::int"
            " FROM pg_stat_user_tables s LEFT JOIN pg_inherits ON inhrelid = relid"
            " WHERE schemaname = 'backmarket' GROUP BY 1"
        )
    )


def take_lease(database: Database, organization: str, *, owner: str = "another", seconds: float = 60) -> Lease | None:
    """The lease of an organization's orders, as a worker takes it; None: there is nothing to do, or another has it."""
    seen = leases.probe(database, organization, ORDERS)
    return leases.claim(database, seen, owner=owner, seconds=seconds) if seen else None


def environment(settings: Settings) -> dict[str, str]:
    """The same settings as another process reads them."""
    values = settings.model_dump(exclude_none=True)
    return {f"{ENV_PREFIX}{name.upper()}": _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)
