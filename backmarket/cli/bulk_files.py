"""The commands of `backmarket bulk` that send nothing: check a file, show how it is read, write the template."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from backmarket.cli.bulk_check import check_document, how_long, stop_if_refused, tell_bad_lines
from backmarket.cli.bulk_options import (
    Columns,
    Decimal,
    Delimiter,
    Encoding,
    ListingsFile,
    Market,
    Quote,
    Remembered,
    SkipBad,
    SkipUnchanged,
    SkusAsTheyAre,
    Thousands,
    completed,
    opened_file,
)
from backmarket.cli.output import note, print_json, print_table, printable, say
from backmarket.cli.parameters import AsJson, Organization, examples
from backmarket.cli.session import opened
from backmarket.errors import InvalidArgument

if TYPE_CHECKING:
    from backmarket.bulk.file_preview import FilePreview, PreviewCell, PreviewColumn
    from backmarket.bulk.submit import PreparedFile
    from backmarket.facade.bulk import FileOptions


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        epilog=examples(
            "bulk check shop-1 listings.csv",
            "bulk check shop-1 list.csv --decimal , --column Menge=quantity --faults-to faults.csv",
        )
    )(check)
    app.command(epilog=examples("bulk preview shop-1 export.csv --encoding cp1252"))(preview)
    app.command(epilog=examples("bulk template shop-1 --output listings.xlsx"))(template)


def check(
    context: typer.Context,
    organization: Organization,
    file: ListingsFile,
    delimiter: Delimiter = None,
    quotechar: Quote = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    skus_as_they_are: SkusAsTheyAre = False,
    locale: Market = None,
    skip_bad_lines: SkipBad = False,
    skip_unchanged: SkipUnchanged = False,
    column: Columns = None,
    remembered: Remembered = False,
    faults_to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a copy of the file with the faults of each line beside it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a file as `submit` does, but store nothing."""
    options: FileOptions = {
        "delimiter": delimiter,
        "quotechar": quotechar,
        "encoding": encoding,
        "decimal": decimal,
        "thousands": thousands,
        "skus_as_they_are": skus_as_they_are,
        "locale": locale,
        "skip_bad_lines": skip_bad_lines,
        "skip_unchanged": skip_unchanged,
    }
    with opened() as bm:
        options = completed(bm, organization, options, column, remembered=remembered)
        with bm.prepare_listings_file(organization, opened_file(file), **options) as prepared:
            found = prepared.check
            if faults_to is not None and found.bad_lines:
                _write_faults(prepared, faults_to)
    stop_if_refused(context, found, as_json=as_json)
    if as_json:
        print_json(check_document(found))
        return
    tell_bad_lines(found)
    if found.unknown_columns:
        note(f"Columns sent unchecked: {printable(', '.join(found.unknown_columns))}.")
    say(f"{found.lines_to_send} of {found.lines} lines can be sent ({printable(str(found.dialect))}).{how_long(found)}")


def preview(
    organization: Organization,
    file: ListingsFile,
    delimiter: Delimiter = None,
    quotechar: Quote = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    locale: Market = None,
    column: Columns = None,
    remembered: Remembered = False,
    as_json: AsJson = False,
) -> None:
    """Show the first lines of a file as they are understood, and the field as which each column would be sent."""
    options: FileOptions = {
        "delimiter": delimiter,
        "quotechar": quotechar,
        "encoding": encoding,
        "decimal": decimal,
        "thousands": thousands,
        "locale": locale,
    }
    with opened() as bm:
        options = completed(bm, organization, options, column, remembered=remembered)
        found = bm.preview_listings_file(organization, opened_file(file), **options)
    if as_json:
        print_json(asdict(found) | {"has_sku": found.has_sku, "matching": found.matching})
        return
    _print_preview(found)


def template(
    organization: Organization,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The Excel workbook to write, e.g. listings.xlsx.")],
) -> None:
    """Write the file to fill in: an Excel workbook with the organization's stored listings."""
    if output.suffix.lower() != ".xlsx":
        raise typer.BadParameter("The template is an Excel workbook. Give a name with .xlsx.", param_hint="--output")
    with opened() as bm:
        counts: list[int] = []
        _write(output, lambda into: counts.append(bm.write_listings_template(organization, into)))
    note(f"Wrote {counts[0]} listings to {printable(str(output))}.")


def _write_faults(prepared: PreparedFile, path: Path) -> None:
    suffix = ".xlsx" if prepared.check.is_workbook else ".csv"
    if (path.suffix.lower() == ".xlsx") is not prepared.check.is_workbook:
        why = f"The copy is of the same kind as the file. Give a name with {suffix}."
        raise typer.BadParameter(why, param_hint="--faults-to")
    _write(path, prepared.write_faults)
    note(f"Wrote the file with its faults to {printable(str(path))}.")


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file once its content is complete."""
    with cast(BinaryIO, TemporaryFile()) as content:
        write(content)
        content.seek(0)
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
        except OSError as error:
            raise InvalidArgument(f"{path} cannot be written: {error.strerror}. Choose another path.") from None


def _print_preview(found: FilePreview) -> None:
    print_table(
        ("COLUMN", "NAME", "SENT AS", *(f"ROW {row}" for row in found.rows)),
        [
            [
                each.letter,
                each.name,
                _sent_as(each),
                *(f"{cell.text}{'' if cell.is_understood else ' (?)'}" for cell in each.cells),
            ]
            for each in found.columns
        ],
    )
    note(f"{printable(found.dialect)}. (?): not understood.")
    if not found.has_sku:
        note("No column is the SKU. Name it with --column NAME=sku.")


def _cell(cell: PreviewCell) -> str:
    return cell.text if cell.is_understood else f"{cell.text} (?)"


def _sent_as(column: PreviewColumn) -> str:
    if column.sent_as is None:
        return "left out"
    return f"{column.sent_as}{'' if column.is_known else ' (unchecked)'}{' (suggested)' if column.is_suggested else ''}"
