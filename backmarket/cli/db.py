"""`backmarket db`: the database."""

from __future__ import annotations

import typer

from backmarket.cli.output import note
from backmarket.cli.session import opened

app = typer.Typer(no_args_is_help=True, help="The database.")


@app.callback()
def db() -> None:
    """The database."""


@app.command()
def init() -> None:
    """Create the tables in an empty database; safe to repeat."""
    with opened() as bm:
        bm.apply_schema(migrate=False)
    note("The database has the tables of this version.")


@app.command()
def migrate() -> None:
    """Migrate the tables of an older version to this one, or create them; no row is lost.

    Stop the workers and make a backup first. Safe to repeat: an interrupted migration continues.
    """
    with opened() as bm:
        passed = bm.apply_schema()
    outcome = f"is migrated to version {passed[-1]}" if passed else "already has this version"
    note(f"The database {outcome}.")


@app.command()
def upkeep() -> None:
    """Drop old rows and erase old personal data now; beat does it every hour."""
    with opened() as bm:
        done = bm.upkeep()
    note(
        f"{done.partitions_made} partitions made, {done.partitions_dropped} dropped, {done.put_off} put off;"
        f" {done.orders_erased} orders erased, {done.writes_dropped} writes dropped."
    )
