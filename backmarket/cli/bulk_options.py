"""Options by which the commands for bulk files read a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from backmarket.cli.times import seconds

if TYPE_CHECKING:
    from backmarket.facade import BackMarket
    from backmarket.facade.bulk import FileOptions

ListingsFile = Annotated[str, typer.Argument(metavar="FILE", help="A CSV or Excel (.xlsx) file; `-`: standard input.")]
Delimiter = Annotated[
    str | None, typer.Option(metavar="CHAR", help="Field delimiter. Default: detected from the header.")
]
Quote = Annotated[str | None, typer.Option(metavar="CHAR", help="Quote character. Default: detected from the header.")]
Encoding = Annotated[str | None, typer.Option(metavar="NAME", help="Encoding, such as cp1252. Default: detected.")]
Decimal = Annotated[str | None, typer.Option(metavar="CHAR", help="Decimal sign of amounts: . or a comma.")]
Thousands = Annotated[
    str | None, typer.Option(metavar="CHAR", help="Thousands separator of amounts: . , ' or a space.")
]
SkusAsTheyAre = Annotated[
    bool, typer.Option("--skus-as-they-are", help="Send SKUs that look damaged by Excel, like 3.53E+14.")
]
Market = Annotated[
    str | None,
    typer.Option("--locale", "--market", metavar="NAME", help="Market of the lines, if not the connection's locale."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad-lines", help="Skip bad lines, and send the others.")]
SkipUnchanged = Annotated[bool, typer.Option("--skip-unchanged", help="Skip lines that match the latest sync.")]
MaxAge = Annotated[
    float | None,
    typer.Option(metavar="TIME", parser=seconds, help="Drop lines not sent within this time, e.g. 2h."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=FIELD",
        help="Send a column of the file as this field, e.g. Menge=quantity; `Menge=` leaves it out. Repeatable.",
    ),
]
Remembered = Annotated[
    bool,
    typer.Option("--remembered", help="Read it as a person chose it last in the console, where no option says else."),
]


def opened_file(name: str) -> Path | BinaryIO:
    """The file of an argument: a path, or `-` for standard input."""
    return sys.stdin.buffer if name == "-" else Path(name)


def completed(
    bm: BackMarket, organization: str, options: FileOptions, columns: Sequence[str] | None, *, remembered: bool
) -> FileOptions:
    """The options with the columns that are matched, and with what was chosen last in the console, if asked for.

    Raises:
        typer.BadParameter: if a column is not given as NAME=FIELD.
    """
    matched = {}
    for each in columns or ():
        name, sign, field = each.rpartition("=")
        if not sign or not name.strip():
            raise typer.BadParameter(f"{each!r} is not NAME=FIELD.", param_hint="--column")
        matched[name.strip().lower()] = field
    if remembered:
        saved = bm.get_listings_file_format(organization)
        options = options | {
            "encoding": options.get("encoding") or saved.encoding,
            "decimal": options.get("decimal") or saved.decimal,
            "thousands": options.get("thousands") or saved.thousands,
        }
        matched = {**saved.columns, **matched}
    return options | {"columns": matched or None}
