"""Numbers of things as people read them."""

from __future__ import annotations


def counted(number: int, noun: str, several: str | None = None) -> str:
    """A number of things, such as `1 line` or `2 lines`.

    Args:
        number: how many.
        noun: the name of one.
        several: the name of several, if it is not the noun with an s.
    """
    return f"{number} {noun_of(number, noun, several)}"


def noun_of(number: int, noun: str, several: str | None = None) -> str:
    """The name of so many things; see `counted`."""
    return noun if number == 1 else several or f"{noun}s"
