"""`backmarket labels`: shipping labels in the bucket."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from backmarket.cli.exporting import add_export
from backmarket.cli.output import Word, as_document, note, print_json, say
from backmarket.cli.parameters import AsJson, Cursor, Limit, Organization, ShipmentId, examples
from backmarket.cli.rows import Rows
from backmarket.cli.session import opened
from backmarket.cli.times import seconds
from backmarket.errors import InvalidArgument
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.labels.queries import Label
    from backmarket.resources import ResourceName
    from backmarket.upkeep.bucket_sweep import Swept

app = typer.Typer(no_args_is_help=True, help="Shipping labels in the bucket.")

STANDARD_OUTPUT = "-"

Returned = Annotated[bool, typer.Option("--return", help="Label of a return. Default: of a delivery.")]

LABELS: Rows[Label] = Rows(
    "label",
    {
        "OF": lambda label: label.resource,
        "SHIPMENT": lambda label: label.shipment_id,
        "STATE": lambda label: Word(label.state.value),
        "BYTES": lambda label: label.size,
        "STORED (UTC)": lambda label: label.stored_at,
        "NEXT TRY": lambda label: label.due_at if label.state == "wanted" else None,
        "TRIES": lambda label: label.tries,
        "WHY": lambda label: label.error,
    },
)


@app.command(
    "list", epilog=examples("labels list shop-1 --state unavailable", "labels list shop-1 --resource returns --json")
)
def show_all(
    organization: Organization,
    resource: Annotated[str | None, typer.Option(metavar="NAME", help="Only of deliveries or returns.")] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only wanted, skipped, stored or unavailable ones.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List labels: whether each is in the bucket, or why not."""
    with opened() as bm:
        page = bm.get_labels(
            organization, resource=cast("ResourceName | None", resource), state=state, limit=limit, cursor=cursor
        )
        LABELS.print_page(bm, organization, page, as_json=as_json)


add_export(app, "labels", "backmarket.labels.queries:Label", lambda bm, org: bm.iter_labels(org))


@app.command(epilog=examples("labels url shop-1 3000007", "labels url shop-1 3000007 --return --expires 7d"))
def url(
    organization: Organization,
    shipment_id: ShipmentId,
    returned: Returned = False,
    expires: Annotated[
        float, typer.Option(metavar="TIME", parser=seconds, help="Time until the link expires, up to 7d.")
    ] = "1h",  # type: ignore[assignment] # in the form a user types
    as_json: AsJson = False,
) -> None:
    """Print a link to a label; anyone who has it can read the label until it expires."""
    with opened() as bm:
        ask = bm.get_return_label_url if returned else bm.get_label_url
        link = ask(organization, shipment_id, expires=int(expires))
    if as_json:
        print_json({"url": link, "expires": int(expires)})
    else:
        say(link)


@app.command(epilog=examples("labels download shop-1 3000007", "labels download shop-1 3000007 --return --to - | lpr"))
def download(
    organization: Organization,
    shipment_id: ShipmentId,
    returned: Returned = False,
    to: Annotated[
        str | None, typer.Option(metavar="FILE", help="File to write; -: standard output. Default: SHIPMENT_ID.pdf.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait for a worker.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Write a label to a file; a worker first fetches one that is not in the bucket."""
    path = None if to == STANDARD_OUTPUT else Path(to or f"{shipment_id}.pdf")
    if path is not None and path.exists() and not force:
        raise InvalidArgument(f"{path} exists. Replace it with --force, or name another file with --to FILE.")
    if path is None and as_json:
        raise InvalidArgument("The label and JSON cannot both go to standard output. Give --to FILE.")
    target: Any = path or sys.stdout.buffer
    with opened() as bm:
        ask = bm.download_return_label if returned else bm.download_label
        label = ask(organization, shipment_id, to=target, timeout=timeout)
    if as_json:
        print_json(as_document(label) | {"file": str(path)})
    elif path is not None:
        note(f"Wrote {path} ({label.size} bytes).")


@app.command(epilog=examples("labels fetch shop-1"))
def fetch(organization: Organization, as_json: AsJson = False) -> None:
    """Have workers fetch all labels now that wait for a retry or were given up."""
    with opened() as bm:
        due = bm.fetch_labels(organization)
    if as_json:
        print_json({"due": due})
    else:
        say(f"Workers fetch {counted(due, 'label')} now." if due else "No label is missing.")


@app.command(epilog=examples("labels sweep"))
def sweep(
    accept_garbage: Annotated[
        bool, typer.Option("--accept-garbage", help="Delete objects without a row, however many.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the whole bucket with the rows now, as a worker does daily, and correct the differences."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    objects = deleted = lost = 0
    with opened() as bm, console.status("Looking") if console.is_terminal else nullcontext() as status:
        while True:
            swept: Swept = bm.sweep_bucket(seconds=1.0, accept_garbage=accept_garbage)
            objects, deleted, lost = objects + swept.objects, deleted + swept.deleted, lost + swept.lost
            if status:
                status.update(f"{objects} objects")
            if not swept.more:
                break
    if as_json:
        print_json({"objects": objects, "deleted": deleted, "lost": lost})
    else:
        say(f"{objects} objects compared, {deleted} without a row deleted, {lost} lost labels queued again.")
