"""PostgreSQL: Debian's 15 and 17 and the wheel's 18, with and without PgBouncer, and a standby that is promoted."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from backmarket.standalone.embedded.processes import StackError
from tests.servers import network
from tests.servers.postgres.servers import ForeignPostgres, PgBouncer, Programs, debian, of_the_wheel
from tests.servers.run import run_pytest
from tests.servers.table import Row

PRODUCT = tuple(
    f"tests/integration/{room}"
    for room in ("sync", "writes", "bulk", "labels", "changes", "database", "queries", "work", "upkeep")
)
LIMITED = "tests/servers/postgres/test_limits.py"
"""The role's time limits and number of connections: those of a pooler are the pooler's own."""
QUICK = ("tests/integration/changes", "tests/integration/database", "tests/integration/sync/test_upsert.py",
    "tests/integration/writes/test_writes.py", "tests/integration/bulk/test_contested.py", LIMITED)  # fmt: skip
"""What depends on the version and the locale most."""

EMBEDDED = ("a_restart_of_postgresql", "a_crash_of_postgresql")
"""Tests that stop the embedded server prove nothing of another."""
SESSIONS = (
    *("told_at_once_and_does_not_wait", "closing_it_ends_its_connection", "a_cut_connection_loses", "held_back_event"),
    *("many_writers_one_watcher", "no_reason_to_read_them_all", "answered_by_its_index", "without_an_offset_counts"),
)
"""Tests that find a session of the program in `pg_stat_activity`, cut it, set it up by the URL, or have its plans told:
a pooler shares them.
Announcements do not pass through a pooler; that events arrive all the same is another test's."""
LIMITS = {
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "max_connections": "60",
    "default_transaction_isolation": "serializable",
    "timezone": "Pacific/Chatham",
    "datestyle": "German, DMY",
}


@dataclass(frozen=True)
class _Place:
    """One server.

    Attributes:
        programs: of it.
        tried: for the table.
        locale: options of initdb.
        options: settings.
        tests: which.
        pooled: PgBouncer is between the program and it.
    """

    programs: Programs
    tried: str
    locale: Sequence[str] = ("--locale=C",)
    options: Mapping[str, str] = field(default_factory=dict)
    tests: Sequence[str] = QUICK
    pooled: bool = False


def rows() -> Iterator[Row]:
    """What was tried on each server."""
    _install()
    for place in _places():
        version = str(place.programs.version)
        if not place.programs.there:
            yield Row("PostgreSQL", version, place.tried, "its programs are not installed", passed=None)
            continue
        with _running(place) as told:
            without = (*EMBEDDED, *(SESSIONS if place.pooled else ()))
            tests = [each for each in place.tests if not (place.pooled and each == LIMITED)]
            chosen = ["-m", "not slow", *tests]
            yield run_pytest(
                "PostgreSQL", version, place.tried, chosen, told, " and ".join(f"not {name}" for name in without)
            )
    for programs in (debian(15), debian(17), of_the_wheel()):
        if programs.there:
            yield from _failovers(str(programs.version))


def _failovers(version: str) -> Iterator[Row]:
    told, directory = {"TEST_POSTGRES_VERSION": version}, "tests/servers/postgres"
    tried = "a standby is promoted, in a round of all work"
    yield run_pytest("PostgreSQL", version, tried, [f"{directory}/test_failover.py"], told)
    tried = "the primary's host vanishes without a word, in a round of all work"
    if network.to_be_had():
        tests = [f"{directory}/test_vanished.py"]
        yield run_pytest("PostgreSQL", version, tried, tests, told, within=network.OWN)
    else:
        yield Row("PostgreSQL", version, tried, network.MISSING, passed=None)


def _places() -> Iterator[_Place]:
    rooms, letters = "PgBouncer, transaction mode: all rooms that write", ("--locale=C.UTF-8",)
    yield _Place(debian(15), rooms, letters, tests=PRODUCT, pooled=True)
    german = ("--locale-provider=icu", "--icu-locale=de-DE", "--locale=C")
    yield _Place(debian(15), "German collation (ICU), zone, date style, serializable, time limits", german, LIMITS)
    yield _Place(debian(17), "collation C")
    yield _Place(debian(17), "German collation (ICU), zone, date style, serializable, time limits", german, LIMITS)
    yield _Place(of_the_wheel(), "PgBouncer, transaction mode", pooled=True)


@contextmanager
def _running(place: _Place) -> Iterator[dict[str, str]]:
    """The variables that tell tests of a server, for as long as the `with` block."""
    with tempfile.TemporaryDirectory(prefix="backmarket-postgres.", dir=place.programs.root / "var/tmp") as directory:
        home = Path(directory)
        home.chmod(0o711)
        server = ForeignPostgres("server", home, place.programs, place.locale, place.options)
        bouncer = PgBouncer(home, server)
        try:
            server.start()
            told = {"TEST_DATABASE_URL": server.url}
            if place.pooled:
                bouncer.start()
                told["TEST_POOLER_ADDRESS"] = bouncer.address
            yield told
        finally:
            bouncer.stop()
            server.stop()


def _install() -> None:
    """Debian's packages, where we may."""
    with suppress(OSError, StackError):
        if not debian(15).there or not Path("/usr/sbin/pgbouncer").exists():
            command = ["apt-get", "install", "--yes", "--no-install-recommends", "postgresql", "pgbouncer"]
            subprocess.run(command, check=False, capture_output=True)
