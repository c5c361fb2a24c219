"""The change feed: what was created, updated and removed, for other applications to read and to follow."""

from backmarket.changes.feed import (
    CHANNEL,
    MAX_PAGE_SIZE,
    NOW,
    Bounds,
    Change,
    ChangeFilter,
    Changes,
    ChangesMissed,
    announce,
    decode_cursor,
    encode_cursor,
    get_changes,
    get_cursor,
    get_history,
    read_bounds,
)
from backmarket.changes.follow import watch

__all__ = [
    "CHANNEL",
    "MAX_PAGE_SIZE",
    "NOW",
    "Bounds",
    "Change",
    "ChangeFilter",
    "Changes",
    "ChangesMissed",
    "announce",
    "decode_cursor",
    "encode_cursor",
    "get_changes",
    "get_cursor",
    "get_history",
    "read_bounds",
    "watch",
]
