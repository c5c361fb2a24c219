"""The change feed: what was created, updated and removed, for other applications to read and to follow."""

from backmarket.changes.feed import (
    CHANNEL,
    MAX_PAGE_SIZE,
    NOW,
    Change,
    ChangeFilter,
    Changes,
    ChangesMissed,
    announce,
    get_changes,
    get_cursor,
    get_history,
)
from backmarket.changes.follow import watch

__all__ = [
    "CHANNEL",
    "MAX_PAGE_SIZE",
    "NOW",
    "Change",
    "ChangeFilter",
    "Changes",
    "ChangesMissed",
    "announce",
    "get_changes",
    "get_cursor",
    "get_history",
    "watch",
]
