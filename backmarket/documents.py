"""The documents that errors and `doctor` point to: by name in a checkout, by path where a wheel was installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_documents"
"""Where the wheel has them."""


def document(name: str) -> str:
    """What a reader of this installation opens.

    Args:
        name: of a file in the root of the checkout or below it, such as `docs/operations.md`.
    """
    packaged = _PACKAGED / name
    return str(packaged) if packaged.is_file() else name
