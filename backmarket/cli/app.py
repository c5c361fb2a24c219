"""The command line: its groups, and the handling of our errors."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EPIPE
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from backmarket.cli.failures import INTERRUPTED, check_arguments, fail
from backmarket.cli.output import say
from backmarket.documents import document
from backmarket.errors import BackMarketError

_EPILOG = f"""\b
Settings come from the environment (BACKMARKET_DATABASE_URL, ...): see {document(".env.example")}.

\b
Exit codes:
  0    done
  1    failed: the API refused it, or the work failed
  2    usage: an argument or a setting cannot be used
  3    not found: no such connection, or no such row
  4    not usable: the connection is disabled, has no key, or its key is refused
  5    unreachable: PostgreSQL, Redis or the S3 server
  6    timed out: the work continues
  130  Ctrl-C (console, sandbox and up end with 0 instead)
"""


_MODULES = {
    "demo": "running",
    "up": "running",
    "sandbox": "running",
    "console": "console",
    "worker": "workers",
    "beat": "workers",
    "flower": "workers",
    "metrics": "workers",
    "db": "db",
    "doctor": "doctor",
    "connections": "connections",
    "sync": "syncing",
    "status": "status",
    "inbox": "inbox",
    "find": "find",
    "figures": "figures",
    "schedule": "schedule",
    "orders": "orders",
    "orderlines": "orderlines",
    "listings": "listings",
    "deliveries": "deliveries",
    "returns": "returns",
    "bulk": "bulk",
    "labels": "labels",
    "writes": "writes",
    "changes": "changes",
    "events": "events",
    "keys": "keys",
    "audit": "audit",
}
"""The module of `backmarket.cli` that has a command or a group, in the order in which a newcomer needs them."""


class Commands(TyperGroup):
    """All commands; the errors they raise on purpose become a sentence and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order in which a newcomer needs them."""
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of one command (all take 0.2 s); an unknown name is compared with all of them."""
        for name in [cmd_name] if cmd_name in _MODULES else _MODULES:
            if name not in self.commands:
                self.commands.update(_load(name))
        return self.commands.get(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        check_arguments(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BackMarketError as error:
            raise fail(ctx, error) from None
        except typer.Abort as abort:
            if isinstance(abort.__context__, KeyboardInterrupt):  # Ctrl-C at a prompt
                raise typer.Exit(INTERRUPTED) from None
            raise
        except OSError as error:
            if error.errno == EPIPE:  # `| head`; Typer ends quietly
                raise
            raise fail(ctx, BackMarketError(f"The operating system refused the command: {error.strerror}.")) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # help that can be copied and grepped, in half the time
    pretty_exceptions_enable=False,  # it can show variables
)


def _load(name: str) -> Mapping[str, Any]:
    """The commands of the module that has this one, built by Typer."""
    module = import_module(f"backmarket.cli.{_MODULES[name]}")
    part = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if hasattr(module, "register"):
        module.register(part)
    else:
        part.add_typer(module.app, name=name)
    return get_group(part).commands


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"backmarket {version('backmarket')}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Back Market seller accounts, copied into PostgreSQL."""
