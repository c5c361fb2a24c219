"""A bulk file of a million lines: how long it takes to check and cut it, and with how much memory.

    python -m bench.bulk_file [--lines 1000000]

The file is made as it is read, and never stands anywhere as a whole; the canonical text goes to a temporary file.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
from collections.abc import Iterator
from time import monotonic, process_time
from typing import BinaryIO, cast

from backmarket.bulk.csv_file.parts import cut
from backmarket.bulk.csv_file.reader import open_source
from backmarket.bulk.csv_file.validation import Check

HEADER = "sku,product_id,price,min_price,currency,quantity,warranty_delay,grade,comment\r\n"
PART_LINES = 500
BLOCK = 1000
"""Lines that are made at once."""


class Made(io.RawIOBase):
    """A file whose lines are made while it is read."""

    def __init__(self, lines: int) -> None:
        self._blocks = blocks(lines)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        data = self._rest[: len(buffer)]
        self._rest = self._rest[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def blocks(lines: int) -> Iterator[bytes]:
    yield HEADER.encode()
    for first in range(0, lines, BLOCK):
        yield "".join(line(number) for number in range(first, min(first + BLOCK, lines))).encode()


def line(number: int) -> str:
    return (
        f"PHONE-{number:08d},7a97a1b6-547e-4718-bc72-{number:012x},{100 + number % 900}.99,{90 + number % 900},EUR,"
        f'{number % 50},24,GOOD,"État {number % 7}, débloqué; écran 6.1"" sans rayures"\r\n'
    )


def main() -> None:
    """Print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the file")
    lines = parser.parse_args().lines
    before = peak()
    wall, cpu = monotonic(), process_time()
    with tempfile.TemporaryFile() as into, open_source(cast(BinaryIO, io.BufferedReader(Made(lines)))) as source:
        parts = cut(Check(source, locale="fr-fr"), into, part_lines=PART_LINES)
        count = len(list(parts))
    print(
        f"{parts.lines} lines ({parts.length / 1e6:.0f} MB) checked and cut into {count} parts in"
        f" {monotonic() - wall:.1f} s, {process_time() - cpu:.1f} s CPU; memory at most {peak():.0f} MB,"
        f" {before:.0f} MB before"
    )


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
