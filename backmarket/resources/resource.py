"""What a resource declares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from backmarket.resources.columns import STRICT, TEXTS, Column


@dataclass(frozen=True)
class Lines:
    """Rows that come inside another row, such as the lines of an order.

    Args:
        table: where they are stored.
        field: the API's name of the list.
        key: the column that identifies a line.
        columns: what else is read from it.
        personal: columns with personal data. Erasure empties them, and keeps only those members of the API's object
            that the other columns are read from (`backmarket/upkeep/erasure.py`); none: rows are never erased.
    """

    table: str
    field: str
    key: Column
    columns: tuple[Column, ...]
    personal: tuple[str, ...] = ()

    @cached_property
    def sent(self) -> tuple[Column, ...]:
        """The columns that are sent to PostgreSQL, key first; it extracts the others from `raw`."""
        return (self.key, *(column for column in self.columns if column.kind != "jsonb"))

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes one object strictly, into a struct whose fields are those of `sent`."""
        return msgspec.json.Decoder(msgspec.defstruct(self.table, _fields(self.sent), gc=False))

    @cached_property
    def texts(self) -> tuple[tuple[re.Pattern[str], tuple[int, ...]], ...]:
        """What the decoder does not check: a pattern of `TEXTS`, and positions in `sent` of the columns of its kind."""
        of_kind = ((kind, [at for at, column in enumerate(self.sent) if column.kind == kind]) for kind in TEXTS)
        return tuple((TEXTS[kind], tuple(positions)) for kind, positions in of_kind if positions)


@dataclass(frozen=True)
class Lookback:
    """Which rows are requested again, as the API has no filter for their changes.

    Args:
        every: seconds between two such requests; 0: at every sync.
        within: age in seconds; older rows wait for the full walk.
        where: an SQL condition on the stored rows that can still change.
    """

    every: float
    within: float
    where: str


@dataclass(frozen=True)
class Resource(Lines):
    """A list of the API, how it is requested and where it is stored.

    Args:
        name: in messages, `sync_state` and the CLI.
        path: the list's path at the API; one row stands at `path/{id}`.
        paging: the parameters that set the page size, if the API has such.
        since: the parameter that filters for rows modified (with lookbacks: created) at or after a
            time; empty: the list has no such filter, and every sync is a full walk.
        lookbacks: how later changes are found, if `since` means creation.
        created: the column that says when a row appeared.
        modified: the column that says when a row last changed.
        hidden: an SQL condition on stored rows that the list leaves out by its own rules; they do not count as missing.
        lines: rows inside its rows.
        label: the column with the shipping label's address, if any.
        required: every account has this resource; if the API refuses it, the sync fails.
        beside: members that the answer for one row has in addition to the row's own fields.
        market: the further market, by its locale, that the rows are of; empty: the connection's locale, or none.
        members: of the API's object, those that are kept; empty: all.
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
    market: str = ""
    members: tuple[str, ...] = ()

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes one object strictly; its lines, if any, stay undecoded at the end."""
        fields = _fields(self.sent)
        if self.lines is not None:
            fields.append((self.lines.field, list[msgspec.Raw] | None, None))
        return msgspec.json.Decoder(msgspec.defstruct(self.name, fields, gc=False))

    @cached_property
    def kept(self) -> msgspec.json.Decoder[Any]:
        """Decodes one object into a struct of the members that are kept, as they are; those missing are not encoded."""
        missing = msgspec.Raw()
        members = [(name, msgspec.Raw, missing) for name in self.members]
        return msgspec.json.Decoder(msgspec.defstruct("Members", members, omit_defaults=True, gc=False))

    @property
    def in_market(self) -> str:
        """The SQL condition on the table's column `market`, to be added to others; empty: it has none."""
        return " AND market = %(market)s" if self.market else ""

    @property
    def hides(self) -> bool:
        """Whether the list leaves out rows that exist."""
        return self.hidden != "false"

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each sent column in a row's values."""
        return {column.name: index for index, column in enumerate(self.sent)}


def _fields(columns: tuple[Column, ...]) -> list[Any]:
    key, *others = columns
    return [
        (key.name, STRICT[key.kind], msgspec.field(name=key.source)),
        *((c.name, STRICT[c.kind] | None, msgspec.field(name=c.source, default=None)) for c in others),
    ]
