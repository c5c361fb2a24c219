"""A network of a run's own, in which a host can vanish without a word. Only root may make one, on Linux."""

from __future__ import annotations

import shutil
import subprocess

_NFT = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin") or "nft"
_UP = f'ip link set lo up && {_NFT} add table ip hosts && exec "$@"'
MISSING = "no network of its own (root, unshare, nft)"
"""Why, for the table."""

OWN = ("unshare", "--net", "sh", "-c", _UP, "sh")
"""Runs a command in a network that has a loopback interface alone; nothing of it is seen outside, or stays."""


def to_be_had() -> bool:
    """Whether we may make one here."""
    try:
        return subprocess.run([*OWN, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def vanish(host: str) -> None:
    """From now on every packet to and from an address of loopback is lost; nobody is told."""
    _rule("chain ip hosts in { type filter hook input priority 0 ; }")
    for side in ("saddr", "daddr"):
        _rule(f"rule ip hosts in ip {side} {host} drop")


def come_back() -> None:
    """Nobody has vanished any more."""
    subprocess.run([_NFT, "flush", "table", "ip", "hosts"], check=True)


def lead(host: str, port: int, to: tuple[str, int]) -> None:
    """Let an address lead to a server from now on, and not to an earlier one; connections that are open stay there."""
    _rule("chain ip hosts out { type nat hook output priority -100 ; }")
    subprocess.run([_NFT, "flush", "chain", "ip", "hosts", "out"], check=True)
    _rule(f"rule ip hosts out ip daddr {host} tcp dport {port} dnat to {to[0]}:{to[1]}")


def _rule(text: str) -> None:
    subprocess.run([_NFT, "add", *text.split()], check=True)
