"""The faults of a write, found before it is sent and raised as one error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backmarket.errors import InvalidArgument

T = TypeVar("T")

UNSHOWN = frozenset({
    "imei",
    "serial_number",
    "tracking_number",
    "tracking_url",
    "return_message",
    "comment",
    "filename",
})  # fmt: skip
"""Fields whose values an error never quotes: they reveal who bought what."""
_MAX_SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One invalid value.

    Attributes:
        field: the argument's name.
        came: the given value; personal data is not quoted.
        expected: the valid values.
    """

    field: str
    came: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, got {self.came}"


class InvalidWrite(InvalidArgument):
    """A write that the API would refuse, or that makes no sense; nothing was sent.

    Args:
        faults: at least one.
    """

    code = "invalid_write"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults) + ".")
        self.faults = faults

    @property
    def field(self) -> str:
        """The first argument that is wrong."""
        return self.faults[0].field


class Checks:
    """Collects the faults of one write."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def read(self, field: str, value: object, rule: Callable[[object], T]) -> T | None:
        """The value as it is sent; None: it is invalid, and the fault was noted.

        Args:
            field: the argument's name.
            value: as given.
            rule: returns the value as it is sent, or raises a ValueError that says what is expected.
        """
        try:
            return rule(value)
        except ValueError as error:
            self.note(field, described(field, value), str(error))
            return None

    def note(self, field: str, came: str, expected: str) -> None:
        """Note that a value is invalid."""
        self._faults.append(Fault(field, came, expected))

    def __bool__(self) -> bool:
        return bool(self._faults)

    def end(self) -> None:
        """Finish the checks.

        Raises:
            InvalidWrite: if any check failed.
        """
        if self._faults:
            raise InvalidWrite(tuple(self._faults))


def described(field: str, value: object) -> str:
    """A value as an error shows it: shortened, and without personal data."""
    if value is None:
        return "nothing"
    if field in UNSHOWN or isinstance(value, bytes):
        return (
            f"a text of {len(value)} characters"
            if isinstance(value, str)
            else f"a value of type {type(value).__name__}"
        )
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN_CHARS else f"{shown[:_MAX_SHOWN_CHARS]}..."
