"""`python -m tests.servers`: one table, server by server; exit code 0: nothing failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from tests.servers import clients, postgres, redis, s3
from tests.servers.table import Row, markdown

FAMILIES: dict[str, Callable[[], Iterator[Row]]] = {
    "s3": s3.rows,
    "postgres": postgres.rows,
    "redis": redis.rows,
    "clients": clients.rows,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the families, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("families", nargs="*", choices=[[], *FAMILIES], help="of servers; all")
    chosen = parser.parse_args(arguments).families or list(FAMILIES)
    found: list[Row] = []
    for family in chosen:
        for row in FAMILIES[family]():
            sys.stderr.write(f"{row.server} {row.version}, {row.tried}: {row.outcome}\n")
            found.append(row)
    sys.stdout.write(markdown(found))
    return int(any(row.passed is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
