"""Base class of the methods of every part of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from backmarket.client.caller import Caller
from backmarket.client.operation import Operation
from backmarket.client.pagination import walk
from backmarket.client.types.pages import Page, Row

Answered = TypeVar("Answered")


class Calls:
    """Calls operations.

    Args:
        caller: for one account.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _call(self, operation: Operation[Answered], **arguments: Any) -> Answered:
        return self._caller.call(operation, arguments)

    def _walk(self, operation: Operation[Page[Row]], **arguments: Any) -> Iterator[Row]:
        operation.request(arguments)  # refused here, and not at the first row
        return walk(self._caller, operation, arguments)
