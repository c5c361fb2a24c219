"""The `backmarket` command: tables for people, `--json` for programs, exit codes for scripts.

    0    done
    1    failed: the API refused it, or the work failed
    2    usage: an argument or a setting cannot be used
    3    not found: no such connection, or no such row
    4    not usable: the connection is disabled, has no key, or its key is refused
    5    unreachable: PostgreSQL, Redis or the S3 server
    6    timed out: the work continues
    130  Ctrl-C (console, sandbox and up end with 0 instead)

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
