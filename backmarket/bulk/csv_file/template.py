"""The rows below the header of Back Market's own template that explain it: Required or Optional, types, an example."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DEMANDS = frozenset({"required", "optional"})
_TYPE = re.compile(
    r"(?:string(?:/\d+)?|int(?:eger)?|decimal|float|enum|bool(?:ean)?|uuid|int \| uuid)(?: \([\w ]+\))?",
    re.IGNORECASE,
)
_EXAMPLES = frozenset({"phone-64-a"})
"""SKUs of the template's examples, in lower case."""


class TemplateRows:
    """Recognises the template's own rows among the first ones below a header.

    Args:
        names: of the columns, in lower case.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._sku = names.index("sku") if "sku" in names else None
        self._grade = names.index("grade") if "grade" in names else None
        self._is_over = False
        self._is_typed = False

    def explains(self, cells: Sequence[str]) -> bool:
        """Whether the next row explains the template; a row that does not ends the search."""
        if self._is_over:
            return False
        written = [cell.strip().lower() for cell in cells if cell.strip()]
        if not self._is_typed and len(written) > 1 and _DEMANDS.issuperset(written):
            return True
        if not self._is_typed and len(written) > 1 and all(map(_TYPE.fullmatch, written)):
            self._is_typed = True
            return True
        self._is_over = True
        return self._is_typed and self._is_example(cells)

    def _is_example(self, cells: Sequence[str]) -> bool:
        """An example has the template's SKU, or names all grades at once."""
        sku = cells[self._sku] if self._sku is not None and self._sku < len(cells) else ""
        grade = cells[self._grade] if self._grade is not None and self._grade < len(cells) else ""
        return sku.strip().lower() in _EXAMPLES or "," in grade
