"""Which SKUs a file has named so far: a million of them in 50 MB."""

from __future__ import annotations

from array import array
from hashlib import blake2b, sha256
from struct import Struct

from backmarket.client.skus import sku_key

_HALVES = Struct("<QQ").unpack


def sku_hash(sku: str) -> int:
    """A SKU's key as a signed number of 64 bits, by which parts are compared; as `backmarket.sku_hash` in SQL."""
    digest = sha256(sku_key(sku).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)


class SkuTable:
    """The line of each SKU, found by 128 bits of a hash (two of a million are equal once in 10^26 files).

    Open addressing in arrays: a `dict` of the texts themselves takes 127 MB for a million.
    """

    def __init__(self) -> None:
        self._count = 0
        self._make(1 << 12)

    def __len__(self) -> int:
        return self._count

    def note(self, sku: str, line: int, *, bad: bool) -> tuple[int, bool] | None:
        """Note a SKU of a line.

        Args:
            sku: as the file has it.
            line: its line, from 1.
            bad: the line is known to be bad.

        Returns:
            if another line has it, that line and whether it was known to be bad; it is now.
        """
        low, high = _HALVES(blake2b(sku_key(sku).encode("utf-8", "surrogatepass"), digest_size=16).digest())
        at = self._find(low, high)
        known = self._lines[at]
        if known:
            self._lines[at] = known | 1
            return known >> 1, bool(known & 1)
        self._lows[at], self._highs[at], self._lines[at] = low, high, line << 1 | bad
        self._count += 1
        if self._count * 4 > len(self._lines) * 3:
            self._grow()
        return None

    def _find(self, low: int, high: int) -> int:
        """Where this hash is, or may be put."""
        lines, lows, highs, mask = self._lines, self._lows, self._highs, self._mask
        at = low & mask
        while lines[at] and (lows[at] != low or highs[at] != high):
            at = (at + 1) & mask
        return at

    def _make(self, slots: int) -> None:
        self._mask = slots - 1
        self._lows, self._highs, self._lines = (array("Q", bytes(8)) * slots for _ in range(3))

    def _grow(self) -> None:
        lows, highs, lines = self._lows, self._highs, self._lines
        self._make(len(lines) * 2)
        for at, line in enumerate(lines):
            if line:
                to = self._find(lows[at], highs[at])
                self._lows[to], self._highs[to], self._lines[to] = lows[at], highs[at], line
