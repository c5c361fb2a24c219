"""The user that runs PostgreSQL: it refuses to run as root, so root gives it an ordinary user."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from backmarket.standalone.embedded.processes import StackError

_NAMES = ("postgres", "nobody")


@cache
def needed() -> pwd.struct_passwd | None:
    """The user to run PostgreSQL as; None if this process does not run as root.

    Raises:
        StackError: if this process runs as root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in _NAMES:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise StackError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as.")


def can_pass(path: Path) -> bool:
    """Whether that user may pass through a directory and all its parents."""
    if needed() is None:
        return True
    path = path.resolve()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))
