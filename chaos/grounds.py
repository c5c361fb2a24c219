"""Where rounds take place: servers, a sandbox and a fleet that stay, and a database that each round finds empty."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import redis
from minio import Minio
from pydantic import SecretStr

from backmarket import BackMarket
from backmarket.database.encryption import KeyCipher
from backmarket.database.schema import schema_text
from backmarket.errors import ENV_PREFIX
from backmarket.messages import QUEUES
from backmarket.sandbox import SandboxControl
from backmarket.sandbox.server import SandboxServer
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack, home, postgres_user
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from chaos import clocks
from chaos.host import QUEUE, TASK, Host

ROLE: Final = "chaos_workers"
DATABASE: Final = "chaos"
DISK_BYTES: Final = 96 * 1024 * 1024
"""Of the file system that the database lies on, where there is one of its own; an empty database has 10 MB."""

LIMIT, WINDOW = 40, 2.0
"""Requests of an account, and seconds."""

LEASE: Final = 2.5
WORKERS: Final = (
    Pool("one", tuple(sorted(set(QUEUES.values()))), 8),
    Pool("two", tuple(sorted(set(QUEUES.values()))), 8),
)
INSIDE: Final = Path(__file__).parent / "inside"
LABEL_BYTES: Final = 2000
PART_LINES: Final = 20
"""Of a part of a bulk file."""

QUICK: Final[dict[str, Any]] = {
    "database_pool_size": 6,
    "rate_limit": LIMIT,
    "rate_window": WINDOW,
    "connect_timeout": 0.5,
    "request_deadline": 1.5,
    "lease_seconds": LEASE,
    "watermark_overlap": 5.0,
    "task_budget_seconds": 3.0,
    "fetch_threads": 16,
    "label_window": 6,
    "label_max_bytes": 100_000,
    "write_window": 4,
    "event_deadline": 1.5,
    "bulk_part_lines": PART_LINES,
    "bulk_settle_after": 1.0,
    "bulk_unexplained_after": 2.0,
    "bulk_poll_initial_seconds": 0.3,
    "bulk_poll_max_seconds": 1.0,
    "bulk_poll_max_late_seconds": 1.0,
}
"""The product's settings, made short: a slice is taken over after 2.5 s, a window is over after 2."""


