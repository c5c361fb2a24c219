"""The command line: its groups, and the handling of our errors."""

from __future__ import annotations

from errno import EPIPE
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backmarket.cli import (
    bulk,
    changes,
    connections,
    console,
    db,
    deliveries,
    doctor,
    keys,
    labels,
    listings,
    orderlines,
    orders,
    returns,
    running,
    schedule,
    status,
    syncing,
    writes,
)
from backmarket.cli.failures import INTERRUPTED, check_arguments, fail
from backmarket.cli.output import say
from backmarket.errors import BackMarketError

_EPILOG = """\b
Settings come from the environment (BACKMARKET_DATABASE_URL, ...): see .env.example.

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


_ORDER = (
    "demo",
    "up",
    "sandbox",
    "console",
    "db",
    "doctor",
    "connections",
    "sync",
    "status",
    "schedule",
    "orders",
    "orderlines",
    "listings",
    "deliveries",
    "returns",
    "bulk",
    "labels",
    "writes",
    "changes",
    "keys",
)


class Commands(TyperGroup):
    """All commands; the errors they raise on purpose become a sentence and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order in which a newcomer needs them."""
        return sorted(super().list_commands(ctx), key=_ORDER.index)

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

_GROUPS = (
    db,
    connections,
    schedule,
    orders,
    orderlines,
    listings,
    deliveries,
    returns,
    bulk,
    labels,
    writes,
    keys,
    console,
)

for group in _GROUPS:
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])
for commands in (syncing, status, changes, doctor, running):
    commands.register(app)


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
