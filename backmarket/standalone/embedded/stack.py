"""The stack: the three servers, started together and gone together."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings
from backmarket.standalone.embedded import home, watcher
from backmarket.standalone.embedded.interrupts import held_back
from backmarket.standalone.embedded.postgres import Postgres
from backmarket.standalone.embedded.processes import START_SECONDS, Server, StackError, wait_until_ready
from backmarket.standalone.embedded.s3 import S3
from backmarket.standalone.embedded.valkey import Valkey

Service = Literal["postgres", "valkey", "s3"]
SERVICES: tuple[Service, ...] = ("postgres", "valkey", "s3")
SETTINGS: Mapping[Service, Sequence[str]] = {
    "postgres": ("database_url",),
    "valkey": ("redis_url",),
    "s3": ("s3_endpoint_url", "s3_access_key", "s3_secret_key"),
}
"""Settings that name a real service; the first one decides."""
_S = TypeVar("_S", bound=Server)


@dataclass(frozen=True)
class StackAddresses:
    """The addresses of the three services, embedded or real; empty for one that was not requested."""

    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    s3_endpoint_url: str = ""
    s3_access_key: str = field(default="", repr=False)
    s3_secret_key: str = field(default="", repr=False)


class Stack:
    """PostgreSQL, Valkey and S3 for this process alone; they stop with it, however it ends.

    A context manager; `start` and `stop` do the same by hand.

    Args:
        directory: where data are kept from one start to the next; by default they are in a temporary
            directory that goes with the stack.
        settings: a service whose address they give is not started; that address is passed on.
        services: the services to start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        settings: Settings | None = None,
        services: Sequence[Service] = SERVICES,
    ) -> None:
        self._given = directory.absolute() if directory else None
        self._settings = settings
        self._services = services
        self._process = os.getpid()
        self._homes: list[home.Home] = []
        self._watcher: subprocess.Popen[bytes] | None = None
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def directory(self) -> Path:
        """The directory of its data."""
        return self._running()[0].path

    @property
    def addresses(self) -> StackAddresses:
        """The addresses of the services.

        Raises:
            StackError: if the stack does not run.
        """
        self._running()
        found = self._real_addresses()
        for server in self._servers.values():
            found |= server.settings
        return StackAddresses(**found)

    def environment(self) -> dict[str, str]:
        """The addresses as `BACKMARKET_*` variables."""
        found = vars(self.addresses)
        return {f"{ENV_PREFIX}{name.upper()}": value for name, value in found.items() if value}

    @property
    def postgres(self) -> Postgres:
        """The embedded PostgreSQL; a `StackError` if the stack does not embed it."""
        return self._server("postgres", Postgres)

    @property
    def valkey(self) -> Valkey:
        """The embedded Valkey; a `StackError` if the stack does not embed it."""
        return self._server("valkey", Valkey)

    @property
    def s3(self) -> S3:
        """The embedded S3 server; a `StackError` if the stack does not embed it."""
        return self._server("s3", S3)

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start the services side by side and wait until each answers.

        Raises:
            StackError: if a service cannot be started or does not answer, or a stack already runs in this directory.
            SettingsError: if a real S3 server was given without its keys.
        """
        if self._homes:
            raise StackError(f"This stack runs already, in {self.directory}.")
        try:
            self._start(timeout)
        except BaseException:  # Ctrl-C too: what was started is stopped
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and remove what is temporary; does nothing if it does not run."""
        if os.getpid() != self._process:
            return  # a fork's copy of this object: the stack is its parent's
        with ExitStack() as steps:  # every step runs, even if an earlier one fails
            for directory in self._homes:
                steps.callback(directory.release)
            steps.callback(self._end_watcher)
            for server in self._servers.values():
                steps.callback(server.stop)
            self._homes, self._servers = [], {}

    def _start(self, timeout: float) -> None:
        home.remove_abandoned()
        if self._given is not None:
            self._homes.append(home.claim(self._given))
        with held_back():
            self._homes.append(home.make_temporary())
            self._watcher = watcher.start([directory.path for directory in self._homes])
        self._make_servers(self._homes[0], self._homes[-1].path, durable=self._given is not None)
        self._real_addresses()  # a real service without its keys is refused before anything runs
        for server in self._servers.values():
            server.launch()
        wait_until_ready(self._servers.values(), timeout)

    def _make_servers(self, kept: home.Home, temporary: Path, *, durable: bool) -> None:
        """The servers, slowest first; PostgreSQL, whose launch waits for initdb, last."""
        if self._embeds("s3"):
            self._servers["s3"] = S3(kept, temporary)
        if self._embeds("valkey"):
            self._servers["valkey"] = Valkey(kept.path, durable=durable)
        if self._embeds("postgres"):
            self._servers["postgres"] = Postgres(kept.path, temporary, durable=durable)

    def _embeds(self, service: Service) -> bool:
        return service in self._services and service not in self._real_services()

    def _real_services(self) -> list[Service]:
        """The services that the settings give the address of."""
        return [name for name in self._services if self._settings and getattr(self._settings, SETTINGS[name][0])]

    def _real_addresses(self) -> dict[str, str]:
        names = [name for service in self._real_services() for name in SETTINGS[service]]
        return {name: self._settings.need(name) for name in names} if self._settings else {}

    def _server(self, name: Service, kind: type[_S]) -> _S:
        server = self._servers.get(name)
        if not isinstance(server, kind):
            raise StackError(f"This stack has no {name} of its own.")
        return server

    def _running(self) -> list[home.Home]:
        if not self._homes:
            raise StackError("The stack does not run; start it first.")
        return self._homes

    def _end_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            self._watcher = None
