"""The kinds of columns, and the conversion of JSON values to them.

Each kind has a strict form, which msgspec decodes at full speed, and a lenient one, which accepts any value
and returns null for unreadable ones. A row is read leniently only if the strict form refused it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

Kind = Literal["bigint", "integer", "text", "uuid", "boolean", "numeric", "timestamptz", "jsonb"]

_NUMERIC = r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?"
# What PostgreSQL accepts and psycopg reads, in any zone. `_timestamp` also checks the 29th of February.
_DATE = (
    r"(?!000[01]|9999)[0-9]{4}-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-5]):[0-5][0-9])?"
_TIMESTAMP = f"{_DATE}T{_TIME}"

STRICT: dict[str, Any] = {
    "bigint": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "text": str,
    "uuid": UUID,
    "boolean": bool,
    # money is a text; the price of a shipment is a whole number
    "numeric": str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    # kept as text: PostgreSQL reads it, and takes a time without an offset as UTC, too
    "timestamptz": str,
}
"""The msgspec type of each kind that is sent as a column; PostgreSQL extracts `jsonb` from `raw`. Texts of the kinds in
`TEXTS` are still to be checked."""

TEXTS: dict[str, re.Pattern[str]] = {
    kind: re.compile(rf"(?:{pattern}\x00)*+") for kind, pattern in (("numeric", _NUMERIC), ("timestamptz", _TIMESTAMP))
}
"""Matches texts that PostgreSQL reads as this kind, each ended by a NUL. As patterns of msgspec types they would cost
a call of Python for each text: a third of the time of reading a page."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read from the API's object.

    Args:
        name: in the table.
        kind: its PostgreSQL type.
        field: the API's name, if different.
        kept: the API stops naming the value one day: the last one that it named stays.
    """

    name: str
    kind: Kind
    field: str = ""
    kept: bool = False

    @property
    def source(self) -> str:
        """The API's name of the field."""
        return self.field or self.name


def lenient(kind: Kind, value: Any) -> Any:
    """Read a value of any JSON type as far as possible, a fraction as a `Decimal`; null if it is unreadable."""
    return None if value is None else _LENIENT[kind](value)


def _integer(low: int, high: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, Decimal) and low <= value <= high and value == value.to_integral_value():
            value = int(value)
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,19}\s*", value, re.ASCII):
            value = int(value)
        return value if isinstance(value, int) and low <= value <= high else None

    return read


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    return None


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return bool(value) if value in (True, False) else None


def _numeric(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    text = format(value, "f") if isinstance(value, Decimal) else str(value).strip()
    return text if re.fullmatch(_NUMERIC, text, re.ASCII) else None


def _timestamp(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    moment = read_time(value.strip())
    if moment is None:
        return None
    if re.fullmatch(_TIMESTAMP, value, re.ASCII):
        return value
    return moment.astimezone(UTC).isoformat() if 1 < moment.year < 9999 else None


def read_time(text: str) -> datetime | None:
    """A time with its offset; one without counts as UTC (`docs/assumptions.md`). None: it is not a time."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (ValueError, OverflowError):
        return None


_LENIENT: dict[str, Callable[[Any], Any]] = {
    "bigint": _integer(-(2**63), 2**63 - 1),
    "integer": _integer(-(2**31), 2**31 - 1),
    "text": _text,
    "uuid": _uuid,
    "boolean": _boolean,
    "numeric": _numeric,
    "timestamptz": _timestamp,
}
