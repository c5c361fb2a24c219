"""The settings of our processes, which other terminals may load, too."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.up.private import write_private
from backmarket.standalone.up.state_file import StateFile

USER_AGENT = "BM-Example-Sync;contact@company.example"
"""User-Agent for the sandbox; for Back Market, it must name the real caller."""


def build_environment(stack: Stack, given: Settings, state: StateFile, sandbox_url: str | None) -> dict[str, str]:
    """All settings as variables: the user's own, the stack's addresses, and generated values for the rest.

    Args:
        stack: the running stack.
        given: the user's settings, from this process's environment.
        state: the state file of the stack's directory.
        sandbox_url: an origin that connections may name.
    """
    own = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX) and value}
    made = {} if given.secret_keys else {"SECRET_KEYS": state.secret_key}
    made |= {} if given.limiter_key else {"LIMITER_KEY": state.limiter_key}
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
