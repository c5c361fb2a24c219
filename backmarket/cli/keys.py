"""`backmarket keys`: the keys that encrypt the sellers' API keys."""

from __future__ import annotations

import typer

from backmarket.cli.output import note, say
from backmarket.cli.parameters import examples
from backmarket.cli.session import opened

app = typer.Typer(no_args_is_help=True, help="The keys that encrypt the sellers' API keys.")


@app.command(epilog=examples('keys generate  # BACKMARKET_SECRET_KEYS="<the new one>,<the old one>"'))
def generate() -> None:
    """Print a new key for BACKMARKET_SECRET_KEYS."""
    from backmarket.database.encryption import KeyCipher

    say(KeyCipher.generate())


@app.command()
def rotate() -> None:
    """Encrypt every stored API key and secret of a webhook with the first of BACKMARKET_SECRET_KEYS.

    First put the new key before the old one in every process. After the rotation, remove the old key.
    """
    with opened() as bm:
        done = bm.rotate_keys()
    note(f"API keys and secrets encrypted with the first of BACKMARKET_SECRET_KEYS: {done}.")
