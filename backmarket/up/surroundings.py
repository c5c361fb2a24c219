"""The settings that our processes get, and other terminals may read."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backmarket.embedded import Stack
from backmarket.embedded.ports import LOOPBACK, free_ports
from backmarket.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from backmarket.up.kept import Kept

USER_AGENT = "BM-Example-Sync;contact@company.example"
"""For the sandbox; Back Market wants to know who really calls."""


def environment(stack: Stack, given: Settings, kept: Kept, sandbox_url: str | None) -> dict[str, str]:
    """All settings as variables: the user's own, the stack's addresses, and what was generated for the rest.

    Args:
        stack: it runs.
        given: the user's settings, as they are in this process's environment.
        kept: of the stack's directory.
        sandbox_url: an origin that connections may name.
    """
    own = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX) and value}
    made = {} if given.secret_keys else {"SECRET_KEYS": kept.secret_key}
    made |= {} if given.limiter_key else {"LIMITER_KEY": kept.limiter_key}
    made |= {} if given.user_agent else {"USER_AGENT": USER_AGENT}
    if sandbox_url:
        made["ALLOWED_BASE_URLS"] = ",".join(dict.fromkeys((*given.allowed_base_urls, sandbox_url)))
    return own | stack.environment() | {f"{ENV_PREFIX}{name}": value for name, value in made.items()}


def settings_of(variables: Mapping[str, str]) -> Settings:
    """The settings that a process with these variables, and no others, reads."""
    values = {name: field.get_default() for name, field in Settings.model_fields.items()}
    given = {name: variables.get(f"{ENV_PREFIX}{name.upper()}") for name in values}
    return Settings(**values | {name: value for name, value in given.items() if value is not None})


def write_script(path: Path, variables: Mapping[str, str]) -> None:
    """Write the variables as a script for a shell to read; it holds every secret."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    write_private(path, "# Read it with: . ./env (written by `backmarket up`, holds secrets)\n" + "".join(lines))


def free_port(wanted: int) -> int:
    """This loopback port if nobody has it, and another one otherwise; 0: any."""
    with suppress(OSError), socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted:
            listener.bind((LOOPBACK, wanted))
            return wanted
    return free_ports(1)[0]


def write_private(path: Path, text: str) -> None:
    """Write a file that is readable by its user alone, at once and as a whole."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
