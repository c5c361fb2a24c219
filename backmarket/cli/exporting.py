"""The commands `export`: a whole list as a stream, of any length in the same memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from enum import Enum
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from backmarket.cli.output import as_document, plain, say
from backmarket.cli.parameters import Organization, Personal, examples
from backmarket.cli.session import opened

if TYPE_CHECKING:
    from backmarket.facade import BackMarket

T = TypeVar("T")


class Form(Enum):
    """How rows are written."""

    CSV = "csv"
    NDJSON = "ndjson"


ExportForm = Annotated[Form, typer.Option("--format", help="csv or ndjson.")]


def add_export(app: typer.Typer, name: str, kind: str, rows: Callable[[BackMarket, str], Iterator[T]]) -> None:
    """Add the command to a group.

    Args:
        app: the group.
        name: of the group.
        kind: module and name of the rows' type, which is loaded when the command runs.
        rows: yields all rows of an organization.
    """

    @app.command(
        help=f"Write all {name} to standard output: CSV (semicolons, UTF-8, times in UTC) or a JSON document a line.",
        epilog=examples(f"{name} export shop-1 > {name}.csv", f"{name} export shop-1 --format ndjson --personal"),
    )
    def export(
        organization: Organization,
        form: ExportForm = Form.CSV,
        personal: Personal = False,
    ) -> None:
        with opened() as bm:
            write_rows(bm, organization, kind, rows(bm, organization), form, personal=personal)


def write_rows(
    bm: BackMarket, organization: str, kind: str, rows: Iterator[Any], form: Form, *, personal: bool
) -> None:
    """Write rows to standard output.

    Args:
        organization: whose; a mistyped id is no empty list.
        kind: module and name of the rows' type.
        rows: all of them.
        form: of the output.
        personal: with personal data.
    """
    bm.get_connection_status(organization)
    if form is Form.NDJSON:
        for row in rows:
            say(json.dumps(as_document(row, personal=personal), default=plain))
    else:
        _write_csv(resolve_name(kind), rows, personal=personal)


def _write_csv(kind: Any, rows: Iterator[Any], *, personal: bool) -> None:
    """Write rows as CSV, without the API's raw objects. No cell is taken for a formula."""
    from backmarket.bulk.reports import CsvLines

    columns = [each.name for each in fields(kind) if (each.repr or personal) and each.name != "raw"]
    lines = CsvLines(sys.stdout.buffer, columns)
    for row in rows:
        document = as_document(row, personal=personal)
        lines.add(_cell(document[name]) for name in columns)
    sys.stdout.buffer.flush()


def _cell(value: object) -> object:
    from backmarket.bulk.reports import neutral

    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Enum():
            return value.value
        case dict() | list() | tuple():
            return neutral(json.dumps(value, ensure_ascii=False, default=plain))
        case str():
            return neutral(value)
        case _:
            return value
