"""Remove personal data from rows, as their resources declare it (`Lines.personal`).

Only the members of the other columns stay in the API's own object, so that no personal data survives in an unknown
field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec

from backmarket.resources.parsing import Row
from backmarket.resources.resource import Lines, Resource


def blank(resource: Resource, row: Row) -> Row:
    """The row without personal data; its hash is still that of the original object."""
    lines = resource.lines
    return replace(
        row,
        values=_blank_values(resource, row.values),
        raw=_encode(_blank_members(resource, row.raw)),
        lines=[(_blank_values(lines, values), _encode(_blank_members(lines, raw))) for values, raw in row.lines]
        if lines
        else [],
    )


def blank_object(table: Lines, raw: str) -> tuple[str, list[str]]:
    """The API's object without personal data, and the names of the members that lost something.

    Args:
        table: of the object.
        raw: its JSON text; of an unreadable one nothing stays.
    """
    before, after = _members(raw), _blank_members(table, raw)
    lost = [name for name, value in before.items() if name not in after and bytes(value) != b"null"]
    inner = _inner(table)
    if inner is not None and any(blank_object(inner, line)[1] for line in _objects(before.get(inner.field))):
        lost.append(inner.field)
    return _encode(after), sorted(lost)


def _blank_members(table: Lines, raw: str) -> dict[str, Any]:
    members = _members(raw)
    kept: dict[str, Any] = {name: value for name, value in members.items() if name in _kept(table)}
    inner = _inner(table)
    if inner is not None and inner.field in members:
        kept[inner.field] = [_blank_members(inner, line) for line in _objects(members[inner.field])]
    return kept


def _blank_values(table: Lines, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        None if column.name in table.personal else value for column, value in zip(table.sent, values, strict=True)
    )


@cache
def _kept(table: Lines) -> frozenset[str]:
    """The members of the API's object that stay: those of columns that are not personal."""
    return frozenset(column.source for column in (table.key, *table.columns) if column.name not in table.personal)


def _inner(table: Lines) -> Lines | None:
    return table.lines if isinstance(table, Resource) else None


def _members(raw: str) -> dict[str, msgspec.Raw]:
    """The members of an object; none if it is not an object, or unreadable."""
    try:
        return _OBJECT.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}


def _objects(raw: msgspec.Raw | None) -> Iterable[str]:
    """The items of a list, or of a dict by SKU."""
    try:
        found = _ITEMS.decode(raw or b"[]")
    except (msgspec.DecodeError, RecursionError):
        return []
    return [bytes(item).decode() for item in (found.values() if isinstance(found, dict) else found)]


def _encode(members: dict[str, Any]) -> str:
    return msgspec.json.encode(members).decode()


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw])
