"""The compose project of a fresh checkout, and what can be done to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from dotenv import dotenv_values

from backmarket.errors import ENV_PREFIX, DatabaseUnavailable
from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.up.environment import settings_of
from tests.compose.engine import CHECKOUT, STAND_INS, run

PORTS = ("POSTGRES_PORT", "REDIS_PORT", "MINIO_PORT", "MINIO_CONSOLE_PORT", "SANDBOX_PORT", "FLOWER_PORT")
FILES = ("docker-compose.yml", "docker-compose.dev.yml")
USER_AGENT = "BM-Example-Compose;contact@company.example"
PATIENCE_SECONDS = 600.0
"""Maximum seconds to wait for what takes some on a quiet machine: others may have work to do, too."""
LEASE_SECONDS = 15
"""Shorter than usual, so that the work of a killed worker is taken up sooner."""


class Project:
    """What `docker-compose` does in a directory.

    Args:
        directory: a checkout with an `.env`.
        name: the project's.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.values = {key: value or "" for key, value in dotenv_values(directory / ".env").items()}

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run `docker-compose` with both files."""
        files = [part for file in FILES for part in ("-f", file)]
        return run(*compose_command(), "-p", self.name, *files, *arguments, cwd=self.directory, check=check)

    def up(self, **scale: int) -> None:
        """Start what is not running, with so many of each service (`worker_sync=4`)."""
        scales = [part for name, count in scale.items() for part in ("--scale", f"{name.replace('_', '-')}={count}")]
        self.compose("up", "-d", "--no-build", *scales)

    def containers(self, service: str = "") -> list[str]:
        """The ids of the containers, all or those of a service."""
        label = f"label=com.docker.compose.service={service}" if service else f"name={self.name}"
        ours = f"label=com.docker.compose.project={self.name}"
        return run("docker", "ps", "--all", "--quiet", "--filter", ours, "--filter", label).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", container))
        return found[0]

    def unwell(self) -> list[str]:
        """The containers that are not healthy, or that ended with an error, and how they are."""
        states = [self.inspect(container) for container in self.containers()]
        return [f"{one['Name'].strip('/')}: {_state(one['State'])}" for one in states if not _well(one["State"])]

    def wait_well(self) -> None:
        """Wait until every container is healthy, or has done its work.

        Raises:
            TimeoutError: if that takes too long; the text says which are not, and how they are.
        """
        try:
            wait_until(lambda: not self.unwell(), PATIENCE_SECONDS, "every container is well")
        except TimeoutError as error:
            raise TimeoutError(f"{error} {self.unwell()}") from None

    def kill(self, service: str) -> None:
        """SIGKILL from outside to the first process of a container, as the system does when memory is short."""
        os.kill(self.inspect(self.containers(service)[0])["State"]["Pid"], signal.SIGKILL)

    def restarts(self, service: str) -> int:
        """How often the engine has started the containers of a service again."""
        return sum(self.inspect(one)["RestartCount"] for one in self.containers(service))

    def peak_memory(self, service: str) -> int:
        """The most that a process of ours ever had in a container that runs, in MiB."""
        told = self.compose("exec", "-T", service, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null; true")
        return max(int(kilobytes) for kilobytes in re.findall(r"VmHWM:\s+(\d+) kB", told)) // 1024

    def settings(self) -> Settings:
        """How a process on this machine, outside of the containers, reaches the services."""
        values = self.values
        shared = {name: value for name, value in values.items() if name.startswith(ENV_PREFIX)}
        own = {
            "DATABASE_URL": f"postgresql://backmarket:{values['BACKMARKET_DB_PASSWORD']}"
            f"@127.0.0.1:{values['POSTGRES_PORT']}/backmarket",
            "REDIS_URL": f"redis://producer:{values['REDIS_PRODUCER_PASSWORD']}@127.0.0.1:{values['REDIS_PORT']}/0",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{values['MINIO_PORT']}",
            "S3_ACCESS_KEY": "backmarket",
            "ALLOWED_BASE_URLS": "http://sandbox:8765",
        }
        return settings_of(shared | {f"{ENV_PREFIX}{name}": value for name, value in own.items()})


def compose_command() -> list[str]:
    """The plugin of Docker's client where there is one, else the older program, which Debian has."""
    plugin = run("docker", "compose", "version", check=False).startswith("Docker Compose")
    return ["docker", "compose"] if plugin else ["docker-compose"]


@contextmanager
def project(directory: Path) -> Iterator[Project]:
    """The project of a checkout, which is gone with all that it stored after the block."""
    found = Project(directory, "backmarket-test")
    try:
        yield found
    except BaseException:
        sys.stderr.write(found.compose("logs", "--no-color", "--tail", "15", check=False)[-12000:])
        raise
    finally:
        found.compose("down", "--volumes", "--timeout", "45")


def fresh_checkout(directory: Path) -> None:
    """Copy what git has of this checkout, as it is now, so that nothing depends on what else lies around."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, directory / name)


def write_env(directory: Path) -> None:
    """Make the secrets as an operator does, and add what is different here: ports, images, a short lease."""
    run("deploy/secrets", USER_AGENT, cwd=directory)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    own: dict[str, object] = {
        **ports,
        **STAND_INS,
        "BACKMARKET_S3_PUBLIC_ENDPOINT_URL": f"http://127.0.0.1:{ports['MINIO_PORT']}",
        "BACKMARKET_LEASE_SECONDS": LEASE_SECONDS,
        "FLOWER_URL_PREFIX": "flower",
    }
    with (directory / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in own.items())


def refusal(directory: Path) -> str:
    """What `docker-compose config` says where no secrets were made."""
    try:
        run(*compose_command(), "config", cwd=directory)
    except RuntimeError as error:
        return str(error)
    return ""


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> float:
    """Wait for a condition; the seconds that it took. While PostgreSQL is away, it is not met."""
    began = monotonic()
    while True:
        with suppress(DatabaseUnavailable):
            if condition():
                return monotonic() - began
        if monotonic() - began > timeout:
            raise TimeoutError(f"Not within {timeout:g} s: {what}.")
        sleep(0.25)


def _well(state: dict[str, Any]) -> bool:
    if state["Status"] == "exited":
        return bool(state["ExitCode"] == 0)
    return bool(state["Status"] == "running" and state.get("Health", {}).get("Status", "healthy") == "healthy")


def _state(state: dict[str, Any]) -> str:
    return f"{state['Status']} {state.get('Health', {}).get('Status', '')} {state['ExitCode']}"
