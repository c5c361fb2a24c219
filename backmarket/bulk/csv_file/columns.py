"""What each column of a bulk file may hold.

The API's document names no column but `sku`; the back office defines them. Those here are the fields that a listing is
known to have, by the rules for updating a single one (`writes.validation`); a column with another name is passed on as
it is. An empty cell leaves its field as it is, so it breaks no rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from backmarket.bulk.csv_file.dialect import QUOTES
from backmarket.client import field_rules
from backmarket.client.endpoints import LOCALES
from backmarket.client.listing_rules import MAX_COMMENT_CHARS, listing_rules
from backmarket.errors import InvalidArgument
from backmarket.queries.listings import Grade

MAX_SKU_CHARS = 200
"""By Back Market's own template."""

ASSUMED_CURRENCIES = frozenset({"EUR", "USD"})
"""Those that a price is taken to have where none is given."""

STATES = {
    Grade.PREMIUM: "9",
    Grade.EXCELLENT: "0",
    Grade.VERY_GOOD: "1",
    Grade.GOOD: "2",
    Grade.FAIR: "3",
    Grade.STALLONE: "4",
}
"""The older number of each grade."""

AMOUNTS = frozenset({"price", "min_price", "max_price", *(f"shipping_price_{place}" for place in (1, 2, 3))})
"""The columns of amounts of money."""

FLAGS = frozenset({"new_battery", "backpricer"})
"""The columns that are true or false."""

CROSSING = ("price", "min_price", "currency", "grade", "state")
"""The columns that depend on one another."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is known.

    Attributes:
        accepts: whether a cell that is not empty may stand there.
        problem: what is wrong with another one.
        expected: what to write instead.
        is_shown: whether a fault may show what stands there; a text may name a person.
    """

    accepts: Callable[[str], object]
    problem: str
    expected: str
    is_shown: bool = True


def column_name(name: str) -> str:
    """A column's name as the API has it: known ones in lower case, without white space around it."""
    name = name.strip()
    return name.lower() if name.lower() in KNOWN else name


def columns_for(locale: str) -> Mapping[str, Column]:
    """The known columns by name, with the currency and the amounts of a market.

    Raises:
        InvalidArgument: if the locale does not exist.
    """
    currency = currency_of(locale)
    rules = listing_rules(locale.lower())
    found = dict(_OF_A_PRODUCT)
    for name, rule in rules.items():
        problem, expected = _words(re.sub(r"_\d$", "", name), locale, currency)
        found[name] = Column(_passes(rule), problem, expected, is_shown=name != "comment")
    found["comment"] = replace(found["comment"], accepts=_passes_prose(rules["comment"]))
    found["max_price"] = found["price"]
    found["warranty_delay"] = replace(found["warranty_delay"], accepts=_matches(r"[6-9]|[1-9]\d{1,2}"))
    return found


def currency_of(locale: str) -> str:
    """The currency of a locale's market.

    Raises:
        InvalidArgument: if the locale does not exist.
    """
    known = [each for locales in LOCALES.values() for each in locales]
    if locale.lower() not in known:
        raise InvalidArgument(f"There is no locale {locale!r}. Choose one of {', '.join(known)}.")
    return field_rules.currency_of(locale.lower())


def needed_currency(locale: str) -> str | None:
    """The currency that must be named beside each price of a market; None: it needn't be."""
    currency = currency_of(locale)
    return None if currency in ASSUMED_CURRENCIES else currency


def conflicts(cells: Mapping[str, str], needed: str | None) -> Iterator[tuple[str, str, str]]:
    """What contradicts itself in a line: the column, what is wrong, what is expected.

    Args:
        cells: those of `CROSSING` that are good by themselves.
        needed: the currency that a price must name.
    """
    price, least = cells.get("price"), cells.get("min_price")
    if price and least and Decimal(least) > Decimal(price):
        yield "min_price", "is more than the price", f"at most {price}"
    if needed and price and cells.get("currency") == "":
        yield "currency", "is empty, and the price needs it", f"write {needed}"
    grade, state = cells.get("grade"), cells.get("state")
    if grade and state and STATES[Grade(grade)] != state:
        yield "state", f"is not the state of grade {grade}", f"write {STATES[Grade(grade)]}, or leave it out"


