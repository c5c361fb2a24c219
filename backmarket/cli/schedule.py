"""`backmarket schedule`: whether and how often each resource is synced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, cast

import typer

from backmarket.cli.output import as_document, print_json, print_table
from backmarket.cli.parameters import AsJson, examples
from backmarket.cli.session import opened
from backmarket.cli.times import seconds
from backmarket.observability.durations import exactly

if TYPE_CHECKING:
    from backmarket.resources import ResourceName
    from backmarket.sync.schedule import ScheduleEntry

app = typer.Typer(no_args_is_help=True, help="Whether and how often each resource is synced.")


@app.command(epilog=examples("schedule show", "schedule show shop-1"))
def show(
    organization: Annotated[str | None, typer.Argument(metavar="ORG", help="Schedule of this organization.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the schedule: the general one, or that of one organization."""
    with opened() as bm:
        entries = bm.get_schedule(organization)
    if as_json:
        print_json({"items": [as_document(each) for each in entries.values()], "next_cursor": None})
    else:
        _print(entries.values())


@app.command(
    "set",
    epilog=examples(
        "schedule set orders --interval 2m",
        "schedule set returns --organization shop-1 --off",
        "schedule set deliveries --organization shop-1 --inherit",
    ),
)
def change(
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="Resource, such as orders.")],
    organization: Annotated[
        str | None,
        typer.Option(metavar="ORG", help="Organization to change. Default: all without values of their own."),
    ] = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether to sync it automatically.")] = None,
    interval: Annotated[
        float | None,
        typer.Option(metavar="TIME", parser=seconds, help="Time between two syncs, such as 300, 5m, 2h or 1d."),
    ] = None,
    full_interval: Annotated[
        float | None, typer.Option(metavar="TIME", parser=seconds, help="Time between two full syncs.")
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option("--labels/--no-labels", help="Whether to store the organization's labels in the bucket."),
    ] = None,
    inherit: Annotated[bool, typer.Option("--inherit", help="Drop the organization's own values first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change the schedule of one resource; it takes effect at once, without a restart."""
    with opened() as bm:
        entry = bm.update_schedule(
            cast("ResourceName", resource),
            organization_id=organization,
            enabled=enabled,
            interval=interval,
            full_interval=full_interval,
            download_labels=labels,
            inherit=inherit,
        )
    if as_json:
        print_json(as_document(entry))
    else:
        _print([entry])


def _print(entries: Iterable[ScheduleEntry]) -> None:
    print_table(
        ("RESOURCE", "ON", "EVERY", "FULL WALK EVERY", "LABELS", "OWN"),
        [
            (
                each.resource,
                each.enabled,
                exactly(each.interval),
                None if each.full_interval is None else exactly(each.full_interval),
                each.download_labels,
                ", ".join(each.own) or None,
            )
            for each in entries
        ],
    )
