"""`backmarket audit`: who did what."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli.output import Word, as_document, note, print_json, print_table, say
from backmarket.cli.parameters import AsJson, Cursor, Limit, examples
from backmarket.cli.session import opened
from backmarket.cli.times import moment

if TYPE_CHECKING:
    from backmarket.audit.queries import AuditEntry
    from backmarket.queries.pagination import Page

EXPORTED_AT_ONCE = 1000
"""Entries that an export reads by one query, and holds in memory."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "audit --organization shop-1", "audit --what connection.remove --since 2026-01-01", "audit --export"
        )
    )(audit)


def audit(
    organization: Annotated[
        str | None, typer.Option(metavar="ORG", help="Only for this organization, also if it was removed.")
    ] = None,
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="Only by the actor with this name.")] = None,
    what: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this, such as connection.remove, or all of connection.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=moment, help="Then or later (UTC unless it names an offset)."),
    ] = None,
    until: Annotated[datetime | None, typer.Option(metavar="TIME", parser=moment, help="Earlier.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    export: Annotated[
        bool, typer.Option("--export", help="All of them, a line of JSON each; no --limit, no --json.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show who did what, proved by what, from where, and with which outcome, the newest first.

    `application` is a name that the host application gave, `unverified (broker)` a Celery message: neither is proved.
    """
    with opened() as bm:

        def read(limit: int, cursor: str | None) -> Page[AuditEntry]:
            return bm.audit(
                organization_id=organization,
                actor=actor,
                what=what,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            )

        if export:
            _export(read, cursor)
        else:
            _print_page(read(limit, cursor), as_json=as_json)


def _export(read: Callable[[int, str | None], Page[AuditEntry]], cursor: str | None) -> None:
    while True:
        page = read(EXPORTED_AT_ONCE, cursor)
        for entry in page:
            at = entry.recorded_at.astimezone(UTC).isoformat()
            say(json.dumps(as_document(entry) | {"recorded_at": at}))
        if (cursor := page.next_cursor) is None:
            return


def _print_page(page: Page[AuditEntry], *, as_json: bool) -> None:
    if as_json:
        print_json({"items": [as_document(entry) for entry in page], "next_cursor": page.next_cursor})
        return
    if page.items:
        print_table(
            ("WHEN (UTC)", "WHO", "PROVED BY", "FROM", "ACTION", "ORGANIZATION", "OBJECT", "OUTCOME", "DETAILS"),
            [_row(entry) for entry in page],
        )
    else:
        note("Nothing matches.")
    if page.next_cursor:
        note(f"There are more: --cursor {page.next_cursor}")


def _row(entry: AuditEntry) -> tuple[object, ...]:
    outcome = f"{entry.outcome.value} ({entry.code})" if entry.code else entry.outcome.value
    named = f"{entry.object_kind} {entry.object_id}" if entry.object_id else None
    return (
        entry.recorded_at,
        entry.actor,
        entry.proved_by.value,
        entry.origin,
        entry.action,
        entry.organization_id,
        named,
        Word(outcome),
        entry.details or None,
    )
