"""Amounts and flags as spreadsheets write them, made those of the API.

The caller names the signs of amounts; they are never guessed.
"""

from __future__ import annotations

import re

from backmarket.errors import InvalidArgument

DECIMALS = (".", ",")
THOUSANDS = (".", ",", " ", "'")

_SPACES = "[ \u00a0\u202f\u2009]"
_CURRENCY = re.compile("[€$£¥]|\\b(?:EUR|USD|GBP|SEK|JPY|CHF|PLN)\\b", re.IGNORECASE)
_COMMA = re.compile(r"\d+,\d{1,2}")
_GROUPED = re.compile(rf"\d{{1,3}}(?:(?:{_SPACES}|[.,'\u2019])\d{{3}})+(?:[.,]\d+)?")

CHOOSE = 'choose it for the whole file ("decimal sign" and "thousands" in the console, --decimal and --thousands)'


class Notation:
    """How the amounts of a file are written.

    Args:
        decimal: `.` or `,`; None: a point.
        thousands: between groups of three digits: `.`, `,`, a space or `'`; None: nothing is.

    Raises:
        InvalidArgument: if a sign is another one, or both are the same.
    """

    def __init__(self, decimal: str | None = None, thousands: str | None = None) -> None:
        if decimal not in (None, *DECIMALS):
            raise InvalidArgument("The decimal sign is invalid. Choose . or a comma.")
        if thousands not in (None, *THOUSANDS):
            raise InvalidArgument("The thousands separator is invalid. Choose one of . , ' or a space.")
        self.decimal = decimal or "."
        if self.decimal == thousands:
            raise InvalidArgument("The decimal sign and the thousands separator are the same. Choose different ones.")
        self._separator = {None: "", " ": _SPACES, "'": "['\u2019]"}.get(thousands, re.escape(thousands or ""))
        self.is_plain = self.decimal == "." and thousands is None
        groups = rf"|[0-9]{{1,3}}(?:{self._separator}[0-9]{{3}})+" if thousands else ""
        self._amount = re.compile(rf"(-?(?:[0-9]+{groups}))(?:{re.escape(self.decimal)}([0-9]+))?")

    def plain(self, cell: str) -> str | None:
        """An amount with a point and no separator of thousands; None: it is not written in this notation."""
        if self.is_plain:
            return cell
        match = self._amount.fullmatch(cell)
        if match is None:
            return None
        whole = re.sub(self._separator, "", match[1]) if self._separator else match[1]
        return f"{whole}.{match[2]}" if match[2] is not None else whole

    def why_not(self, cell: str) -> tuple[str, str] | None:
        """What is wrong with an amount as Excel may show it, and what to do; None: it has another fault."""
        if _CURRENCY.search(cell):
            return "has a currency sign", "write the number alone, like 229.00"
        if self.decimal == "." and _COMMA.fullmatch(cell):
            return "has a decimal comma", f"write it with a point, like {cell.replace(',', '.')}, or {CHOOSE}"
        if _GROUPED.fullmatch(cell):
            return "may have a thousands separator", f"write the digits without it, or {CHOOSE}"
        if not self.is_plain:
            like = f"1234{self.decimal}50"
            return "is not written with the chosen signs", f"write it like {like}, or change your choice"
        return None


_FLAGS = {
    **dict.fromkeys(("yes", "oui", "ja", "si", "sì", "sí", "vrai", "wahr", "vero", "verdadero"), "true"),
    **dict.fromkeys(("no", "non", "nein", "faux", "falsch", "falso"), "false"),
}


def flag(cell: str) -> str:
    """A flag in the API's words, where it is written in those of Excel in another language."""
    return _FLAGS.get(cell.lower(), cell)
