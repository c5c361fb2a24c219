"""Arguments and options that several commands share."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Annotated

import typer

from backmarket.cli.failures import AS_JSON
from backmarket.cli.times import moment


def _remember(context: typer.Context, value: bool) -> bool:
    context.meta[AS_JSON] = value
    return value


Organization = Annotated[
    str, typer.Argument(metavar="ORG", help="The organization's id; after `--` if it begins with a dash.")
]
AsJson = Annotated[bool, typer.Option("--json", callback=_remember, is_eager=True, help="Print JSON, for programs.")]
State = Annotated[str | None, typer.Option(metavar="STATE", help="A number or a name, such as 1 or paid.")]
Sku = Annotated[str | None, typer.Option(metavar="SKU", help="SKU of the listing, ignoring case.")]
Limit = Annotated[int, typer.Option(metavar="N", help="Maximum number of rows, 1 to 1000.")]
Cursor = Annotated[str | None, typer.Option(metavar="CURSOR", help="Continue after the page that gave this cursor.")]
CreatedAfter = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", parser=moment, help="Created then or later (UTC unless it names an offset)."),
]
CreatedBefore = Annotated[datetime | None, typer.Option(metavar="TIME", parser=moment, help="Created earlier.")]
OfOrder = Annotated[int | None, typer.Option("--order", metavar="ORDER_ID", help="Only of this order.")]
HubScanned = Annotated[bool | None, typer.Option(help="Whether its label was scanned.")]
ShipmentId = Annotated[int, typer.Argument(metavar="SHIPMENT_ID")]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Whether to store its label in the bucket.")]
Locale = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Market, if not the connection's: its answer is shown, not stored."),
]
OfMarket = Annotated[
    str | None, typer.Option("--market", metavar="NAME", help="Market of the connection, if not that of its locale.")
]
Raw = Annotated[bool, typer.Option("--raw", help="In JSON, include the API's raw row.")]
Personal = Annotated[bool, typer.Option("--personal", help="Include personal data; in JSON, also the raw row.")]


def examples(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\b\n" + "\n".join(["Examples:", *(f"  backmarket {line}" for line in lines)])


def state_number(text: str | None, states: type[IntEnum]) -> int | None:
    """A state by its number, known or not, or by its name.

    Raises:
        typer.BadParameter: if it is neither.
    """
    if text is None:
        return None
    name = text.strip().upper().replace("-", "_").replace(" ", "_")
    if name in states.__members__:
        return states[name]
    if name.isascii() and name.isdigit() and int(name) < 2**31:
        return int(name)
    known = ", ".join(f"{each.value} {each.name.lower()}" for each in states)
    raise typer.BadParameter(f"{text!r} is not a state. Give a number, or one of {known}.", param_hint="--state")
