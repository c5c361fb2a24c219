"""What all commands that change something at Back Market share: waiting, and reporting the outcome."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backmarket.cli.failures import INTERRUPTED
from backmarket.cli.output import as_document, note, print_json, printable, say

if TYPE_CHECKING:
    from backmarket.writes.handle import WriteHandle, WriteOutcome

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait for the outcome.")]
Timeout = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait.")]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="Idempotency key: a repeated call is sent once."),
]
Market = Annotated[
    str | None, typer.Option("--locale", "--market", metavar="NAME", help="Market, if not the connection's locale.")
]
UncheckedImei = Annotated[bool, typer.Option("--unchecked-imei", help="Send the IMEI without checking its digits.")]

SECONDS = 60.0
"""Seconds that a command waits by default."""

_CONFIRMED = {
    "answer": "Back Market confirmed it",
    "reading_back": "its answer was lost, and reading back shows that it happened",
    "person": "a person",
}


def conclude(handle: WriteHandle, *, wait: bool, timeout: float, as_json: bool) -> None:
    """Wait for a change, if requested, and report its outcome.

    Args:
        handle: the change's handle.
        wait: whether to wait.
        timeout: maximum seconds to wait.
        as_json: print JSON.

    Raises:
        BackMarketError: if it was refused, its outcome is unknown, or it takes longer.
    """
    outcome = _wait(handle, timeout) if wait else None
    if as_json:
        print_json(_document(handle, outcome))
    elif outcome is not None:
        say(f"Done: {_CONFIRMED[outcome.confirmed_by]} (write {handle.id}).")
    else:
        when = "" if handle.nudged else " Redis is unreachable; a worker sends it within a minute of Redis's return."
        say(f"Write {handle.id} is queued. Check it with `{_show(handle)}`.{when}")


def _wait(handle: WriteHandle, timeout: float) -> WriteOutcome:
    try:
        return handle.wait(timeout)
    except KeyboardInterrupt:
        note(f"Workers continue it. Check it with `{_show(handle)}`.")
        raise typer.Exit(INTERRUPTED) from None


def _document(handle: WriteHandle, outcome: WriteOutcome | None) -> dict[str, Any]:
    return {
        "organization_id": handle.organization_id,
        "write_id": handle.id,
        "outcome": None if outcome is None else as_document(outcome),
    }


def _show(handle: WriteHandle) -> str:
    return f"backmarket writes show {printable(shlex.quote(handle.organization_id))} {handle.id}"
