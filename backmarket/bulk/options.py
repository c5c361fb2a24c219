"""How to read and send a file: the options of a caller or of a message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from backmarket.bulk.csv_file.amounts import Notation
from backmarket.bulk.csv_file.column_map import ColumnMap
from backmarket.bulk.csv_file.spool import File
from backmarket.errors import InvalidArgument

MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read a file, and what to do with it.

    Args:
        delimiter: between fields; None: found by the header.
        quotechar: around fields; None: found by the header.
        encoding: of the bytes; None: UTF-8, or what its byte order mark says.
        decimal: the decimal sign of amounts, `.` or `,`; None: a point.
        thousands: between the thousands of amounts: `.`, `,`, a space or `'`; None: nothing is.
        skus_as_they_are: send SKUs that look as if Excel had damaged them; without it, their lines are bad.
        locale: the market that prices and texts belong to; None: the connection's.
        market: one of the connection's markets, in place of `locale`.
        skip_bad_lines: send the others; without it, one bad line refuses the file.
        skip_unchanged: leave out lines that change nothing by the latest sync of the listings.
        max_age: lines not sent within this time are dropped.
        idempotency_key: the caller's own name for the job: repeating the call gives the same job.
        environment: must be the connection's, if given.
        file_name: what a person calls the file; None: its own name, if it has one.
        columns: the names of columns in the file, and those under which they are sent; empty: left out. None, and a
            column that is not named: by their own names.
    """

    delimiter: str | None = None
    quotechar: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    skus_as_they_are: bool = False
    locale: str | None = None
    skip_bad_lines: bool = False
    skip_unchanged: bool = False
    max_age: timedelta | None = None
    idempotency_key: str | None = None
    environment: str | None = None
    file_name: str | None = None
    columns: Mapping[str, str] | None = None
    market: str | None = None

    def __post_init__(self) -> None:
        Notation(self.decimal, self.thousands)
        ColumnMap(self.columns)
        if self.max_age is not None and self.max_age <= timedelta():
            raise InvalidArgument("max_age must be more than 0 seconds.")
        if self.idempotency_key is not None and not 1 <= len(self.idempotency_key) <= 200:
            raise InvalidArgument("The idempotency key is empty or too long. Give 1 to 200 characters.")

    @property
    def notation(self) -> Notation:
        """How amounts are written."""
        return Notation(self.decimal, self.thousands)

    @property
    def column_map(self) -> ColumnMap:
        """Under which names the columns are sent."""
        return ColumnMap(self.columns)

    def fingerprint(self, content: str) -> str:
        """A hash of the file and its options.

        Args:
            content: hexadecimal hash of the file.
        """
        told: list[object] = [
            content, self.delimiter, self.quotechar, self.encoding, self.locale, self.skip_bad_lines,
            self.skip_unchanged, self.max_age.total_seconds() if self.max_age else None,
        ]  # fmt: skip
        newer: dict[str, object] = {
            "decimal": self.decimal,
            "thousands": self.thousands,
            "skus_as_they_are": self.skus_as_they_are,
        }
        if self.columns:
            newer["columns"] = sorted(self.columns.items())
        newer |= {"market": self.market} if self.market else {}
        if any(newer.values()):  # without them, the same as in the versions that did not have them
            told.append(newer)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def from_message(object_key: str, content: str, options: Mapping[str, Any]) -> Options:
    """The options of a message, with an idempotency key that gives the same job for the same message.

    Args:
        object_key: of the file.
        content: hexadecimal hash of the file.
        options: those of `Options`, `max_age` in seconds.

    Raises:
        InvalidArgument: if an option is invalid.
    """
    unknown = options.keys() - _OF_A_MESSAGE.keys()
    if unknown:
        raise InvalidArgument(f"The option {min(unknown)!r} is unknown. Choose one of {', '.join(_OF_A_MESSAGE)}.")
    for name, value in options.items():
        if value is not None and (not isinstance(value, _OF_A_MESSAGE[name]) or isinstance(value, bool) != (
            _OF_A_MESSAGE[name] is bool
        )):  # fmt: skip
            raise InvalidArgument(f"The option {name} cannot be a {type(value).__name__}.")
    given = {name: value for name, value in options.items() if value is not None}
    if "max_age" in given:
        given["max_age"] = _seconds(given["max_age"])
    asked = Options(**{"file_name": PurePosixPath(unquote(object_key)).name, **given})
    if asked.idempotency_key is not None:
        return asked
    same = hashlib.sha256(f"{object_key}\n{asked.fingerprint(content)}".encode()).hexdigest()
    return replace(asked, idempotency_key=f"upload/{same}")


_OF_A_MESSAGE: dict[str, Any] = {
    "delimiter": str,
    "quotechar": str,
    "encoding": str,
    "decimal": str,
    "thousands": str,
    "skus_as_they_are": bool,
    "locale": str,
    "market": str,
    "skip_bad_lines": bool,
    "skip_unchanged": bool,
    "max_age": (int, float),
    "idempotency_key": str,
    "environment": str,
    "file_name": str,
    "columns": dict,
}
"""The options that a message may have, and their types in JSON."""


def _seconds(value: float) -> timedelta:
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise InvalidArgument("max_age must be a number of seconds.") from None


def with_name(options: Options, file: File) -> Options:
    """The options with the file's own name, if the caller gave none."""
    name = options.file_name
    if name is None and not isinstance(file, str):
        own = file if isinstance(file, Path) else getattr(file, "name", None)
        name = Path(own).name if isinstance(own, str | Path) else None
    if name is not None:
        name = name.encode("utf-8", "replace").decode().replace("\0", "?")[:MAX_NAME_CHARS]
    return replace(options, file_name=name or None)
