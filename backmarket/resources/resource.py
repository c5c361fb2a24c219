"""What a resource declares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from backmarket.resources.columns import STRICT, Column


@dataclass(frozen=True)
class Lines:
    """Rows that come inside another row, such as the lines of an order.

    Args:
        table: where they are stored.
        field: the API's name of the list.
        key: the column that identifies a line.
        columns: what else is read from it.
        personal: columns with personal data. Erasing empties them, and keeps of the API's object only the members
            that the other columns are read from (`backmarket/upkeep/erasure.py`); none: rows are never erased.
    """

    table: str
    field: str
    key: Column
    columns: tuple[Column, ...]
    personal: tuple[str, ...] = ()

    @cached_property
    def sent(self) -> tuple[Column, ...]:
        """The columns that are sent to PostgreSQL, key first; the others are cut out of `raw` there."""
        return (self.key, *(column for column in self.columns if column.kind != "jsonb"))

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes one object strictly, into a struct whose fields are those of `sent`."""
        return msgspec.json.Decoder(msgspec.defstruct(self.table, _fields(self.sent), gc=False))


@dataclass(frozen=True)
class Lookback:
    """Which rows are asked for again though the API can't be asked for what changed in them.

    Args:
        every: seconds between two such looks; 0: at every sync.
        within: seconds; older rows wait for the full walk.
        where: an SQL condition on the stored rows that can still change.
    """

    every: float
    within: float
    where: str


@dataclass(frozen=True)
class Resource(Lines):
    """A list of the API, how it is asked for and where it is stored.

    Args:
        name: as messages, `sync_state` and the CLI have it.
        path: the list's path at the API; one row stands at `path/{id}`.
        paging: the parameters that choose the size of a page, where the API lets it be chosen.
        since: the parameter that asks for what was modified or, where there are lookbacks, created at or after a
            time; empty: there is none, and every sync is a full walk.
        lookbacks: how what changes after creation is found, where `since` means creation.
        created: the column that says when a row appeared.
        modified: the column that says when a row last changed.
        hidden: an SQL condition on stored rows that the list leaves out by its own rules; they are not missed.
        lines: rows that come inside of its rows.
        label: the column that names a shipping label, where there is one.
        required: every account has this resource; where the API refuses it, the sync fails.
        beside: what the answer for one row has beside the row's own fields.
    """

    name: str = ""
    path: str = ""
    paging: tuple[tuple[str, str], ...] = ()
    since: str = ""
    lookbacks: tuple[Lookback, ...] = ()
    created: str = ""
    modified: str = ""
    hidden: str = "false"
    lines: Lines | None = None
    label: str = ""
    required: bool = False
    beside: tuple[str, ...] = ()

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes one object strictly; its lines, where it has any, stay undecoded at the end."""
        fields = _fields(self.sent)
        if self.lines is not None:
            fields.append((self.lines.field, list[msgspec.Raw] | None, None))
        return msgspec.json.Decoder(msgspec.defstruct(self.name, fields, gc=False))

    @property
    def hides(self) -> bool:
        """Whether the list leaves out rows that exist."""
        return self.hidden != "false"

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each sent column stands in a row's values."""
        return {column.name: index for index, column in enumerate(self.sent)}


def _fields(columns: tuple[Column, ...]) -> list[Any]:
    key, *others = columns
    return [
        (key.name, STRICT[key.kind], msgspec.field(name=key.source)),
        *((c.name, STRICT[c.kind] | None, msgspec.field(name=c.source, default=None)) for c in others),
    ]
