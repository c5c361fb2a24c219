"""How many examples a property-based test plays."""

from __future__ import annotations

import os

QUICK = "TEST_QUICKLY"
"""Variable that `make test` sets."""


def examples(number: int) -> int:
    """Examples to play: all of them, or a fifth in `make test`.

    Args:
        number: examples that `make test-all` plays.
    """
    return number // 5 if os.environ.get(QUICK) else number
