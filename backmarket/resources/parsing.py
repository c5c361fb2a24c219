"""Parse an answer's bytes into rows: strictly and fast if the answer is as documented, leniently if not.

A bad row does not stop the others; the API's own object is kept as `raw`, with unknown fields.
PostgreSQL stores neither NUL characters nor lone surrogates: both become U+FFFD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from backmarket.errors import BrokenAnswer
from backmarket.resources.columns import lenient, read_time
from backmarket.resources.resource import Lines, Resource
from backmarket.resources.signed_links import without_signatures

MAX_NUMBER_DIGITS = 1000
"""Maximum digits of a number, or places before or after its point, in lenient reading."""

DEEPEST = 100
"""Maximum levels of arrays and objects that are kept of an answer with too many for Python."""


@dataclass(slots=True)
class Row:
    """One object of a list, ready to be stored.

    Attributes:
        key: its id.
        values: the sent columns, key first.
        raw: the API's object, as JSON text.
        content: hash of `raw`, without the signatures of its links.
        created: when it appeared, if known.
        modified: when it last changed, if known.
        lines: values and raw text of each row inside it.
    """

    key: Any
    values: tuple[Any, ...]
    raw: str
    content: int
    created: datetime | None = None
    modified: datetime | None = None
    lines: list[tuple[tuple[Any, ...], str]] = field(default_factory=list)


@dataclass(slots=True)
class Page:
    """One answer of a list.

    Attributes:
        rows: in the order of the answer.
        count: rows in the whole list, as the API counts them; None if it does not say.
        last: the API says that no page follows.
        rejected: objects without a usable id.
    """

    rows: list[Row]
    count: int | None
    last: bool
    rejected: int = 0

    @property
    def size(self) -> int:
        """Objects on this page, rejected ones included."""
        return len(self.rows) + self.rejected


class _Envelope(msgspec.Struct):
    results: list[msgspec.Raw]
    count: int | None = None
    next: msgspec.Raw = msgspec.Raw(b"null")


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_HAZARD = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DEEP = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_page(resource: Resource, body: bytes) -> Page:
    """Read a list's answer.

    Args:
        resource: of the list.
        body: the answer's bytes.

    Raises:
        BrokenAnswer: if it is not JSON, or no list of results can be found in it.
    """
    try:
        envelope = _ENVELOPE.decode(body)
    except _UNREADABLE:
        return _parse_lenient(resource, body)
    raws = [bytes(raw) for raw in envelope.results]
    rows = [_parse_strict(resource, raw) for raw in raws]
    if not _are_readable(resource, rows):  # one by one: which?
        rows = [row if _are_readable(resource, [row]) else None for row in rows]
    for at, row in enumerate(rows):
        if row is None:
            rows[at] = _parse_single(resource, raws[at])
    return _page(rows, envelope.count, bytes(envelope.next) == b"null")


def parse_object(resource: Resource, body: bytes) -> Row | None:
    """Read the answer with one row; None if it has no usable id.

    Raises:
        BrokenAnswer: if it is not a JSON object.
    """
    value = _load(body)
    if not isinstance(value, dict):
        raise BrokenAnswer(f"The API's answer for one of {resource.name} is not a JSON object.")
    return _parse_value(resource, {name: part for name, part in value.items() if name not in resource.beside})


def as_in(resource: Resource, row: Row) -> Row | None:
    """A fetched row as another table keeps it: of a listing, what a market has of its own.

    Args:
        resource: of that table.
        row: as the API showed it in that market, whole.
    """
    return parse_object(resource, row.raw.encode()) if resource.members else row


def _page(rows: list[Row | None], count: Any, last: bool) -> Page:
    kept = [row for row in rows if row is not None]
    counted = lenient("bigint", count)
    return Page(kept, counted if counted is not None and counted >= 0 else None, last, len(rows) - len(kept))


def _parse_lenient(resource: Resource, body: bytes) -> Page:
    answer = _load(body)
    results = answer.get("results") if isinstance(answer, dict) else answer
    if isinstance(results, dict):
        results = list(results.values())
    if not isinstance(results, list):
        raise BrokenAnswer(f"The API's list of {resource.name} has no results.")
    named = answer if isinstance(answer, dict) else {}
    return _page([_parse_value(resource, value) for value in results], named.get("count"), named.get("next") is None)


def _parse_single(resource: Resource, raw: bytes) -> Row | None:
    """One object of a page, leniently; None if it has no usable id."""
    try:
        return _parse_value(resource, _load(raw))
    except BrokenAnswer:  # only this row is nested too deeply
        return None


def _parse_strict(resource: Resource, raw: bytes) -> Row | None:
    """None if it is not as documented, or cannot be stored as it is; texts of `Lines.texts` are still to be checked."""
    if b"\\" in raw and _HAZARD.search(raw):
        return None
    try:
        values = msgspec.structs.astuple(resource.decoder.decode(raw))
        lines: list[tuple[tuple[Any, ...], str]] = []
        if resource.lines is not None:
            *head, inner = values
            values = tuple(head)
            lines = [_parse_line(resource.lines, bytes(line)) for line in inner or ()]
        if resource.members:
            raw = _ENCODER.encode(resource.kept.decode(raw))
        return _row(resource, values, raw.decode(), raw, lines)
    except _UNREADABLE:
        return None


def _are_readable(resource: Resource, rows: Iterable[Row | None]) -> bool:
    """Whether PostgreSQL can read the texts of numbers and times of all these strictly parsed rows."""
    parsed = [row for row in rows if row is not None]
    lines = [values for row in parsed for values, _ in row.lines]
    return _match(resource, [row.values for row in parsed]) and (
        resource.lines is None or _match(resource.lines, lines)
    )


def _match(lines: Lines, rows: Sequence[tuple[Any, ...]]) -> bool:
    for pattern, positions in lines.texts:
        texts = [values[at] for values in rows for at in positions if type(values[at]) is str]
        if not pattern.fullmatch("\0".join([*texts, ""])):  # no text has a NUL: see `_HAZARD`
            return False
    return True


def _parse_line(lines: Lines, raw: bytes) -> tuple[tuple[Any, ...], str]:
    return msgspec.structs.astuple(lines.decoder.decode(raw)), raw.decode()


def _parse_value(resource: Resource, value: Any) -> Row | None:
    if not isinstance(value, dict):
        return None
    values = _lenient_values(resource, value)
    if values[0] is None:
        return None
    lines: list[tuple[tuple[Any, ...], str]] = []
    if resource.lines is not None:
        for line in _items(value.get(resource.lines.field)):
            line_values = _lenient_values(resource.lines, line)
            if line_values[0] is not None:
                lines.append((line_values, _dump(line)))
    raw = _dump({name: value[name] for name in resource.members if name in value} if resource.members else value)
    return _row(resource, values, raw, raw.encode(), lines)


def _items(value: Any) -> Sequence[dict[str, Any]]:
    """The objects of a list, or of a dict by SKU, as the document's text describes in one place."""
    if isinstance(value, dict):
        value = list(value.values())
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _lenient_values(lines: Lines, value: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(lenient(column.kind, value.get(column.source)) for column in lines.sent)


def _row(
    resource: Resource,
    values: tuple[Any, ...],
    raw: str,
    encoded: bytes,
    lines: list[tuple[tuple[Any, ...], str]],
) -> Row:
    content = xxh3_64_intdigest(without_signatures(encoded)) - 2**63  # in the range of PostgreSQL's bigint
    at = resource.positions
    return Row(
        values[0],
        values,
        raw,
        content,
        _time(values[at[resource.created]]) if resource.created else None,
        _time(values[at[resource.modified]]) if resource.modified else None,
        lines,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else read_time(text)


def _load(body: bytes) -> Any:
    text = body.decode("utf-8-sig", "replace")
    with suppress(RecursionError):
        return _decode(text)
    try:
        return _decode(_shallow(text))
    except RecursionError:
        raise BrokenAnswer("The API's answer is nested too deeply, and cut.") from None


def _decode(text: str) -> Any:
    try:
        return _storable(_DECODER.decode(text))
    except ValueError:
        raise BrokenAnswer("The API's answer is not JSON, or it is cut.") from None


def _shallow(text: str) -> str:
    """JSON text with null in place of each array and object that lies too deep for the decoders."""
    kept: list[str] = []
    depth = since = 0
    for token in _DEEP.finditer(text):
        if token[0] in {"[", "{"}:
            depth += 1
            if depth == DEEPEST + 1:
                kept += text[since : token.start()], "null"
        elif token[0] in {"]", "}"}:
            if depth == DEEPEST + 1:
                since = token.end()
            depth -= 1
    return "".join(kept) + text[since:]


def _integer(text: str) -> int | None:
    return int(text) if len(text) <= MAX_NUMBER_DIGITS else None


def _fraction(text: str) -> Decimal | None:
    """The exact number; None if PostgreSQL's numeric cannot store it."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if len(text) <= MAX_NUMBER_DIGITS and abs(value.adjusted()) <= MAX_NUMBER_DIGITS else None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def _dump(value: Any) -> str:
    return _ENCODER.encode(value).decode()


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=lambda _: None, strict=False)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
