"""What the commands for bulk files say about a file that was checked."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

from backmarket.cli import failures
from backmarket.cli.output import as_document, note, print_json, print_table, printable
from backmarket.errors import BulkFileRefused, FileFault
from backmarket.observability.durations import duration
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.bulk.file_check import FileCheck

ASKED_ABOVE: Final = timedelta(hours=1)
"""Duration above which a job is submitted only after confirmation, or with `--yes`."""

SHOWN: Final = 100
"""Maximum number of faults, or lines of a report, in a table; JSON and the files have all of them."""


def stop_if_refused(context: typer.Context, found: FileCheck, *, as_json: bool) -> None:
    """Show every fault, and end with the code of a usage error."""
    if found.reason is None:
        return
    if as_json:
        print_json(check_document(found))
    else:
        _print_faults(found)
    raise failures.fail(context, BulkFileRefused(found.reason, found.faults, found.fault_count))


def _print_faults(found: FileCheck) -> None:
    rows = [
        [
            each.row or each.line,
            each.place_in_row.removeprefix("column "),
            each.value,
            _sentences(each),
        ]
        for each in found.faults[:SHOWN]
    ]
    if rows:
        print_table(("ROW", "COLUMN", "VALUE", "FAULT"), rows)
    _tell_notes(found)
    if found.fault_count > SHOWN:
        note(f"There are {found.fault_count} faults. Show up to 10,000 with --json.")


def _sentences(fault: FileFault) -> str:
    problem, expected = fault.problem, fault.expected
    return f"{problem} {expected[:1].upper()}{expected[1:]}" if problem.endswith("?") else f"{problem}; {expected}"


def _tell_notes(found: FileCheck) -> None:
    for each in found.notes:
        note(printable(each))


def tell_bad_lines(found: FileCheck) -> None:
    """Print the notes on the file, and how many lines are skipped."""
    _tell_notes(found)
    if found.bad_lines:
        note(f"{found.bad_lines} of {found.lines} lines are bad and skipped; the report names them.")


def confirm(found: FileCheck, *, yes: bool) -> None:
    """Ask for confirmation if the job takes long.

    Raises:
        typer.BadParameter: if there is no terminal to ask on.
        typer.Abort: if the answer is no.
    """
    if yes or found.expected_duration <= ASKED_ABOVE:
        return
    if not sys.stdin.isatty():
        why = f"There is no terminal to ask on. Give --yes.{how_long(found)}"
        raise typer.BadParameter(why, param_hint="--yes")
    typer.confirm(
        f"The job takes at least {duration(found.expected_duration.total_seconds())}. Submit it?", abort=True, err=True
    )


def planned(found: FileCheck) -> str:
    """How many lines are sent, and how long that takes at least."""
    return f"{found.lines_to_send} of {found.lines} lines are sent, in {counted(found.parts, 'part')}.{how_long(found)}"


def how_long(found: FileCheck) -> str:
    """How long sending takes at least; empty: the quota does not delay it."""
    whole = found.expected_duration.total_seconds()
    return f" The quota of SKU lines allows this in {duration(whole)} at the earliest." if whole else ""


def check_document(found: FileCheck) -> dict[str, Any]:
    """The result of a check as JSON."""
    faults = [as_document(each) | {"text": str(each)} for each in found.faults]
    return as_document(found) | {"expected_duration": found.expected_duration.total_seconds(), "faults": faults}
