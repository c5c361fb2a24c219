"""`backmarket connections`: the organizations and their seller accounts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from backmarket.cli import failures
from backmarket.cli.api_keys import read_api_key
from backmarket.cli.output import Word, as_document, note, print_facts, print_json, print_table, printable, say
from backmarket.cli.parameters import AsJson, Organization, examples
from backmarket.cli.session import opened
from backmarket.cli.status import print_status
from backmarket.observability.numbers import counted

if TYPE_CHECKING:
    from backmarket.client.endpoints import Environment, Region
    from backmarket.connections import Connection
    from backmarket.facade import BackMarket
    from backmarket.organizations.check import ConnectionCheck
    from backmarket.organizations.import_file import ImportReport

app = typer.Typer(no_args_is_help=True, help="Connected seller accounts.")


@app.command(
    epilog=examples(
        "connections add shop-1                          # asks for the API key",
        "connections add shop-1 --api-key-file key.txt --region NA --check",
        "connections add 'auth0|1' --api-key-stdin < key.txt",
    )
)
def add(
    context: typer.Context,
    organization: Organization,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read the API key from standard input.")
    ] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="Read the API key from this file."
        ),
    ] = None,
    environment: Annotated[str, typer.Option(metavar="NAME", help="production or sandbox.")] = "production",
    region: Annotated[str, typer.Option(metavar="NAME", help="EU, NA or AP.")] = "EU",
    locale: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Market of prices and texts, such as de-de. Default: the region's first."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Origin from BACKMARKET_ALLOWED_BASE_URLS, in place of Back Market's."),
    ] = None,
    markets: Annotated[
        list[str] | None,
        typer.Option(
            "--market", metavar="NAME", help="A further market whose listings are copied, such as de-de; repeatable."
        ),
    ] = None,
    discard_rows: Annotated[
        bool, typer.Option("--discard-rows", help="Remove the rows of the previous region or environment.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Ask the API whether the key works.")] = False,
    as_json: AsJson = False,
) -> None:
    """Connect an organization, or change its connection.

    The API key is read from --api-key-stdin, --api-key-file or the variable BACKMARKET_API_KEY, or asked for. It is
    stored encrypted.
    """
    api_key = read_api_key(from_stdin=api_key_stdin, path=api_key_file)
    with opened() as bm:
        connection = bm.upsert_connection(
            organization,
            api_key,
            environment=cast("Environment", environment),
            region=cast("Region", region),
            locale=locale,
            base_url=base_url,
            markets=markets or None,
            discard_rows=discard_rows,
        )
        checked = bm.check_connection(organization) if check else None
    if as_json:
        print_json(_document(connection) | ({"check": _check_document(checked)} if checked else {}))
    else:
        note(f"Connected {_where(connection)}. Its sync is due now.")
    _conclude(context, checked, quiet=as_json)


@app.command(
    "import",
    epilog=examples(
        "connections import sellers.csv --dry-run",
        "connections import sellers.csv --check",
        "gpg -d sellers.csv.gpg | backmarket connections import -",
    ),
)
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV file that only you can read, or - for standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check all, and connect nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Connect only keys that the API accepts.")] = False,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Origin from BACKMARKET_ALLOWED_BASE_URLS, in place of Back Market's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Connect many organizations; a second run goes on after the first one.

    The first line names the columns: organization, key, environment, region, locale. The last three may be missing:
    production, EU, the region's first locale. Refused rows are listed by their lines; with any, the exit code is 1.
    """
    source: Path | BinaryIO = sys.stdin.buffer if str(file) == "-" else file
    with opened() as bm:
        report = bm.import_connections(source, dry_run=dry_run, check=check, base_url=base_url)
    if as_json:
        print_json(_import_document(report))
    elif report.refused:
        print_table(("LINE", "REFUSED BECAUSE"), [(each.row, each.reason) for each in report.refused])
    if not as_json:
        done = "would be connected" if dry_run else "connected, their syncs are due now"
        note(f"{report.connected} {done}; {report.unchanged} were before; {len(report.refused)} refused.")
    if report.refused:
        raise typer.Exit(1)


