"""The `backmarket` command: tables for people, `--json` for programs, exit codes for scripts (see `backmarket --help`).

Data goes to standard output, everything else to standard error. An error says what happened, then what to do; with
`--json` it is `{"error": {"code": ..., "message": ...}}`, on standard error, too. Only Typer's own messages on an
invalid command line stay text.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line of this process."""
    from backmarket.cli.app import app

    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115 - for as long as the process
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="backmarket")
