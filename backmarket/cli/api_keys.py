"""How an API key gets in without showing up in the process list, the shell's history or on the screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import typer

VARIABLE: Final = "BACKMARKET_API_KEY"


def read_api_key(*, from_stdin: bool, path: Path | None) -> str:
    """The API key from where the caller keeps it, else from the environment, else typed unseen.

    Args:
        from_stdin: it is all of standard input.
        path: it is all of this file.

    Raises:
        typer.BadParameter: it is said to be in two places, or nowhere and there is nobody to ask.
    """
    if from_stdin and path is not None:
        raise typer.BadParameter("Give one of --api-key-stdin and --api-key-file.", param_hint="--api-key-file")
    if from_stdin:
        return sys.stdin.buffer.read().decode(errors="replace").strip()
    if path is not None:
        return path.read_bytes().decode(errors="replace").strip()
    if VARIABLE in os.environ:
        return os.environ[VARIABLE].strip()
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"There is no terminal to type it on: give --api-key-stdin, --api-key-file or {VARIABLE}.",
            param_hint="API key",
        )
    typed: str = typer.prompt("API key", hide_input=True, err=True)
    return typed.strip()
