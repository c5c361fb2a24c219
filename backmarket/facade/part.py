"""What the parts of the `BackMarket` object have in common."""

from __future__ import annotations

from backmarket.services import Services


class FacadePart:
    """A part of `BackMarket`: its methods for one kind of thing.

    Args:
        services: of the object.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