class Grounds:
    """Everything that outlives a round.

    Args:
        directory: for logs.
        off: the safeguard that the workers do without; see `chaos/inside`.
        settings: of the product, beside `QUICK`.
    """

    def __init__(self, directory: Path, *, off: str = "", **settings: Any) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        """The workers' TMPDIR."""
        self._off = off
        self._own = settings
        self._closing = ExitStack()
        self.disk: Path | None = None
        """Where the database's own file system is mounted; None: it has none."""

    def __enter__(self) -> Grounds:
        with ExitStack() as opened:
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(mode=0o700)
            self.disk = opened.enter_context(_small_disk())
            self.stack = opened.enter_context(Stack())
            opened.enter_context(_released(self))
            broker = opened.enter_context(Stack(services=("valkey",)))
            self.host = opened.enter_context(Host(broker.addresses.redis_url))
            self.sandbox_server = opened.enter_context(
                SandboxServer(limit=LIMIT, window=WINDOW, block=WINDOW, latency=0.03, jitter=0.06, task_delay=0.3)
            )
            self._make_database()
            self.settings = self._settings()
            self._make_bucket()
            self.clock = clocks.Clock(self.directory / "clock")
            self.fleet = opened.enter_context(Fleet(self._environment(), directory=self.directory, workers=WORKERS[:1]))
            pool = WORKERS[1]
            self.fleet.start_worker(pool.queues, pool.name, pool.concurrency, environment=self.clock.environment)
            self.market = opened.enter_context(BackMarket(self.settings))
            self.fleet.wait_ready()
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def sandbox(self) -> SandboxControl:
        """Steers the API."""
        return self.sandbox_server.control

    @property
    def possible(self) -> dict[str, bool]:
        """Faults that not every machine can do."""
        return {"disk_full": self.disk is not None, "clock_jump": self.clock.works}

    def ask(self, statement: str, *values: Any, **named: Any) -> list[tuple[Any, ...]]:
        """Run a statement as PostgreSQL's own administrator; its rows, if it gives any.

        Args:
            statement: SQL.
            values: of its parameters, in their order.
            named: of its parameters, by name; either these or the former.

        Raises:
            psycopg.Error: PostgreSQL is away, or refuses it.
        """
        with psycopg.connect(self._admin(DATABASE), autocommit=True, connect_timeout=3) as connection:
            cursor = connection.execute(statement.encode(), named or values or None)
            return cursor.fetchall() if cursor.description else []

    def redis(self) -> redis.Redis:
        """A connection to Valkey; the caller closes it."""
        return redis.Redis.from_url(self.settings.need("redis_url"), socket_timeout=5, socket_connect_timeout=2)

    def bucket(self) -> Minio:
        """A client of the S3 server."""
        at = self.stack.addresses
        return Minio(
            urlsplit(at.s3_endpoint_url).netloc, at.s3_access_key, at.s3_secret_key, secure=False, region="us-east-1"
        )

    @property
    def filler(self) -> Path | None:
        """The file that fills the database's own file system; None: it has none."""
        return self.disk / "filler" if self.disk is not None else None

    def make_room(self) -> None:
        """Let the database's file system be full no more."""
        if self.filler is not None:
            self.filler.unlink(missing_ok=True)

    def empty(self) -> None:
        """Let a round find nothing: no connection, no row, no message, no request counted."""
        tables = self.ask(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.columns"
            " WHERE column_name = 'organization_id' AND table_schema IN ('backmarket', 'chaos')"
        )
        others = ("sku_quota", "bucket_deletions", "event_attempts")
        names = ", ".join([*(table for (table,) in tables), *(f"backmarket.{table}" for table in others)])
        self.ask("UPDATE backmarket.connections SET enabled = false")
        while True:  # slices that were going on end now, as no worker may write any more
            try:
                self.ask(f"TRUNCATE {names} RESTART IDENTITY")
            except psycopg.errors.DeadlockDetected:
                continue
            break
        with self.redis() as client:
            client.flushdb()
        self.market._services.limiter.skip_recovery()  # the sellers of a round are new
        self.sandbox.remove_faults()
        self.sandbox.reset()

    def _settings(self) -> Settings:
        at = self.stack.addresses
        url = urlsplit(at.database_url)._replace(path=f"/{DATABASE}").geturl()
        return Settings.model_validate(
            {
                "database_url": url.replace("//backmarket@", f"//{ROLE}@"),
                "redis_url": at.redis_url,
                "s3_endpoint_url": at.s3_endpoint_url,
                "s3_access_key": at.s3_access_key,
                "s3_secret_key": at.s3_secret_key,
                "s3_bucket": "chaos",
                "secret_keys": (KeyCipher.generate(),),
                "limiter_key": secrets.token_hex(16),
                "user_agent": "BM-Chaos-Rounds;dev@test.example",
                "allowed_base_urls": (self.sandbox_server.url,),
                "event_task": TASK,
                "event_queue": QUEUE,
                "event_broker_url": self.host.redis_url,
                "event_private_origins": (self.host.origin,),
                "log_format": "json",
                **QUICK,
                **self._own,
            }
        )

    def _environment(self) -> dict[str, str]:
        values = self.settings.model_dump(exclude_none=True)
        return {
            **{f"{ENV_PREFIX}{name.upper()}": _text(value) for name, value in values.items()},
            "PYTHONPATH": f"{INSIDE}{os.pathsep}{INSIDE.parents[1]}",
            "TMPDIR": str(self.temporary),
            "CHAOS_OFF": self._off,
        }

    def _admin(self, database: str) -> str:
        return urlsplit(self.stack.addresses.database_url)._replace(path=f"/{database}").geturl()

    def _make_database(self) -> None:
        """A database of an ordinary role, on the small file system if there is one."""
        with psycopg.connect(self._admin("postgres"), autocommit=True) as connection:
            for command in (
                f"CREATE ROLE {ROLE} LOGIN",
                "CREATE ROLE backmarket_reader NOLOGIN",
                *([f"CREATE TABLESPACE small LOCATION '{self.disk}'"] if self.disk else []),
                f"CREATE DATABASE {DATABASE} OWNER {ROLE}{' TABLESPACE small' if self.disk else ''}",
            ):
                connection.execute(command.encode())
        url = self._admin(DATABASE).replace("//backmarket@", f"//{ROLE}@")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(schema_text().encode())
            connection.execute(Path(__file__).with_name("audit.sql").read_bytes())

    def _make_bucket(self) -> None:
        self.bucket().make_bucket(self.settings.s3_bucket)


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A file system of its own for the database, in memory; None where we may not mount one (we are not root)."""
    user = postgres_user.needed()
    if user is None:
        yield None
        return
    place = Path(tempfile.mkdtemp(prefix="chaos-disk-", dir=next(home.places())))
    mounted = subprocess.run(
        [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={DISK_BYTES},mode=0700,uid={user.pw_uid},gid={user.pw_gid}",
            "tmpfs",
            place,
        ],
        check=False,
        capture_output=True,
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", place], check=False)
        with suppress(OSError):
            place.rmdir()


@contextmanager
def _released(grounds: Grounds) -> Iterator[None]:
    """The servers are stopped only when they run: what a fault held up goes on."""
    try:
        yield
    finally:
        for server in (grounds.stack.postgres, grounds.stack.valkey, grounds.stack.s3):
            server.resume()


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def connections_of_the_dead(rows: list[tuple[str]]) -> list[str]:
    """Of connections by the names of their processes, those whose process is gone."""
    return [name for (name,) in rows if not _alive(int(name.removeprefix("chaos-")))]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