def _passes(rule: field_rules.Rule) -> Callable[[str], bool]:
    """Whether a rule takes a cell. What was asked lately is remembered, as most columns repeat themselves."""

    def accepts(cell: str) -> bool:
        try:
            rule(cell)
        except ValueError:
            return False
        return True

    remembered = lru_cache(maxsize=1024)(accepts)
    return lambda cell: remembered(cell) if len(cell) <= _REMEMBERED else accepts(cell)


def _passes_prose(rule: field_rules.Rule) -> Callable[[str], bool]:
    """The same for a text of many characters, which the rule looks at one by one: most need no such look."""
    accepts = _passes(rule)
    return lambda cell: (len(cell) <= MAX_COMMENT_CHARS and cell.isprintable() and not cell.isspace()) or accepts(cell)


def _words(field: str, locale: str, currency: str) -> tuple[str, str]:
    """What a fault of a field says: the problem, and what is expected."""
    whole = currency in field_rules.WITHOUT_CENTS
    amount = "write it like 1234, without a fraction" if whole else _IN_CENTS
    return {
        "price": ("is not an amount above zero", amount),
        "min_price": ("is not an amount above zero", amount),
        "shipping_price": ("is not an amount", amount),
        "currency": ("is not the currency of the market", f"prices in {locale} are in {currency}"),
        "quantity": ("is not a number of pieces", "write a whole number from 0, in digits only, like 12"),
        "shipping_delay": ("is not a number of hours", "write a whole number from 0, in digits only, like 48"),
        "warranty_delay": (
            "is not a number of months",
            "write a whole number from 6, in digits only, like 24",
        ),
        "comment": (
            f"is blank, or has more than {MAX_COMMENT_CHARS} characters",
            f"write 1 to {MAX_COMMENT_CHARS} characters",
        ),
        "shipper": ("is not a carrier of the API's document", "write one of those, like DHL Express or Other"),
        "shipper_display": ("is not a text of at most 200 characters", "write one line, without spaces around it"),
    }[field]


_REMEMBERED = 20
"""Characters of a cell that is remembered: enough for an amount."""

_IN_CENTS = "write it like 1234.50: digits, a point, no separator of thousands"


def _is_sku(text: str) -> bool:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES
    return len(text) <= MAX_SKU_CHARS and text.isprintable() and text.strip() == text and not quoted


def _one_of(values: tuple[str, ...], problem: str) -> Column:
    return Column(frozenset(values).__contains__, problem, f"write one of {', '.join(values)}")


def _matches(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII).fullmatch


_FLAG = Column(
    frozenset({"true", "false", "True", "False", "TRUE", "FALSE"}).__contains__,
    "is neither true nor false",
    "write true or false",
)

_OF_A_PRODUCT = {
    "sku": Column(
        _is_sku,
        f"has more than {MAX_SKU_CHARS} characters, quotes around it, or a character that cannot be seen",
        "write the SKU alone, without quotes",
    ),
    "product_id": Column(_matches(r"[0-9A-Za-z-]{1,64}"), "is not a product's id", "write a UUID, or the older number"),
    "backmarket_id": Column(_matches(r"[1-9]\d{0,18}"), "is not a product's older id", "write a whole number"),
    "ean": Column(_matches(r"\d{8}|\d{12,14}"), "is not an EAN", "write 8, 12, 13 or 14 digits, like 4006381333931"),
    "grade": _one_of(tuple(Grade), "is not a grade"),
    "state": _one_of(tuple(STATES.values()), "is not a state"),
    "new_battery": _FLAG,
    "backpricer": _FLAG,
}
"""The columns that a single update doesn't have."""

KNOWN = frozenset({*columns_for("fr-fr")})
"""The names of all of them."""
