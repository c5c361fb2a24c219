"""`backmarket sync`: request a sync now, and wait for it if requested."""

from __future__ import annotations

import shlex
from time import monotonic
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from backmarket.cli import failures
from backmarket.cli.failures import INTERRUPTED
from backmarket.cli.output import as_document, describe, note, print_json, printable, say
from backmarket.cli.parameters import AsJson, Organization, examples
from backmarket.cli.progress import following
from backmarket.cli.session import opened
from backmarket.errors import BackMarketError, NotAvailable, WaitTimeout

if TYPE_CHECKING:
    from backmarket.resources import ResourceName
    from backmarket.status.sync_status import ConnectionStatus
    from backmarket.sync.handle import SyncHandle, SyncOutcome

SyncEnd: TypeAlias = "SyncOutcome | BackMarketError"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "sync shop-1", "sync shop-1 --resource orders --full --wait --timeout 900", "sync shop-1 --market de-de"
        )
    )(sync)


def sync(
    organization: Organization,
    resource: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sync only this resource, such as orders.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Fetch the whole list, not only changes.")] = False,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Whether to store the labels of its shipments in the bucket.")
    ] = True,
    accept_missing: Annotated[
        bool,
        typer.Option(
            "--accept-missing", help="Fetch the whole list, and check all rows missing from it, however many."
        ),
    ] = False,
    market: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sync only this market of the listings, such as de-de.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the sync has ended.")] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Sync an organization now: every resource in every market, or one.

    A worker runs it, whatever the schedule; the request is kept until then.
    """
    if market is not None:
        resource = resource or "listings"
    with opened() as bm:
        names = cast(
            "list[ResourceName]", [resource] if resource else _resources(bm.get_connection_status(organization))
        )
        handles = [
            bm.sync(organization, name, full=full, download_labels=labels, accept_missing=accept_missing, market=market)
            for name in names
        ]
        ends: list[SyncEnd | None] = [*_wait(handles, timeout)] if wait else [None] * len(handles)
    errors = [end for end in ends if isinstance(end, BackMarketError)]
    if resource is not None and errors:
        raise errors[0]
    if as_json:
        items = [_document(handle, end) for handle, end in zip(handles, ends, strict=True)]
        print_json({"items": items, "next_cursor": None})
    else:
        for handle, end in zip(handles, ends, strict=True):
            _tell(handle, end)
    # an account without BackShip does not make the whole sync a failure
    grave = [error for error in errors if not isinstance(error, NotAvailable)]
    if grave:
        raise typer.Exit(failures.exit_code(grave[0]))


def _resources(status: ConnectionStatus) -> list[str]:
    return [each.resource for each in status.resources.values() if not each.market]


def _wait(handles: list[SyncHandle], timeout: float) -> list[SyncEnd]:
    until = monotonic() + timeout
    try:
        with following(handles):
            return [_end(handle, until) for handle in handles]
    except KeyboardInterrupt:
        note(f"Workers continue the sync. Check it with `backmarket status {_word(handles[0].organization_id)}`.")
        raise typer.Exit(INTERRUPTED) from None


def _end(handle: SyncHandle, until: float) -> SyncEnd:
    """How a sync ended, or why it did not; the time limit is shared by all syncs."""
    left = max(0.0, round(until - monotonic(), 1))
    try:
        return handle.wait(left)
    except WaitTimeout as error:
        return error if left else WaitTimeout("The sync has not ended; workers continue it.")
    except BackMarketError as error:
        return error


def _document(handle: SyncHandle, end: SyncEnd | None) -> dict[str, object]:
    error = end if isinstance(end, BackMarketError) else None
    return {
        "organization_id": handle.organization_id,
        "resource": handle.resource,
        "number": handle.number,
        "outcome": None if end is None or error else as_document(end),
        "error": failures.as_document(error) if error else None,
    }


def _tell(handle: SyncHandle, end: SyncEnd | None) -> None:
    if isinstance(end, NotAvailable):
        say(f"{handle.resource} of {printable(handle.organization_id)}: not available to this account.")
    elif isinstance(end, BackMarketError):
        note(f"Error: {handle.resource}: {describe(end)}")
    else:
        say(f"{handle.resource} of {printable(handle.organization_id)}: {_said(handle, end)}")


def _said(handle: SyncHandle, outcome: SyncOutcome | None) -> str:
    if outcome is None and not handle.nudged:
        return "requested; Redis is unreachable, and a worker begins within a minute of Redis's return."
    if outcome is None:
        return f"requested; `backmarket status {_word(handle.organization_id)}` shows its progress."
    counts = {
        "new": outcome.rows_created,
        "changed": outcome.rows_updated,
        "unchanged": outcome.rows_unchanged,
        "gone": outcome.rows_removed,
        "not storable": outcome.rows_rejected,
    }
    words = [f"{count} {what}" for what, count in counts.items() if count]
    asked = f" ({outcome.requests} requests)" if outcome.requests else ""
    return f"{', '.join(words) or 'nothing new'}{asked}."


def _word(organization: str) -> str:
    return printable(shlex.quote(organization))
