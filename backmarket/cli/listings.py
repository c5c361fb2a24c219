"""`backmarket listings`: stored listings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from backmarket.cli.exporting import ExportForm, Form, write_rows
from backmarket.cli.output import as_document, print_json, print_table
from backmarket.cli.parameters import (
    AsJson,
    Cursor,
    Limit,
    OfMarket,
    Organization,
    Personal,
    Raw,
    Sku,
    State,
    examples,
    state_number,
)
from backmarket.cli.rows import Rows, money
from backmarket.cli.session import opened
from backmarket.cli.writing import SECONDS, Key, Market, Timeout, Wait, conclude

if TYPE_CHECKING:
    from backmarket.facade.writes import ListingChanges
    from backmarket.queries.listings import Listing

FetchMarket = Annotated[
    str | None,
    typer.Option(
        "--locale", "--market", metavar="NAME", help="Market, if not the connection's locale; stored if it is copied."
    ),
]

app = typer.Typer(no_args_is_help=True, help="Stored listings.")

LISTINGS: Rows[Listing] = Rows(
    "listing",
    {
        "LISTING": lambda listing: listing.listing_id,
        "SKU": lambda listing: listing.sku,
        "STATE": lambda listing: listing.publication_state,
        "GRADE": lambda listing: listing.grade,
        "QTY": lambda listing: listing.quantity,
        "PRICE": lambda listing: money(listing.price, listing.currency),
        "TITLE": lambda listing: listing.title,
    },
)


@app.command(
    "list",
    epilog=examples("listings list shop-1 --state online --min-quantity 1", "listings list shop-1 --limit 1000 --json"),
)
def show_all(
    organization: Organization,
    state: State = None,
    min_quantity: Annotated[int | None, typer.Option(metavar="N", help="Minimum quantity on sale.")] = None,
    max_quantity: Annotated[int | None, typer.Option(metavar="N", help="Maximum quantity on sale.")] = None,
    market: OfMarket = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List listings in one market, ordered by id."""
    from backmarket.queries.listings import PublicationState

    number = state_number(state, PublicationState)
    with opened() as bm:
        page = bm.get_listings(
            organization,
            publication_state=number,
            min_quantity=min_quantity,
            max_quantity=max_quantity,
            market=market,
            limit=limit,
            cursor=cursor,
        )
        LISTINGS.print_page(bm, organization, page, as_json=as_json)


@app.command(epilog=examples("listings export shop-1 > listings.csv", "listings export shop-1 --market de-de"))
def export(
    organization: Organization,
    form: ExportForm = Form.CSV,
    market: OfMarket = None,
    personal: Personal = False,
) -> None:
    """Write all listings in one market to standard output: CSV (semicolons, UTF-8, times in UTC) or NDJSON."""
    with opened() as bm:
        rows = bm.iter_listings(organization, market=market)
        write_rows(bm, organization, "backmarket.queries.listings:Listing", rows, form, personal=personal)


@app.command(epilog=examples("listings markets shop-1 da72cf47-1b1f-434a-9224-1f8684ac1bd4"))
def markets(
    organization: Organization,
    listing_id: Annotated[str, typer.Argument(metavar="ID", help="A UUID, or the older integer id.")],
    as_json: AsJson = False,
) -> None:
    """Show one listing in all markets of the connection, side by side."""
    with opened() as bm:
        own = bm.get_connection_status(organization).connection.locale
        listing = LISTINGS.found(bm, organization, listing_id, bm.get_listing_by_id(organization, listing_id))
        found = [listing, *bm.get_listing_markets(organization, [listing.listing_id])]
    if as_json:
        print_json({"items": [as_document(each) for each in found], "next_cursor": None})
        return
    print_table(
        ("MARKET", "STATE", "PRICE", "MIN", "MAX", "GONE"),
        [
            (
                each.market or own,
                each.publication_state,
                money(each.price, each.currency),
                money(each.min_price, each.currency),
                money(each.max_price, each.currency),
                each.removed_at,
            )
            for each in found
        ],
    )


