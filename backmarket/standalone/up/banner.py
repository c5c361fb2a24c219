"""The text that `backmarket up` prints when everything runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from backmarket.errors import ENV_PREFIX
from backmarket.standalone.up.console import Console
from backmarket.standalone.up.environment import USER_AGENT
from backmarket.standalone.up.sellers import SELLERS, Sandbox


def render(
    directory: Path, environment: Mapping[str, str], console: Console, flower: str, sandbox: Sandbox | None
) -> str:
    """The addresses of everything, and the next steps.

    Args:
        directory: the stack's directory.
        environment: all settings.
        console: the console's address.
        flower: Flower's address and password.
        sandbox: None: no sandbox runs.
    """
    command = quote(_near(Path(sys.executable).with_name("backmarket")))
    lines = ["", "Everything runs. Ctrl-C stops it.", ""]
    lines += [f"  Console     {console.url}   {console.login}", f"  Flower      {flower}"]
    lines += [f"  {title:<11} {_where(environment[f'{ENV_PREFIX}{name}'])}" for title, name in _SERVERS.items()]
    if sandbox:
        lines.append(f"  Sandbox     {sandbox.url}   with {', '.join(SELLERS)}, connected")
    lines += [f"  Logs        {_near(directory / 'logs')}", "", "In another terminal:"]
    lines += [f"  . {quote(_near(directory / 'env'))}", f"  {command} status"]
    lines.append(f"  {command} orders list {next(iter(SELLERS))}" if sandbox else f"  {command} connections list")
    lines += ["", "To connect a seller of Back Market (it asks for the API key):"]
    if environment[f"{ENV_PREFIX}USER_AGENT"] == USER_AGENT:
        lines.append(f"  first start this with {ENV_PREFIX}USER_AGENT='BM-YourCompany-Sync;you@yourcompany.example'")
    lines += [f"  {command} connections add my-shop", ""]
    return "\n".join(lines)


_SERVERS = {"PostgreSQL": "DATABASE_URL", "Redis": "REDIS_URL", "S3": "S3_ENDPOINT_URL"}


def _where(url: str) -> str:
    """An address without its password."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":...@") if parts.password else url


def _near(path: Path) -> str:
    """The shortest form of a path from here, with a slash: a shell searches PATH for one without."""
    return f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)
