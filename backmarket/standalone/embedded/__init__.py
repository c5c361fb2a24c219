"""PostgreSQL, Valkey and an S3 server from wheels: one private stack for the one-command start and the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backmarket.standalone.embedded.processes import StackError
    from backmarket.standalone.embedded.stack import Stack, StackAddresses

__all__ = ["Stack", "StackAddresses", "StackError"]


def __getattr__(name: str) -> object:
    """Import late: each stack's watcher loads this package but needs none of the clients."""
    if name in __all__:
        from backmarket.standalone.embedded import processes, stack

        return getattr(processes if name == "StackError" else stack, name)
    raise AttributeError(name)
