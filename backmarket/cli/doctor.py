"""`backmarket doctor`: what is wrong, and how to fix it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backmarket.cli.output import as_document, note, print_json, printable, say
from backmarket.cli.parameters import AsJson, examples
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.doctor import Finding

_MARKS: Final = {"ok": "ok     ", "warning": "WARNING", "fault": "FAULT  ", "skipped": "skipped"}
_COLOURS: Final = {"ok": "green", "warning": "yellow", "fault": "red", "skipped": "bright_black"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("doctor", "doctor --connection shop-1", "doctor --json"))(doctor)


def doctor(
    connection: Annotated[
        str | None, typer.Option("--connection", metavar="ORG", help="Also ask the API with this connection's key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check this deployment for faults, and say what to do about each.

    Settings, PostgreSQL and its tables, broker, rate limiter, bucket, and whether workers run. Run it where
    the workers run, with their settings. The exit code is 1 if there is a fault; a warning is not a fault.
    """
    from backmarket.doctor import examine

    _silence()
    found = list(_shown(examine(connection), quiet=as_json))
    if as_json:
        print_json({"items": [as_document(each) for each in found]})
    faults, warnings = (sum(each.verdict == verdict for each in found) for verdict in ("fault", "warning"))
    if not as_json:
        told = f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}."
        note(told if faults or warnings else "All is well.")
    if faults:
        raise typer.Exit(1)


def _shown(found: Iterable[Finding], *, quiet: bool) -> Iterator[Finding]:
    for each in found:
        if not quiet:
            mark = typer.style(_MARKS[each.verdict], fg=_COLOURS[each.verdict]) if _coloured() else _MARKS[each.verdict]
            say(f"{mark}  {each.check}: {printable(each.found)}")
            if each.advice:
                say(f"         -> {printable(each.advice)}")
        yield each


def _silence() -> None:
    """Turn logs off: each fault is reported once, with its advice."""
    from backmarket.errors import SettingsError
    from backmarket.observability.logs import configure
    from backmarket.settings import load_settings

    with suppress(SettingsError):  # which is reported as a finding, too
        configure(load_settings().model_copy(update={"log_level": "CRITICAL"}))
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def _coloured() -> bool:
    return sys.stdout.isatty()
