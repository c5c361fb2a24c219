"""`backmarket console`: web pages for the operators of the sellers' accounts."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from backmarket.cli.output import as_document, note, print_json, print_table, say
from backmarket.cli.parameters import AsJson, examples
from backmarket.cli.running import import_or_explain
from backmarket.cli.session import opened
from backmarket.errors import BackMarketError

app = typer.Typer(help="Web console: organizations, orders, listings, bulk files.")
sessions = typer.Typer(no_args_is_help=True, help="Who is logged in to the console.")
app.add_typer(sessions, name="sessions")


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


@sessions.command("list")
def show_sessions(as_json: AsJson = False) -> None:
    """List the sessions that have not ended."""
    with opened() as bm:
        found = bm.get_console_sessions()
    if as_json:
        print_json({"items": [as_document(each) for each in found], "next_cursor": None})
    elif not found:
        note("No person is logged in.")
    else:
        print_table(
            ("USER", "ROLE", "BY", "ADDRESS", "SINCE", "LAST SEEN", "UNTIL"),
            [
                (s.person, s.role, s.proved_by, s.client_address, s.created_at, s.last_seen_at, s.expires_at)
                for s in found
            ],
        )


@sessions.command("end", epilog=examples("console sessions end --user anna", "console sessions end --all"))
def end_sessions(
    user: Annotated[str | None, typer.Option(metavar="NAME", help="End the sessions of this user.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="End the sessions of all users.")] = False,
    as_json: AsJson = False,
) -> None:
    """End sessions for good; their users have to log in again. Their passwords stay valid."""
    if (user is None) == (not everybody):
        raise typer.BadParameter("Give either --user NAME or --all.")
    with opened() as bm:
        ended = bm.end_console_sessions(user)
    if as_json:
        print_json({"ended": ended})
    else:
        note(f"Sessions ended: {ended}.")
