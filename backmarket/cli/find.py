"""`backmarket find`: orders, listings and shipments by what people have at hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backmarket.cli.output import Word, as_document, note, print_json, print_table
from backmarket.cli.parameters import AsJson, Personal, examples
from backmarket.cli.session import opened

if TYPE_CHECKING:
    from backmarket.queries.find import Found, Hit


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("find 1000005", "find SKU-12 --json", "find - < name.txt"))(find)


def find(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="An order number, SKU, IMEI, serial or tracking number, or the beginning of the customer's last name;"
            " `-` reads it from standard input, where no history keeps it.",
        ),
    ],
    organization: Annotated[str | None, typer.Option(metavar="ORG", help="Only of this organization.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="Maximum number of rows of each kind, 1 to 100.")] = 20,
    personal: Personal = False,
    as_json: AsJson = False,
) -> None:
    """Find orders, listings, deliveries and returns of all organizations."""
    with opened() as bm:
        found = bm.find(sys.stdin.readline() if text == "-" else text, organization_id=organization, limit=limit)
    if as_json:
        print_json(_document(found, personal=personal))
        return
    rows = [_line(kind, hit) for kind in found.counts for hit in getattr(found, kind)]
    if not rows:
        note("Nothing matches.")
        return
    print_table(("KIND", "ORGANIZATION", "ID", "ORDER", "FOUND BY", "STATE", "CREATED (UTC)"), rows)
    for kind in found.more:
        note(f"There are more {kind}: --limit")


def _document(found: Found, *, personal: bool) -> dict[str, Any]:
    def items(kind: str) -> list[dict[str, Any]]:
        return [as_document(hit) | {"row": as_document(hit.row, personal=personal)} for hit in getattr(found, kind)]

    return {kind: items(kind) for kind in found.counts} | {"more": found.more}


def _line(kind: str, hit: Hit[Any]) -> tuple[object, ...]:
    noun, key, state = _COLUMNS[kind]
    row, why = hit.row, ", ".join(each.value.replace("_", " ") for each in hit.matched_by)
    whose = f"{row.organization_id} (sandbox)" if hit.environment == "sandbox" else row.organization_id
    created = getattr(row, "date_creation", None)
    order = getattr(row, "order_id", None)
    return Word(noun), whose, getattr(row, key), order, why, getattr(row, state, None), created


_COLUMNS = {
    "orders": ("order", "order_id", "state"),
    "listings": ("listing", "listing_id", "publication_state"),
    "deliveries": ("delivery", "shipment_id", ""),
    "returns": ("return", "shipment_id", ""),
}
"""Of each kind: the name of one row, the column of its id, and that of its state."""
