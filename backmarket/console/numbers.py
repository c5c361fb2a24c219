"""Numbers in addresses and forms: anybody may send anything."""

from __future__ import annotations


def whole_number(text: str | None, *, digits: int = 18) -> int | None:
    """The number that a text of ASCII digits stands for; None: it is anything else.

    Args:
        digits: maximum number of digits; 18 fit PostgreSQL's bigint.
    """
    # `isdigit` alone takes ², which `int` refuses
    fits = text is not None and text.isascii() and text.isdigit() and len(text) <= digits
    return int(text) if fits and text is not None else None
