"""What the parts of the `BackMarket` object have in common."""

from __future__ import annotations

from backmarket.services import Services


class Noun:
    """A part of `BackMarket`: what it does with one noun.

    Args:
        services: of the object.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
