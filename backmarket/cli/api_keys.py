"""Reading an API key without showing it in the process list, the shell's history or on the screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import typer

VARIABLE: Final = "BACKMARKET_API_KEY"


def read_api_key(*, from_stdin: bool, path: Path | None) -> str:
    """The API key from the given place, else from the environment, else typed without echo.

    Args:
        from_stdin: read it from standard input, which holds nothing else.
        path: read it from this file, which holds nothing else.

    Raises:
        typer.BadParameter: if two places are given, or none and there is no terminal to ask on.
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
            f"There is no terminal to type the key on. Give --api-key-stdin, --api-key-file or {VARIABLE}.",
            param_hint="API key",
        )
    typed: str = typer.prompt("API key", hide_input=True, err=True)
    return typed.strip()