@app.command(
    epilog=examples(
        "listings show shop-1 da72cf47-1b1f-434a-9224-1f8684ac1bd4",
        "listings show shop-1 --sku IPHONE-13-128",
    )
)
def show(
    organization: Organization,
    listing_id: Annotated[str | None, typer.Argument(metavar="ID", help="A UUID, or the older integer id.")] = None,
    sku: Sku = None,
    market: OfMarket = None,
    raw: Raw = False,
    as_json: AsJson = False,
) -> None:
    """Show one listing in one market, by its id or its SKU, even if it is gone."""
    if (listing_id is None) == (sku is None):
        raise typer.BadParameter("Give either the listing's id or its SKU.", param_hint="--sku")
    with opened() as bm:
        if listing_id is not None:
            listing = bm.get_listing_by_id(organization, listing_id, market=market)
        else:
            listing = bm.get_listing_by_sku(organization, sku or "", market=market)
        found = LISTINGS.found(bm, organization, listing_id or sku, listing)
    LISTINGS.print_one(found, personal=raw, as_json=as_json)


@app.command(epilog=examples("listings fetch shop-1 da72cf47-1b1f-434a-9224-1f8684ac1bd4 --locale de-de"))
def fetch(
    organization: Organization,
    listing_id: Annotated[str, typer.Argument(metavar="ID", help="A UUID, or the older integer id.")],
    locale: FetchMarket = None,
    raw: Raw = False,
    as_json: AsJson = False,
) -> None:
    """Ask the API for one listing now, store it, and show it."""
    with opened() as bm:
        listing = bm.fetch_listing(organization, listing_id, locale=locale)
    LISTINGS.print_one(listing, personal=raw, as_json=as_json)


@app.command(
    epilog=examples(
        "listings update shop-1 --sku IPHONE-13-128 --price 249.90 --quantity 3",
        "listings update shop-1 da72cf47-1b1f-434a-9224-1f8684ac1bd4 --set shipper_1='DHL Express'",
    )
)
def update(
    organization: Organization,
    listing_id: Annotated[str | None, typer.Argument(metavar="ID", help="A UUID, or the older integer id.")] = None,
    sku: Sku = None,
    price: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Price in the market's currency.")] = None,
    min_price: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Minimum price; empty removes it.")] = None,
    quantity: Annotated[
        int | None, typer.Option(metavar="N", help="Quantity on sale in all markets; 0 takes it off sale.")
    ] = None,
    comment: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Comment for customers; empty removes it.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set another field; an empty value clears it."),
    ] = None,
    locale: Market = None,
    idempotency_key: Key = None,
    wait: Wait = True,
    timeout: Timeout = SECONDS,
    as_json: AsJson = False,
) -> None:
    """Change a listing at Back Market."""
    if (listing_id is None) == (sku is None):
        raise typer.BadParameter("Give either the listing's id or its SKU.", param_hint="--sku")
    named = {"price": price, "min_price": min_price, "quantity": quantity, "comment": comment}
    changes = {name: value for name, value in named.items() if value is not None} | _pairs(others or [])
    with opened() as bm:
        handle = bm.update_listing(
            organization,
            listing_id,
            sku=sku,
            locale=locale,
            idempotency_key=idempotency_key,
            **cast("ListingChanges", {name: None if value == "" else value for name, value in changes.items()}),
        )
        conclude(handle, wait=wait, timeout=timeout, as_json=as_json)


def _pairs(texts: list[str]) -> dict[str, str]:
    """Names and values of `NAME=VALUE`."""
    from backmarket.facade.writes import ListingChanges

    pairs = dict(text.partition("=")[::2] for text in texts)
    unknown = sorted(pairs.keys() - ListingChanges.__annotations__.keys())
    if unknown:
        known = ", ".join(ListingChanges.__annotations__)
        raise typer.BadParameter(f"There is no field {unknown[0]!r}. Choose one of {known}.", param_hint="--set")
    return pairs
