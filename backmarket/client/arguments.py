"""Arguments of operations: each kind of argument defines which values it accepts, and how they are sent.

A kind refuses with a `ValueError` whose text follows the argument's name and never quotes the value.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict, get_args
from uuid import UUID


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Not given; unlike None, which empties a field."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to be sent.

    Args:
        filename: as the receiver sees it.
        content: complete.
        content_type: such as `application/pdf`.
    """

    filename: str = field(repr=False)
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Attachment:
        """Read a file from disk, under its own name; its type is guessed from the name."""
        file = Path(path)
        return cls(file.name, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")


class NamedContent(TypedDict):
    """A file inside JSON: its name, and its content as text."""

    name: str
    content: str


class Amount(TypedDict):
    """An amount in a currency, such as `{"amount": Decimal("12.50"), "currency": "EUR"}`."""

    amount: Decimal | int | str
    currency: str


class Kind(Protocol):
    """One kind of argument."""

    def sent(self, value: Any) -> Any:
        """The value for JSON, or the files.

        Raises:
            ValueError: if it is not of this kind.
        """
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    least: int = 0
    most: int | None = None

    def sent(self, value: Any) -> int:
        """The number."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be a whole number")
        if value < self.least or (self.most is not None and value > self.most):
            limit = f" and at most {self.most}" if self.most is not None else ""
            raise ValueError(f"must be at least {self.least}{limit}")
        return int(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text.

    Args:
        shortest: minimum characters.
        longest: maximum characters; None: the document gives no limit.
        form: a pattern that the whole text matches.
        like: describes a matching text, for the error.
    """

    shortest: int = 0
    longest: int | None = None
    form: str | None = None
    like: str = ""

    def sent(self, value: Any) -> str:
        """The text."""
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if len(value) < self.shortest:
            raise ValueError(f"must have at least {self.shortest} characters")
        if self.longest is not None and len(value) > self.longest:
            raise ValueError(f"must have at most {self.longest} characters")
        if self.form is not None and not re.fullmatch(self.form, value):
            raise ValueError(f"must look like {self.like}")
        if "\0" in value or not _encodable(value):
            raise ValueError("has a character that cannot be sent")
        return str(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values.

    Args:
        literal: the `Literal` type that names them.
    """

    literal: Any

    @property
    def values(self) -> tuple[Any, ...]:
        """All of them."""
        return get_args(self.literal)

    def sent(self, value: Any) -> Any:
        """The value, without its enum's type."""
        for one in self.values:
            if value == one and isinstance(value, type(one)) and not isinstance(value, bool):
                return one
        shown = [str(one) for one in self.values]
        more = ", ..." if len(shown) > 20 else ""
        raise ValueError(f"must be one of {', '.join(shown[:20])}{more}")


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def sent(self, value: Any) -> bool:
        """The value."""
        if not isinstance(value, bool):
            raise ValueError("must be True or False")
        return value


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, sent in UTC and to the second.

    Args:
        form: for `strftime`.
    """

    form: str = "%Y-%m-%dT%H:%M:%SZ"

    def sent(self, value: Any) -> str:
        """The moment as a text."""
        if not isinstance(value, datetime):
            raise ValueError("must be a datetime")
        if value.utcoffset() is None:
            raise ValueError("must be a datetime with an offset, such as datetime.now(UTC)")
        return value.astimezone(UTC).strftime(self.form)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of money, zero or more.

    Args:
        number: send it as a number, as the document requires for this field, not as a text.
    """

    number: bool = False

    def sent(self, value: Any) -> str | int | float:
        """The amount, without an exponent."""
        if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
            raise ValueError("must be a Decimal, or a text such as '12.50': a float is not exact")
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise ValueError("must be an amount such as '12.50'") from None
        if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > 15:
            raise ValueError("must be an amount of zero or more")
        text = f"{amount:f}".removeprefix("-")  # minus zero
        if not self.number:
            return text
        return int(amount) if amount == amount.to_integral_value() else float(text)


@dataclass(frozen=True, slots=True)
class Uuid:
    """A UUID."""

    def sent(self, value: Any) -> str:
        """The UUID as a text."""
        if isinstance(value, UUID):
            return str(value)
        try:
            return str(UUID(value))
        except (ValueError, TypeError, AttributeError):
            raise ValueError("must be a UUID") from None


@dataclass(frozen=True, slots=True)
class UuidOrWhole:
    """A UUID, or the older integer id."""

    def sent(self, value: Any) -> str | int:
        """Either."""
        return Whole().sent(value) if isinstance(value, int) else Uuid().sent(value)


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of at least one text."""

    def sent(self, value: Any) -> list[str]:
        """The list."""
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            raise ValueError("must be a list of texts, with one at the least")
        return [Text(1).sent(each) for each in value]


@dataclass(frozen=True, slots=True)
class Prices:
    """Amounts by market, such as `{"FR": {"amount": "12.50", "currency": "EUR"}}`."""

    def sent(self, value: Any) -> dict[str, dict[str, str]]:
        """The amounts as texts."""
        if not isinstance(value, Mapping) or not value:
            raise ValueError("must be a mapping of a market to an amount, with one at the least")
        return {Text(1).sent(market): self._amount(amount) for market, amount in value.items()}

    @staticmethod
    def _amount(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping) or set(value) != {"amount", "currency"}:
            raise ValueError("must give an amount and a currency for each market")
        currency = Text(form="[A-Z]{3}", like="EUR").sent(value["currency"])
        return {"amount": str(Money().sent(value["amount"])), "currency": currency}


@dataclass(frozen=True, slots=True)
class NamedContents:
    """Files inside JSON, each with its own name; may be empty."""

    def sent(self, value: Any) -> list[dict[str, str]]:
        """The files."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError("must be a list of files")
        found = [self._file(each) for each in value]
        if any(each in found[:place] for place, each in enumerate(found)):
            raise ValueError("must not hold the same file twice")
        return found

    @staticmethod
    def _file(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping) or set(value) != {"name", "content"}:
            raise ValueError("must give a name and a content for each file")
        return {name: Text(1).sent(value[name]) for name in ("name", "content")}


@dataclass(frozen=True, slots=True)
class Files:
    """Files of a multipart form.

    Args:
        least: minimum number; None: one file, not a list.
    """

    least: int | None = None

    def sent(self, value: Any) -> list[Attachment]:
        """The files."""
        files = self._listed(value)
        if not all(each.content for each in files):
            raise ValueError("must not be empty")
        if any(each in files[:place] for place, each in enumerate(files)):
            raise ValueError("must not hold the same file twice")
        return files

    def _listed(self, value: Any) -> list[Attachment]:
        if self.least is None:
            if not isinstance(value, Attachment):
                raise ValueError("must be an Attachment")
            return [value]
        files = list(value) if isinstance(value, Sequence) else [value]
        if not isinstance(value, Sequence) or not all(isinstance(each, Attachment) for each in files):
            raise ValueError("must be a list of Attachments")
        if len(files) < self.least:
            raise ValueError(f"must hold at least {self.least} Attachment")
        return files
