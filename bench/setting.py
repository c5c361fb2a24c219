"""What the benchmarks share: an embedded stack, a sandbox, real workers, and what they cost."""

from __future__ import annotations

import platform
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import psycopg

from backmarket.database.encryption import KeyCipher
from backmarket.database.schema import schema_text
from backmarket.errors import ENV_PREFIX
from backmarket.facade import BackMarket
from backmarket.limits import account_name
from backmarket.messages import QUEUES, SYNC_TASKS
from backmarket.sandbox.server import SandboxServer
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.stack import Service
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool

SYNC_QUEUES = tuple(QUEUES[task] for task in SYNC_TASKS.values())

TABLES = "orders orderlines listings deliveries returns labels changes sync_runs connections".split()


@dataclass
class Setting:
    """A stack with a sandbox beside it, and the object that a host application uses."""

    stack: Stack
    database_url: str
    sandbox: SandboxServer
    market: BackMarket
    environment: dict[str, str]

    def empty(self) -> None:
        """No connection and no row."""
        self.execute(f"TRUNCATE {', '.join(f'backmarket.{table}' for table in TABLES)} CASCADE")

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, if it gives any."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def settings(self) -> Settings:
        """What the workers read from their environment."""
        return Settings.model_validate(
            {name.removeprefix(ENV_PREFIX).lower(): value for name, value in self.environment.items()}
        )

    def connect(self, tokens: Mapping[str, str]) -> None:
        """Connect many organizations at once, none of them due, as if their orders had been walked in full just now.

        Args:
            tokens: of each organization.
        """
        settings = self.settings
        cipher, key = KeyCipher.from_settings(settings), settings.need("limiter_key")
        rows = [(name, cipher.encrypt(token), account_name(token, key)) for name, token in tokens.items()]
        self.execute(_CONNECT, *map(list, zip(*rows, strict=True)), self.sandbox.url)
        self.execute(_STATES)
        self.execute("ANALYZE backmarket.connections, backmarket.sync_state")

    def count_statements(self) -> None:
        """Restart PostgreSQL so that it counts statements; see `statements`."""
        self.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        self.stack.postgres.stop()
        self.stack.postgres.start()
        self.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def statements(self) -> int:
        """Statements that were run since `count_statements`, the beginnings and ends of transactions left out."""
        return int(self.execute(_STATEMENTS)[0][0])

    def postgres_cpu(self) -> float:
        """User and system time of PostgreSQL until now, with that of its processes that have ended."""
        return tree_cpu(self.stack.postgres.pid)

    def redis_cpu(self) -> float:
        """User and system time of Valkey until now."""
        return tree_cpu(self.stack.valkey.pid)

    def only(self, resource: str) -> None:
        """Let no other resource fall due by itself; an empty name: none."""
        self.execute("UPDATE backmarket.schedule SET enabled = resource = %s", resource)

    def synced(self, organizations: int, timeout: float = 120.0) -> float:
        """Wait until the orders of so many organizations are synced; the seconds since now."""
        began = monotonic()
        wait_until(lambda: self.execute(_SYNCED)[0][0] >= organizations, timeout, "the organizations are synced")
        return monotonic() - began


@contextmanager
def setting(
    sandbox: SandboxServer, *, servers: Sequence[Service] = ("postgres", "valkey"), **figures: Any
) -> Iterator[Setting]:
    """Start everything but workers.

    Args:
        sandbox: not yet started.
        servers: of the embedded stack.
        **figures: other settings of ours, such as `rate_limit`.
    """
    with Stack(services=servers) as stack, sandbox:
        environment = {
            **stack.environment(),
            f"{ENV_PREFIX}SECRET_KEYS": KeyCipher.generate(),
            f"{ENV_PREFIX}LIMITER_KEY": secrets.token_hex(16),
            f"{ENV_PREFIX}USER_AGENT": "BM-Bench-Suite;dev@bench.example",
            f"{ENV_PREFIX}ALLOWED_BASE_URLS": sandbox.url,
            **{f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in figures.items()},
        }
        url = stack.addresses.database_url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(schema_text().encode())
        settings = Settings.model_validate(
            {name.removeprefix(ENV_PREFIX).lower(): value for name, value in environment.items()}
        )
        services = Services(settings)
        services.limiter.skip_recovery()
        services.close()
        with BackMarket(settings) as market:
            yield Setting(stack, url, sandbox, market, environment)


@contextmanager
def workers(
    environment: Mapping[str, str],
    *names: str,
    dispatcher: bool = True,
    queues: Iterable[str] = SYNC_QUEUES,
    concurrency: int = 16,
) -> Iterator[Fleet]:
    """These workers, ready, with beat and a dispatcher unless told otherwise."""
    pools = [Pool("dispatch", ("dispatch",), 1)] if dispatcher else []
    pools += [Pool(name, tuple(queues), concurrency) for name in names]
    with (
        tempfile.TemporaryDirectory() as logs,
        Fleet(environment, directory=Path(logs), workers=pools, beat=dispatcher) as fleet,
    ):
        fleet.wait_ready()
        yield fleet


def cpu_seconds(fleet: Fleet) -> float:
    """User and system time of all processes of the fleet until now."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in fleet.pids.values())


def tree_cpu(pid: int | None) -> float:
    """User and system time of a process and of all processes that it started, also of those that have ended."""
    root = psutil.Process(pid)
    while True:
        try:
            running = [child.cpu_times() for child in root.children(recursive=True)]
        except psutil.NoSuchProcess:  # it ended just now, and counts as its parent's
            continue
        own = root.cpu_times()
        ended = own.children_user + own.children_system
        return float(sum(each.user + each.system for each in [own, *running]) + ended)


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Wait for a condition; `what` is said when it does not come true in so many seconds."""
    until = monotonic() + timeout
    while not condition():
        if monotonic() > until:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        sleep(0.05)


def machine() -> str:
    """This machine, for the head of a table of figures."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")), platform.machine()
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()}"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


_SYNCED = "SELECT count(*) FROM backmarket.sync_state WHERE resource = 'orders' AND last_success_at IS NOT NULL"

_STATEMENTS = """
SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
WHERE toplevel AND query !~* '^(BEGIN|SET LOCAL|COMMIT|ROLLBACK)' AND query !~ 'pg_stat_statements'
"""

_CONNECT = """
INSERT INTO backmarket.connections
    (organization_id, api_key, account, environment, region, locale, base_url)
SELECT name, api_key, account, 'production', 'EU', 'fr-fr', origin
FROM unnest(%s::text[], %s::bytea[], %s::text[]) AS one (name, api_key, account), (SELECT %s AS origin) AS here
"""

_STATES = """
INSERT INTO backmarket.sync_state
    (organization_id, resource, watermark, last_success_at, full_walk_due_at, next_due_at)
SELECT organization_id, resource, CASE WHEN resource = 'orders' THEN now() END, now(), 'infinity', 'infinity'
FROM backmarket.connections CROSS JOIN backmarket.schedule
ON CONFLICT DO NOTHING
"""
