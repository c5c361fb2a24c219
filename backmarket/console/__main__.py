"""The console as a child process: it reads its settings from the environment, and ends when standard input ends."""

from __future__ import annotations

import argparse
import sys

from backmarket.console.server import run
from backmarket.errors import BackMarketError
from backmarket.observability.logs import configure
from backmarket.settings import load_settings


def main() -> int:
    """Serve until standard input ends; the first line of standard output is the address."""
    parser = argparse.ArgumentParser(prog="python -m backmarket.console", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    try:
        settings = load_settings()
        configure(settings)
        run(settings, port=parser.parse_args().port, on_ready=_announce, stop_on_eof=True)
    except (BackMarketError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
