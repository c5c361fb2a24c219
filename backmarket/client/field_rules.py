"""Valid values of single fields, by the published document; and how they are sent.

Each rule returns the value to send, or raises a `ValueError` whose text says what is expected, and never quotes the
value. Numbers may be given as texts, as in the rows of a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args
from urllib.parse import urlsplit
from uuid import UUID

from backmarket.client.types import values

CURRENCIES = {
    "en-gb": "GBP",
    "sv-se": "SEK",
    "en-us": "USD",
    "ja-jp": "JPY",
    "en-au": "AUD",
}
"""Currency of prices, by locale; EUR in all others."""
WITHOUT_CENTS = frozenset({"JPY"})
MAX_WHOLE = 2**31 - 1
MAX_ID = 2**63 - 1
SHIPPERS = frozenset(get_args(values.Shipper))
IMEI_DIGITS = 15

Rule = Callable[[object], Any]

_AMOUNT = re.compile(r"(?:0|[1-9]\d{0,8})(?:\.\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)


def currency_of(locale: str) -> str:
    """The currency of a locale's market."""
    return CURRENCIES.get(locale, "EUR")


def whole(least: int, most: int = MAX_WHOLE) -> Callable[[object], int]:
    """A whole number, or one written in digits."""

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise ValueError(f"a whole number from {least}" + (f" to {most}" if most < MAX_WHOLE else ""))
        return int(number)

    return read


def amount(currency: str, *, zero: bool = False) -> Callable[[object], str]:
    """An amount of money, exact: a Decimal, a whole number or a text; never a float.

    Args:
        currency: decides the number of decimals.
        zero: whether it may be 0.
    """
    cents = 0 if currency in WITHOUT_CENTS else 2
    example = "12000" if not cents else "160.99"
    most = f"at most {cents} decimals" if cents else "no decimals"

    def read(value: object) -> str:
        exact = _exact(value)
        if exact is None or not (exact >= 0 if zero else exact > 0) or exact != round(exact, cents):
            least = "0 or more" if zero else "more than 0"
            raise ValueError(f"an amount of {least} with {most}, as a Decimal or a text such as '{example}'")
        return f"{exact:.{cents}f}"

    return read


def _exact(value: object) -> Decimal | None:
    """The exact number; None if it is not a number, or has more than 9 digits before the point."""
    if isinstance(value, str):
        return Decimal(value) if _AMOUNT.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return abs(number) if number.is_finite() and -100 < number.adjusted() < 9 and number >= 0 else None


def text(longest: int | None = None) -> Callable[[object], str]:
    """A text of one line, with no space before or after it."""
    size = f"1 to {longest} characters" if longest else "1 character or more"

    def read(value: object) -> str:
        if not _is_line(value, longest):
            raise ValueError(f"a text of {size} in one line, without control characters or spaces around it")
        return str(value)

    return read


def prose(longest: int) -> Callable[[object], str]:
    """A text that may have several lines; spaces around it are stripped."""

    def read(value: object) -> str:
        fit = isinstance(value, str) and 0 < len(value) <= longest and bool(value.strip())
        if not fit or any(unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\r\t" for c in str(value)):
            raise ValueError(f"a text of 1 to {longest} characters, without control characters")
        return str(value).strip()

    return read


def nullable(rule: Callable[[object], Any]) -> Rule:
    """The same, or None, which empties the field."""

    def read(value: object) -> Any:
        if value is None:
            return None
        try:
            return rule(value)
        except ValueError as error:
            raise ValueError(f"{error}; or None to empty it") from None

    return read


def choice(options: Sequence[str] | Sequence[int], what: str) -> Rule:
    """One of some values; an enum's member counts as its value.

    Args:
        options: all of them.
        what: describes them, if they are too many to list.
    """
    listed = ", ".join(str(option) for option in options) if len(options) <= 20 else what

    def read(value: object) -> Any:
        for option in options:
            if isinstance(value, type(option)) and not isinstance(value, bool) and value == option:
                return option
        raise ValueError(f"one of {listed}")

    return read


def moment(value: object) -> datetime:
    """A moment with its offset, in UTC and to the second."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError("a datetime with an offset, such as datetime.now(UTC)")
    try:
        return value.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise ValueError("a datetime that UTC can hold") from None


def url(longest: int) -> Callable[[object], str]:
    """A web address."""

    def read(value: object) -> str:
        if not _is_line(value, longest) or " " in str(value) or not _is_web(str(value)):
            raise ValueError(f"an http:// or https:// URL of at most {longest} characters")
        return str(value)

    return read


def imei(value: object) -> str:
    """15 digits, the last of which follows from the others (Luhn): a typing error is found before it is registered."""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit() and len(value) == IMEI_DIGITS):
        raise ValueError(f"an IMEI of {IMEI_DIGITS} digits without spaces or hyphens")
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(value)]
    if sum(number - 9 if number > 9 else number for number in doubled) % 10:
        raise ValueError(
            "an IMEI whose last digit fits the others: one was mistyped, and it cannot be corrected later"
            " (unchecked_imei=True sends it as it is)"
        )
    return value


def unchecked_imei(value: object) -> str:
    """Letters and digits, as many as the document allows; for devices with an identifier of another kind."""
    if not isinstance(value, str) or not (value.isascii() and value.isalnum() and len(value) <= IMEI_DIGITS):
        raise ValueError(f"1 to {IMEI_DIGITS} letters or digits")
    return value


serial_number = text(50)


def filename(value: object) -> str:
    """The name of a PDF, without a path."""
    if not _is_line(value, 255) or not str(value).lower().endswith(".pdf") or set(str(value)) & set('/\\"'):
        raise ValueError("a file name of at most 255 characters that ends in .pdf, without a path or quotes")
    return str(value)


def listing_id(value: object) -> str:
    """A listing's UUID, or the older whole number."""
    expected = "a listing's UUID, or its older whole number"
    if isinstance(value, UUID):
        return str(value)
    try:
        return str(whole(1, MAX_ID)(value))
    except ValueError:
        pass
    try:
        return str(UUID(value)) if isinstance(value, str) else _refuse(expected)
    except ValueError:
        raise ValueError(expected) from None


def shipper(value: object) -> str:
    """A carrier that the document lists."""
    if not isinstance(value, str) or value not in SHIPPERS:
        raise ValueError("a carrier of the API's document, such as 'DHL Express' or 'Other'")
    return value


def _refuse(expected: str) -> str:
    raise ValueError(expected)


def _is_line(value: object, longest: int | None) -> bool:
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        return False
    return longest is None or len(value) <= longest


def _is_web(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
