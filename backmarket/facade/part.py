"""The base class of the parts of the `BackMarket` object."""

from __future__ import annotations

from backmarket.services import Services


class FacadePart:
    """A part of `BackMarket`: its methods for one topic."""

    def __init__(self, services: Services) -> None:
        self._services = services
