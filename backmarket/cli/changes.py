"""`backmarket changes`: what was created, updated and removed."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, cast

import typer

from backmarket.cli.failures import INTERRUPTED
from backmarket.cli.output import as_document, note, print_json, print_table, printable, say
from backmarket.cli.parameters import AsJson, examples
from backmarket.cli.session import opened

if TYPE_CHECKING:
    from backmarket.changes import Change
    from backmarket.facade import BackMarket
    from backmarket.resources import ResourceName


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("changes", "changes --organization shop-1 --follow", "changes --after now --json"))(
        changes
    )


def changes(
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR",
            help="Start after this event, or `now`. Default: the oldest kept event; with --follow, now.",
        ),
    ] = None,
    organization: Annotated[str | None, typer.Option(metavar="ORG", help="Only of this organization.")] = None,
    resource: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this resource.")] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of events, 1 to 10000; not with --follow.")
    ] = 1000,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new events until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was created, updated and removed, oldest first; with --json, also values that are not personal.

    With --follow and --json, each line is one JSON document.
    """
    with opened() as bm:
        if follow:
            _follow(bm, after or "now", organization, resource, as_json=as_json)
        else:
            _print_page(bm, after, organization, resource, limit, as_json=as_json)


def _print_page(
    bm: BackMarket, after: str | None, organization: str | None, resource: str | None, limit: int, *, as_json: bool
) -> None:
    page = bm.changes(after, organization_id=organization, resource=cast("ResourceName | None", resource), limit=limit)
    if as_json:
        items = [as_document(change) for change in page]
        print_json({"items": items, "next_cursor": page.next_cursor, "more": page.more})
        return
    if page.items:
        print_table(
            ("RECORDED (UTC)", "ORGANIZATION", "RESOURCE", "ID", "KIND", "FIELDS"),
            [
                (each.recorded_at, each.organization_id, each.resource, each.external_id, each.kind, _fields(each))
                for each in page
            ],
        )
    note(f"{'There are more' if page.more else 'Later events'}: --after {page.next_cursor}")


def _follow(bm: BackMarket, after: str, organization: str | None, resource: str | None, *, as_json: bool) -> None:
    cursor = after
    try:
        for change in bm.watch(after, organization_id=organization, resource=cast("ResourceName | None", resource)):
            say(_document(change) if as_json else _line(change))
            cursor = change.cursor
    except KeyboardInterrupt:
        if cursor != "now" and not as_json:
            note(f"Later events: --after {cursor}")
        raise typer.Exit(INTERRUPTED) from None


def _document(change: Change) -> str:
    return json.dumps(as_document(change) | {"recorded_at": change.recorded_at.astimezone(UTC).isoformat()})


def _line(change: Change) -> str:
    at = change.recorded_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    what = f"{change.resource} {change.external_id} {change.kind} {_fields(change)}"
    return printable(f"{at}  {change.organization_id}  {what}".rstrip())


def _fields(change: Change) -> str:
    return ", ".join(change.fields)
