"""What Excel does to texts: SKUs that it turned into something else, and letters that a wrong encoding broke."""

from __future__ import annotations

import re
from typing import NamedTuple


class Damage(NamedTuple):
    """How a SKU was damaged.

    Attributes:
        problem: what is wrong, with its cause.
        expected: what to do about it in Excel.
    """

    problem: str
    expected: str


AS_TEXT = "set the column's format to Text in Excel, then type the SKU again"
UNLESS = ' (or choose "SKUs as they are", --skus-as-they-are, if that is its name)'

_SHORTENED = Damage(
    "is a long number that Excel shortened, so its last digits are lost", AS_TEXT.replace("the SKU", "it")
)
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
_ERROR = re.compile(r"#(?:[¡¿]?[A-ZÀ-Ý/0_]{2,15}[!?]|N/A|N/D|NV|GETTING_DATA|#+)", re.IGNORECASE)
_DATE = re.compile(r"\d{1,2}/\d{1,2}/(?:\d{2}|\d{4})(?: \d{1,2}:\d{2}(?::\d{2})?)?")
_SUMS = frozenset(
    {"total", "totals", "grand total", "subtotal", "sum", "summe", "gesamt", "gesamtsumme", "somme", "sous-total"}
    | {"total général", "totale", "totale complessivo", "somma", "suma"}
)


def damage(sku: str) -> Damage | None:
    """How Excel seems to have damaged a SKU; None: not at all."""
    found = _damage(sku)
    return found and Damage(found.problem, found.expected + UNLESS)


def not_a_value(cell: str) -> Damage | None:
    """What to do about a formula, `="00123"`, or an error, `#N/A`, that Excel wrote; None: it is neither."""
    if cell[:2] == '="':
        return Damage("is a formula of Excel", "write its value alone, without = and quotes")
    if cell[:1] == "#" and _ERROR.fullmatch(cell):
        return Damage("is an error message of Excel", "correct the formula of that cell, or empty the cell")
    return None


def damaged_number(cell: str) -> Damage | None:
    """How Excel damaged a number that names something, such as an EAN; None: not at all."""
    return _SHORTENED if _SCIENTIFIC.fullmatch(cell) else None


def _damage(sku: str) -> Damage | None:  # noqa: PLR0911  # a table of causes
    if _SCIENTIFIC.fullmatch(sku):
        return _SHORTENED
    if _ERROR.fullmatch(sku):
        return Damage("is an error message of Excel, not a SKU", "correct the formula of that cell")
    if sku.startswith("'"):
        return Damage(
            "begins with the apostrophe that Excel puts before a number kept as text",
            "remove the apostrophe",
        )
    if sku.startswith("="):
        return Damage("is a formula of Excel, not a SKU", "write the SKU alone, without = and quotes")
    if _DATE.fullmatch(sku):
        return Damage("is a date; Excel turns numbers with - or / into dates", AS_TEXT)
    if sku.lower().rstrip(" :") in _SUMS:
        return Damage("is the name of a sum, not a SKU", "delete this row")
    if "\ufffd" in sku:
        return Damage("has a letter that was lost when the file was saved (\ufffd)", "type the SKU again")
    return None


_MONTHS = (
    "jan|feb|fev|fév|mar|mär|apr|avr|abr|ene|may|mai|mag|jun|jui|giu|jul|lug|aug|aou|aoû|ago|sep|set|oct|okt|ott|nov"
    "|dec|déc|dez|dic"
)
_OF_A_MONTH = re.compile(
    rf"\d{{1,2}}[-.](?:{_MONTHS})[a-zäéû]*|(?:{_MONTHS})[a-zäéû]*[-.]\d{{2,4}}|\d{{4}}-\d\d-\d\d", re.IGNORECASE
)


def is_like_a_date(sku: str) -> bool:
    """Whether a SKU is one that Excel may have made of another, `12-Mar` of `3-12`, and that may be meant."""
    return _OF_A_MONTH.fullmatch(sku) is not None


_MOJIBAKE = re.compile(
    "\u00c3[\u0080-\u00bf\u0152-\u017e\u2013-\u203a\u2122]|\u00e2\u20ac|\u00c2[\u00a0-\u00bf]|\ufffd"
)


def is_garbled(text: str) -> bool:
    """Whether letters look as if the file had been saved in the wrong encoding: `Ã©` for `é`, or U+FFFD."""
    return not text.isascii() and _MOJIBAKE.search(text) is not None
