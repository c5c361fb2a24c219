"""`backmarket inbox`: what goes on only once a person has decided or done something."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backmarket.cli.output import Word, as_document, note, print_json, print_table
from backmarket.cli.parameters import AsJson, Limit, examples
from backmarket.cli.session import opened
from backmarket.cli.times import relative
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.status.inbox import InboxItem


_WHAT: Final[dict[str, Callable[[InboxItem], str]]] = {
    "key_refused": lambda _: "a new key: `connections add`, or `connections enable` to try the same one",
    "write": lambda item: f"write {item.write_id}: `writes settle`",
    "bulk_part": lambda item: f"part {item.part} of job {item.job_id}: `bulk settle`",
    "labels": lambda item: f"{counted(item.count, 'label was', 'labels were')} given up: `labels fetch`",
    "rows_missing": lambda item: f"{_rows(item, 'is', 'are')} gone: `sync --accept-missing{_market(item)}`",
    "rows_rejected": lambda item: f"{_rows(item)} could not be stored: `sync --full{_market(item)}`",
    "webhook": lambda item: f"webhook {item.endpoint_id} was disabled: `events enable`",
}


def _rows(item: InboxItem, one: str = "", several: str = "") -> str:
    rows = counted(item.count, f"row {one}".strip(), f"rows {several}".strip())
    return f"{item.resource}{f' in {item.market}' if item.market else ''}: {rows}"


def _market(item: InboxItem) -> str:
    return f" --market {item.market}" if item.market else ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("inbox", "inbox shop-1 --json"))(inbox)


def inbox(
    organization: Annotated[str | None, typer.Argument(metavar="ORG", help="Only of this organization.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, and the command that settles it."""
    with opened() as bm:
        found = bm.get_inbox(organization, limit=limit)
    now = datetime.now(UTC)
    if as_json:
        print_json({"items": [as_document(each) for each in found], "next_cursor": None})
    elif found:
        rows = [(each.organization_id or "all", each.kind, each.since, _WHAT[each.kind](each)) for each in found]
        print_table(
            ("ORGANIZATION", "KIND", "SINCE", "WHAT TO DO"),
            [(whose, Word(kind.value), relative(since, now), what) for whose, kind, since, what in rows],
        )
    else:
        note("Nothing waits for you.")
