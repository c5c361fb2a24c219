"""Names of hosts that no server of names knows."""

from __future__ import annotations

import socket
from typing import Any

import pytest


def resolve_here(monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    """Let a domain and all names below it lead to this machine, in this process."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        ours = isinstance(host, str) and f".{host}".endswith(f".{domain}")
        return resolve("127.0.0.1" if ours else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