@app.command(
    "import-convex",
    epilog=examples("connections import-convex snapshot.zip --dry-run", "connections import-convex snapshot.zip"),
)
def import_convex(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="ZIP file of `npx convex export`; only you can read it.")
    ],
    region: Annotated[str, typer.Option(metavar="REGION", help="Region of all accounts: EU, NA or AP.")] = "EU",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the connections, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over what the Convex component has stored, and say what of it is stored here.

    Run it again until nothing waits and nothing is missing; until then the exit code is 1.
    """
    with opened() as bm:
        report = bm.import_convex(file, region=cast("Region", region.upper()), dry_run=dry_run)
    connections = report.connections
    if as_json:
        resources = {name: as_document(each) for name, each in report.resources.items()}
        counts = {"invoices": report.invoices, "labels": report.labels, "complete": report.complete}
        print_json({"connections": _import_document(connections), "resources": resources, **counts})
    else:
        if connections.refused:
            print_table(("LINE", "REFUSED BECAUSE"), [(each.row, each.reason) for each in connections.refused])
        done = "would be connected" if dry_run else "connected"
        note(
            f"{connections.connected} {done}; {connections.unchanged} were before; {len(connections.refused)} refused."
        )
        if not dry_run:
            print_table(
                ("RESOURCE", "EXPORTED", "STORED", "GONE", "WAITING", "MISSING"),
                [(name, *astuple(each)) for name, each in report.resources.items()],
            )
            note(f"Taken over: {report.invoices} times of invoices, {report.labels} labels.")
    if connections.refused or not (dry_run or report.complete):
        raise typer.Exit(1)


@app.command("list")
def show_all(as_json: AsJson = False) -> None:
    """List the connections."""
    with opened() as bm:
        found = list(_all(bm))
    if as_json:
        print_json({"items": [_document(each) for each in found], "next_cursor": None})
    elif not found:
        note("There is no connection yet. Add one with `backmarket connections add`.")
    else:
        print_table(
            ("ORGANIZATION", "HEALTH", "MARKET", "LAST ERROR", "BASE URL"),
            [(c.organization_id, Word(c.health), _market(c), c.last_error_code, c.base_url) for c in found],
        )


@app.command()
def show(organization: Organization, as_json: AsJson = False) -> None:
    """Show one connection and the status of its syncs."""
    with opened() as bm:
        found = bm.get_connection_status(organization)
    if as_json:
        resources = {name: as_document(each) for name, each in found.resources.items()}
        print_json(_document(found.connection) | {"resources": resources})
        return
    print_facts(_document(found.connection))
    say()
    print_status(found.resources.values())


@app.command(
    epilog=examples(
        "connections markets shop-1", "connections markets shop-1 de-de es-es", "connections markets shop-1 --none"
    )
)
def markets(
    organization: Organization,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MARKET", help="All further markets, such as de-de.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Copy no further market.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show or set the further markets whose listings are copied.

    The rows of a market that is left out are removed; a new one is synced at once.
    """
    if names and none:
        raise typer.BadParameter("Give either markets or --none.", param_hint="--none")
    with opened() as bm:
        if names or none:
            connection = bm.update_connection(organization, markets=names or ())
        else:
            connection = bm.get_connection_status(organization).connection
    if as_json:
        print_json(_document(connection))
    else:
        say(" ".join([connection.locale, *connection.markets]))


@app.command()
def disable(
    organization: Organization,
    clear_key: Annotated[bool, typer.Option("--clear-key", help="Also delete the API key.")] = False,
) -> None:
    """Send no more requests for this account; its rows are kept."""
    with opened() as bm:
        bm.disable_connection(organization, clear_api_key=clear_key)
    note(f"Disabled {printable(organization)}{', and deleted its API key' if clear_key else ''}. Its rows stay.")


@app.command()
def enable(organization: Organization) -> None:
    """Send requests for this account again, at once.

    Use it, too, when a refused key is valid again.
    """
    with opened() as bm:
        bm.enable_connection(organization)
    note(f"Enabled {printable(organization)}. Its sync is due now.")


@app.command()
def remove(
    organization: Organization,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove an organization and everything stored for it."""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("There is no terminal to ask on. Give --yes.", param_hint="--yes")
    with opened() as bm:
        bm.get_connection_status(organization)
        if not yes:
            question = f"Remove {printable(organization)} with every row stored for it?"
            typer.confirm(question, abort=True, err=True)
        rows = bm.remove_connection(organization)
    note(f"Removed {printable(organization)} and {counted(rows, 'row')}.")


@app.command()
def check(context: typer.Context, organization: Organization, as_json: AsJson = False) -> None:
    """Send the API one harmless request with the connection's key."""
    with opened() as bm:
        checked = bm.check_connection(organization)
    if as_json:
        print_json(_check_document(checked))
    _conclude(context, checked, quiet=as_json)


def _conclude(context: typer.Context, checked: ConnectionCheck | None, *, quiet: bool) -> None:
    if checked is None:
        return
    if checked.error is not None:
        from backmarket.doctor.seller import advice

        failed = failures.fail(context, checked.error)
        if not quiet:
            note(f"-> {advice(checked.error)}")
        raise failed
    if not quiet:
        orders = "" if checked.orders is None else f" and counts {counted(checked.orders, 'order')}"
        note(f"The API accepts the key{orders} ({checked.seconds:.2f} s).")


def _all(bm: BackMarket) -> Iterator[Connection]:
    after = ""
    while found := bm.get_connections(after=after):
        yield from found
        after = found[-1].organization_id


def _import_document(report: ImportReport) -> dict[str, Any]:
    return as_document(report) | {"refused": [as_document(each) for each in report.refused]}


def _document(connection: Connection) -> dict[str, Any]:
    return {"organization_id": connection.organization_id, "health": Word(connection.health)} | as_document(connection)


def _check_document(checked: ConnectionCheck) -> dict[str, Any]:
    return as_document(checked) | {"error": failures.as_document(checked.error) if checked.error else None}


def _market(connection: Connection) -> str:
    return f"{connection.environment} {connection.region} {connection.locale}"


def _where(connection: Connection) -> str:
    at = f", {connection.base_url}" if connection.base_url else ""
    return f"{printable(shlex.quote(connection.organization_id))} ({_market(connection)}{at})"
