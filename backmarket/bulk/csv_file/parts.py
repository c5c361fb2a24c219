"""The canonical text of a bulk file, as the guidelines want it, and its parts.

UTF-8, `;`, `\\n`, every field in double quotes, the header first. A cell is written exactly as it was read.
"""

from __future__ import annotations

import csv
import io
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, BinaryIO

from backmarket.bulk.csv_file.skus import sku_hash
from backmarket.errors import InvalidArgument

if TYPE_CHECKING:
    from backmarket.bulk.csv_file.validation import Check, Row

FILE_LINES_LIMIT = 15_000
"""Lines that the API takes in a file; whether the header counts, it doesn't say, so it does."""

DELIMITER = ";"
QUOTECHAR = '"'
ENCODING = "utf-8"
"""The dialect of the canonical text, as the fields of `POST /ws/listings`."""

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines that go out together. Its text for the API is the header and its bytes.

    Attributes:
        offset: where its lines begin in the canonical text, in bytes.
        length: how many bytes they have.
        line_numbers: where each begins in the original file, from 1, in the order of the part.
        sku_hashes: of their SKUs, in the same order; see `sku_hash`.
    """

    offset: int
    length: int
    line_numbers: Sequence[int]
    sku_hashes: Sequence[int]

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.line_numbers)


class Parts:
    """The parts of a canonical text.

    Attributes:
        header: its first line, in bytes; goes before the lines of every part.
        lines: how many lines there are below it.
        length: bytes of the whole text.
    """

    def __init__(
        self, header: bytes, numbers: array[int], ends: array[int], hashes: array[int], part_lines: int
    ) -> None:
        self.header = header
        self.lines = len(numbers)
        self.length = ends[-1] if ends else len(header)
        self._numbers = numbers
        self._ends = ends
        self._hashes = hashes
        self._size = part_lines

    def __len__(self) -> int:
        return ceil(self.lines / self._size)

    def __iter__(self) -> Iterator[Part]:
        offset = len(self.header)
        for first in range(0, self.lines, self._size):
            numbers = self._numbers[first : first + self._size]
            end = self._ends[first + len(numbers) - 1]
            yield Part(offset, end - offset, numbers, self._hashes[first : first + self._size])
            offset = end


def cut(
    checked: Check,
    into: BinaryIO,
    *,
    part_lines: int,
    choose: Callable[[Iterable[Row]], Iterable[Row]] | None = None,
) -> Parts:
    """Write the canonical text of the good lines, and cut it.

    Args:
        checked: gone through here, to its end.
        into: an empty file, open for writing and reading, seekable.
        part_lines: lines of a part, at most.
        choose: leaves out good lines that are not wanted.

    Returns:
        the parts; there may be none if none was wanted.

    Raises:
        BulkFileRefused: if lines are bad; discard what was written.
        InvalidArgument: if a part cannot have so many lines.
    """
    if not 0 < part_lines < FILE_LINES_LIMIT:
        raise InvalidArgument(f"A part must have 1 to {FILE_LINES_LIMIT - 1} lines.")
    line_of = csv.writer(_Echo(), delimiter=DELIMITER, quotechar=QUOTECHAR, quoting=csv.QUOTE_ALL, lineterminator="\n")
    header: bytes = line_of.writerow(checked.header).encode()
    into.write(header)
    numbers, ends, hashes, end = array("Q"), array("Q"), array("q"), len(header)
    at = checked.header.index("sku")
    for number, cells in choose(checked) if choose else checked:
        end += into.write(line_of.writerow(cells).encode())
        numbers.append(number)
        ends.append(end)
        hashes.append(sku_hash(cells[at]))
    if checked.withdrawn:
        out = set(checked.withdrawn)
        hashes = array("q", (each for each, number in zip(hashes, numbers, strict=True) if number not in out))
        numbers, ends = _without(into, len(header), numbers, ends, checked.withdrawn)
    return Parts(header, numbers, ends, hashes, part_lines)


def part_rows(text: bytes) -> list[dict[str, str]]:
    """The lines of a part, each by column.

    Args:
        text: the header and the part's bytes.
    """
    source = io.StringIO(text.decode(ENCODING), newline="")
    return list(csv.DictReader(source, delimiter=DELIMITER, quotechar=QUOTECHAR, strict=True))


def expected_duration(lines: int, *, limit: int, window: float) -> timedelta:
    """How long it takes until so many lines went out, if nothing else uses the quota.

    Args:
        lines: to send.
        limit: lines in any window.
        window: its length, in seconds.
    """
    return timedelta(seconds=max(0, ceil(lines / limit) - 1) * window)


class _Echo:
    """A file that gives back what is written to it, as `csv.writer` does with what its file gives."""

    def write(self, text: str) -> str:
        return text


def _without(
    file: BinaryIO, begin: int, numbers: array[int], ends: array[int], withdrawn: Sequence[int]
) -> tuple[array[int], array[int]]:
    """Take lines out of a canonical text, in place.

    Args:
        file: the text.
        begin: where its lines begin, in bytes.
        numbers: the lines' numbers, growing.
        ends: where each ends, in bytes.
        withdrawn: the numbers of those to take out; others than those of the text don't matter.

    Returns:
        numbers and ends of what is left.
    """
    out = sorted(
        {at for line in withdrawn if (at := bisect_left(numbers, line)) < len(numbers) and numbers[at] == line}
    )
    kept_numbers, kept_ends, written = array("Q"), array("Q"), begin
    for before, after in pairwise([-1, *out, len(numbers)]):
        first = before + 1
        start = ends[first - 1] if first else begin
        moved = start - written
        kept_numbers += numbers[first:after]
        kept_ends.extend(end - moved for end in ends[first:after])
        stop = ends[after - 1] if after > first else start
        _move(file, start, stop, written)
        written += stop - start
    file.seek(written)
    file.truncate()
    return kept_numbers, kept_ends


def _move(file: BinaryIO, start: int, stop: int, to: int) -> None:
    while start < stop and start != to:
        file.seek(start)
        block = file.read(min(_BLOCK, stop - start))
        file.seek(to)
        file.write(block)
        start += len(block)
        to += len(block)
