"""Which columns of a file are sent, and under which names: as a person has matched them, or by their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backmarket.errors import InvalidArgument

REASONS = "What is wrong (backmarket)"
"""The column that a copy of a file has beside its own: the faults of each line."""

PRODUCT = "Product (not sent)"
"""The column of the template with the name of each product."""

_OURS = frozenset({REASONS.lower(), PRODUCT.lower()})

MAX_COLUMNS = 500
"""Maximum number of columns that are shown to be matched, and that are remembered."""

MAX_NAME_CHARS = 200


def column_key(name: str) -> str:
    """A column's name as it is compared: in lower case, without white space around it, on one line."""
    return " ".join(name.split()).lower()


def can_be_matched(name: str) -> bool:
    """Whether a column may be matched to a field: it has a name that is not too long, and can be printed."""
    key = column_key(name)
    return 0 < len(key) <= MAX_NAME_CHARS and key.isprintable() and key not in _OURS


def is_ours(name: str) -> bool:
    """Whether a column is one of those that only tell a person something; it is never sent."""
    return column_key(name) in _OURS


class ColumnMap:
    """Which column of a file is which of Back Market's.

    Args:
        matched: the name of a column in the file, and the one under which it is sent; empty: it is left out. A column
            that is not named keeps its own name.

    Raises:
        InvalidArgument: if a name is empty, too long or cannot be printed.
    """

    def __init__(self, matched: Mapping[str, str] | None = None) -> None:
        given = (matched or {}).items()
        if not all(isinstance(each, str) for pair in given for each in pair):
            raise InvalidArgument("Columns are matched by names. Give a text for each.")
        self._matched = {column_key(name): field.strip() for name, field in given}
        for name, field in self._matched.items():
            if not name or max(len(name), len(field)) > MAX_NAME_CHARS or not (name + field).isprintable():
                raise InvalidArgument(
                    "A column that is matched has no name, or one that is too long. Give names of 1 to"
                    f" {MAX_NAME_CHARS} characters on one line."
                )

    def field(self, name: str) -> str | None:
        """The name under which a column is sent, as it was given; None: the column is left out."""
        key = column_key(name)
        if is_ours(name):
            return None
        return self._matched.get(key, name.strip()) or ("" if not key else None)

    def is_matched(self, name: str) -> bool:
        """Whether a person has matched the column."""
        return column_key(name) in self._matched

    def keys(self, names: Sequence[str]) -> list[str]:
        """The names under which columns are sent, in lower case; empty for a column that is left out."""
        return [(self.field(name) or "").lower() for name in names]


BY_NAME = ColumnMap()
"""Each column has the name under which it is sent."""
