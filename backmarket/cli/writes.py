"""`backmarket writes`: changes at Back Market, and their outcomes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from backmarket.cli.exporting import add_export
from backmarket.cli.output import Word, say
from backmarket.cli.parameters import AsJson, Cursor, Limit, Organization, examples
from backmarket.cli.rows import Rows
from backmarket.cli.session import opened
from backmarket.cli.times import ago
from backmarket.cli.writing import SECONDS, Timeout, Wait, conclude

if TYPE_CHECKING:
    from backmarket.facade import BackMarket
    from backmarket.writes.models import Write, WriteKind

app = typer.Typer(no_args_is_help=True, help="Changes to send to Back Market, and their outcomes.")


def _next(write: Write) -> str | None:
    """When an open write is worked on next, and by whom."""
    if not write.open:
        return None
    if write.behind is not None:
        return f"after {write.behind}"
    return "you" if write.due_at is None else ago(write.due_at)


WRITES: Rows[Write] = Rows(
    "write",
    {
        "WRITE": lambda write: write.id,
        "KIND": lambda write: write.kind,
        "OBJECT": lambda write: write.object_id,
        "STATE": lambda write: Word(write.state.value),
        "ASKED": lambda write: ago(write.created_at),
        "SENT": lambda write: write.sent,
        "NEXT": _next,
        "WHY": lambda write: write.error,
    },
)

WriteId = Annotated[int, typer.Argument(metavar="WRITE")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Personal = Annotated[bool, typer.Option("--personal", help="Include the request, which may be personal.")]


@app.command(
    "list", epilog=examples("writes list shop-1 --state unknown", "writes list shop-1 --object 1000005 --json")
)
def show_all(
    organization: Organization,
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help="Only pending, sending, succeeded, refused or unknown ones."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only of this kind, such as update_order.")] = None,
    object_id: Annotated[
        str | None, typer.Option("--object", metavar="ID", help="Only of this order, order line or listing.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List writes, the newest first.

    NEXT is when a worker continues an open write. `you`: you have to settle it. `after 41`: write 41 goes first.
    """
    with opened() as bm:
        page = bm.get_writes(
            organization,
            state=state,
            kind=cast("WriteKind | None", kind),
            object_id=object_id,
            limit=limit,
            cursor=cursor,
        )
        WRITES.print_page(bm, organization, page, as_json=as_json)


add_export(app, "writes", "backmarket.writes.models:Write", lambda bm, org: bm.iter_writes(org))


@app.command(epilog=examples("writes show shop-1 42", "writes show shop-1 42 --personal --json"))
def show(organization: Organization, write_id: WriteId, personal: Personal = False, as_json: AsJson = False) -> None:
    """Show one write."""
    with opened() as bm:
        write = _found(bm, organization, write_id)
    WRITES.print_one(write, personal=personal, as_json=as_json)


@app.command(epilog=examples("writes retry shop-1 42", "writes retry shop-1 42 --yes --no-wait"))
def retry(
    organization: Organization,
    write_id: WriteId,
    yes: Yes = False,
    wait: Wait = True,
    timeout: Timeout = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Send a write again that was refused, or whose outcome is unknown."""
    with opened() as bm:
        write = _found(bm, organization, write_id)
        if write.kind == "upload_order_invoice":
            _confirm(
                f"Upload the invoice again? If it had arrived, order {write.object_id} then has it twice.", yes=yes
            )
        else:
            _confirm(f"Send write {write_id} ({write.kind} {write.object_id}) again?", yes=yes)
        conclude(bm.retry_write(organization, write_id), wait=wait, timeout=timeout, as_json=as_json)


@app.command(epilog=examples("writes settle shop-1 42 --arrived", "writes settle shop-1 42 --not-arrived --yes"))
def settle(
    organization: Organization,
    write_id: WriteId,
    arrived: Annotated[
        bool, typer.Option("--arrived/--not-arrived", help="Whether the change happened.", show_default=False)
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Settle a write whose outcome is unknown, once you have looked at Back Market."""
    with opened() as bm:
        write = _found(bm, organization, write_id)
        seen = "has" if arrived else "has not"
        _confirm(f"You looked, and {write.kind} of {write.object_id} {seen} happened?", yes=yes)
        settled = bm.settle_write(organization, write_id, arrived=arrived)
    if as_json:
        WRITES.print_one(settled, personal=False, as_json=True)
    else:
        say(f"Write {write_id} is settled: {settled.state}.")


def _found(bm: BackMarket, organization: str, write_id: int) -> Write:
    return WRITES.found(bm, organization, write_id, bm.get_write(organization, write_id))


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("There is no terminal to ask on. Give --yes.", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)
