"""Who does the same work: our workers, dlt, and the bare script; each against the same sandbox and PostgreSQL."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backmarket.errors import ENV_PREFIX
from backmarket.resources import ResourceName
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.programs import CHECKOUT
from bench.setting import Setting, cpu_seconds, wait_until, workers

BENCH = Path(__file__).parent
DLT_HOME = CHECKOUT / ".tmp" / "dlt"
DLT_SCHEMA = "dlt_bench"
DLT_WARMING = "dlt_warming"
DLT_STATE = CHECKOUT / ".tmp" / "dlt-state"
DLT_LOCK = BENCH / "requirements-dlt.lock"
TIMEOUT_SECONDS = 300.0
"""Seconds that one run may take."""
WARMING = {f"warming-{n}": f"token-of-warming-{n}" for n in range(50)}
"""Organizations, with tokens, that ours and dlt load before they are measured: what begins only once has begun then,
such as threads, connections and what is imported late."""
WARMING_ROWS = 60
FLUSHED_AFTER = 10.5
"""Seconds after which an idle connection of PostgreSQL has told how many rows it wrote (PGSTAT_IDLE_INTERVAL)."""


@dataclass(frozen=True)
class Cost:
    """What a run cost its client processes, without their start.

    Attributes:
        wall: seconds until it was done.
        cpu: user and system time, in seconds.
        memory: the most that all of its processes had, in bytes.
        error: how it failed; None: it did not.
    """

    wall: float
    cpu: float
    memory: int
    error: str | None = None


class Contestant(Protocol):
    """Loads lists of organizations into PostgreSQL, as often as it is asked to."""

    def load(self) -> Cost:
        """Bring the tables up to date."""
        ...


@dataclass
class Job:
    """What is to be loaded.

    Attributes:
        name: a word for it.
        resource: `orders` or `listings`.
        tokens: of each organization.
        limit: requests that an account may send in ten seconds.
        fresh: nothing is loaded yet; otherwise it goes on from what another one of the same resource and tokens left.
        warm: something else is loaded first; see `WARMING`.
    """

    resource: ResourceName
    tokens: Mapping[str, str] = field(repr=False)
    limit: int
    fresh: bool
    warm: bool = True


@dataclass
class Ours:
    """One worker process, the dispatcher and beat."""

    here: Setting
    job: Job
    fleet: Fleet

    def load(self) -> Cost:
        """See `Contestant`."""
        used, began = cpu_seconds(self.fleet), monotonic()
        self._sync(self.job.tokens)
        wall = monotonic() - began
        return Cost(wall, cpu_seconds(self.fleet) - used, sum(map(peak, self.fleet.pids.values())))

    def warm(self) -> None:
        """Work once."""
        self._connect(WARMING)
        self._sync(WARMING)
        sleep(FLUSHED_AFTER)

    def begin_afresh(self) -> None:
        """Connect what is to be loaded, and nothing else."""
        self.here.empty()
        self._connect(self.job.tokens)

    def _connect(self, tokens: Mapping[str, str]) -> None:
        for organization, token in tokens.items():
            self.here.market.upsert_connection(organization, token, base_url=self.here.sandbox.url)

    def _sync(self, names: Iterable[str]) -> None:
        for name in names:
            self.here.market.sync(name, self.job.resource)
        wait_until(self._done, TIMEOUT_SECONDS, f"the {self.job.resource} are loaded")

    def _done(self) -> bool:
        return bool(self.here.execute(_OPEN, self.job.resource) == [(0,)])


@contextmanager
def ours(here: Setting, job: Job) -> Iterator[Contestant]:
    """Our processes on their defaults, warm; the organizations are connected, and only what is asked for is synced."""
    here.only("")
    with workers(here.environment | {f"{ENV_PREFIX}RATE_LIMIT": str(job.limit)}, "sync") as fleet:
        contestant = Ours(here, job, fleet)
        if job.warm:
            contestant.warm()
        if job.fresh:
            contestant.begin_afresh()
        yield contestant


@dataclass
class Dlt:
    """A dlt pipeline in a process that lives from its first run to its last one."""

    job: dict[str, Any]
    process: subprocess.Popen[str]

    def load(self) -> Cost:
        """See `Contestant`."""
        return Cost(**self._ask(self.job))

    def warm(self) -> None:
        """Work once, with a pipeline of its own."""
        self._ask(self.job | {"name": DLT_WARMING, "directory": f"{DLT_STATE}-warming", "tokens": WARMING})

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def dlt(here: Setting, job: Job) -> Iterator[Contestant]:
    """dlt, warm."""
    if job.fresh:
        here.execute(f"DROP SCHEMA IF EXISTS {DLT_SCHEMA}, {DLT_SCHEMA}_staging CASCADE")
        shutil.rmtree(DLT_STATE, ignore_errors=True)
    about = {
        "base_url": here.sandbox.url,
        "database_url": with_password(here.database_url),
        "directory": str(DLT_STATE),
        "name": DLT_SCHEMA,
        "resource": job.resource,
        "tokens": dict(job.tokens),
    }
    with subprocess.Popen(
        [str(dlt_python()), str(BENCH / "dlt_load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        contestant = Dlt(about, process)
        if job.warm:
            contestant.warm()
        yield contestant
        process.stdin.close()
        process.wait(TIMEOUT_SECONDS)


@dataclass
class Bare:
    """A process for each run."""

    here: Setting
    job: Job

    def load(self) -> Cost:
        """See `Contestant`."""
        owners = [f"{organization}={token}" for organization, token in self.job.tokens.items()]
        arguments = ["--database-url", self.here.database_url, "--base-url", self.here.sandbox.url]
        began = monotonic()
        done = subprocess.run(
            [sys.executable, str(BENCH / "bare.py"), *arguments, "--resource", self.job.resource, *owners],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return Cost(monotonic() - began, 0.0, 0, done.stderr.strip().splitlines()[-1])
        return Cost(**json.loads(done.stdout))


@contextmanager
def bare(here: Setting, job: Job) -> Iterator[Contestant]:
    """The bare script, with empty tables: it knows nothing else."""
    here.empty()
    yield Bare(here, job)


def dlt_python() -> Path:
    """The interpreter of dlt's own virtual environment, which is made the first time."""
    python = DLT_HOME / "bin" / "python"
    if not (DLT_HOME / "complete").exists():
        shutil.rmtree(DLT_HOME, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(DLT_HOME)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(DLT_LOCK)]
        subprocess.run([str(python), *install], check=True)
        (DLT_HOME / "complete").touch()
    return python


def with_password(url: str) -> str:
    """The same database with a password, which the embedded server does not ask for, and dlt does."""
    parts = conninfo_to_dict(url)
    host, port = quote(str(parts["host"]), safe=""), parts.get("port", 5432)
    return f"postgresql://{parts['user']}:none@{host}:{port}/{parts['dbname']}"


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    return peak_of(Path(f"/proc/{pid}/status").read_text())


def peak_of(status: str) -> int:
    """The same, from the text of `/proc/PID/status`."""
    (line,) = (each for each in status.splitlines() if each.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def rows_written(url: str) -> int:
    """Rows inserted, updated and deleted in all tables that stay, since the server began.

    The process that wrote them has ended: a connection writes its figures down when it does.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_WRITTEN).fetchone()
    return int(row[0]) if row else 0


_OPEN = "SELECT count(*) FROM backmarket.sync_state WHERE resource = %s AND requested > served"

_WRITTEN = """
SELECT COALESCE(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables
WHERE schemaname NOT LIKE 'pg\\_temp\\_%'
"""
