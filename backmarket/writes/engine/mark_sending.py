"""What is written down before writes are sent: that they are being sent, what was there before, their SKU lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backmarket.database import Transaction
from backmarket.errors import RateLimited
from backmarket.limits import sku_quota
from backmarket.limits.sku_quota import Reserved
from backmarket.settings import Settings
from backmarket.work.send_deadline import CLOCKS, SEND_WITHIN
from backmarket.writes import rows
from backmarket.writes.engine.sender import crashed
from backmarket.writes.engine.steps import is_foreign
from backmarket.writes.engine.verification import seen
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.request.models import from_json
from backmarket.writes.targets import stored_object


@dataclass(frozen=True, slots=True)
class Noted:
    """What may be sent now.

    Attributes:
        lines: the SKU line of each write that takes one, by the write's id.
        refused: ids of the writes that can't be sent now.
    """

    lines: dict[int, Reserved]
    refused: list[int]


def note_sending(
    transaction: Transaction, writes: Sequence[Write], *, account: str, locale: str, settings: Settings
) -> Noted:
    """Write down that these are being sent, with the SKU lines that they take.

    Args:
        transaction: holds the lease.
        writes: which.
        account: whose lines are taken.
        locale: the connection's.
        settings: say how many lines there are.
    """
    over = SEND_WITHIN + settings.request_longest + CLOCKS
    listings = [write for write in writes if write.kind == "update_listing"]
    line = _reserve(transaction, account, len(listings), settings, over)
    kept, denied = listings[: line.granted], listings[line.granted :]
    refused = [write.id for write in denied]
    for write in denied:
        rows.decide(transaction, write, Transition(WriteState.PENDING, line.wait_seconds, LINES_USED_UP))
    for write in writes:
        prior = _prior(transaction, write, locale)
        if write.id not in refused and not rows.begin(transaction, write, prior=prior, seconds=over):
            refused.append(write.id)
    return Noted({write.id: replace(line, granted=1) for write in kept}, refused)


def prior_in(write: Write, shown: dict[str, Any]) -> dict[str, Any] | None:
    """What the comparison will need of an object as it was before a write; None: it can't be read.

    Args:
        write: which.
        shown: the object.
    """
    try:
        return seen(from_json(write.kind, write.request), shown)
    except Exception as error:  # noqa: BLE001 - of an odd object; the write is sent without
        crashed(write, error)
        return None


def _reserve(transaction: Transaction, account: str, lines: int, settings: Settings, over: float) -> Reserved:
    """Take SKU lines of the account's hour, as many of them as there are; none is taken for none."""
    if not lines:
        return NO_LINE
    limit, window = settings.sku_lines_limit, settings.sku_lines_window
    return sku_quota.reserve(transaction, account, lines, limit=limit, window=window, at_least=1, deadline=over)


def _prior(transaction: Transaction, write: Write, locale: str) -> dict[str, Any] | None:
    """The values before a write, as far as they are known."""
    if is_foreign(write, locale):
        return write.prior
    shown = stored_object(transaction, write)
    return None if shown is None else prior_in(write, shown)


LINES_USED_UP = RateLimited("The account's SKU lines of this hour are used up.")

NO_LINE = Reserved("", 0, 0.0, datetime.now(UTC))
