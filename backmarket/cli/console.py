"""`backmarket console`: web pages for the operators of the sellers' accounts."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from backmarket.cli.output import note, say
from backmarket.cli.parameters import examples
from backmarket.cli.running import import_or_explain
from backmarket.errors import BackMarketError

app = typer.Typer(help="Web console: organizations, orders, listings, bulk files.")


@app.callback(
    invoke_without_command=True,
    epilog=examples("console", "console password anna --role operator", "console --port 8600"),
)
def run(
    context: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8600,
) -> None:
    """Serve the console, until Ctrl-C.

    It does not start before BACKMARKET_CONSOLE_USERS names who may log in, or an authenticating proxy is configured.
    """
    if context.invoked_subcommand is not None:
        return
    served = import_or_explain("backmarket.console.server")
    from backmarket.observability.logs import configure
    from backmarket.settings import load_settings

    settings = load_settings()
    configure(settings)
    try:
        served.run(
            settings, host=host, port=port, on_ready=lambda url: say(f"The console is at {url}. Ctrl-C ends it.")
        )
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "the address cannot be used"
        raise BackMarketError(f"The console can't listen on {host}, port {port}: {why}.") from None


@app.command(epilog=examples("console password anna", "console password otto --role operator < password.txt"))
def password(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")],
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="viewer: reads only. operator: also changes things.")
    ] = "viewer",
) -> None:
    """Print a user for BACKMARKET_CONSOLE_USERS; asks for the password, or reads it from standard input."""
    users = import_or_explain("backmarket.console.access.users")
    if role in users.RENAMED_ROLES:
        raise typer.BadParameter(f"{role} is {users.RENAMED_ROLES[role]} now.", param_hint="--role")
    if role not in set(users.Role):
        raise typer.BadParameter(f"There is no role {role!r}. Choose viewer or operator.", param_hint="--role")
    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    setting = users.as_setting(name, users.Role(role), given)
    say(setting)
    note("Add it to BACKMARKET_CONSOLE_USERS; separate users by commas. The password itself is not stored.")
