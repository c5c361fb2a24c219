"""How many examples a test plays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")

QUICK = "TEST_QUICKLY"
"""Variable that `make test` sets."""


def examples(number: int) -> int:
    """Examples to play: all of them, or a fifth in `make test`.

    Args:
        number: examples that `make test-all` plays.
    """
    return number // 5 if os.environ.get(QUICK) else number


def some(values: Sequence[_T], turn: int = 0) -> Sequence[_T]:
    """Values to play: all of them, or each third in `make test`.

    Args:
        values: that `make test-all` plays.
        turn: of the caller among those that share the values, so that each value is played by one in three.
    """
    return values[turn % 3 :: 3] if os.environ.get(QUICK) else values
