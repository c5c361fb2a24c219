"""Marks writes as `sending` before they are sent, with their prior values and their SKU lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backmarket.connections import EncryptedCredentials
from backmarket.database import Transaction
from backmarket.errors import RateLimited
from backmarket.limits import sku_quota
from backmarket.limits.sku_quota import Reserved
from backmarket.settings import Settings
from backmarket.work.contested import may_be_stale
from backmarket.work.send_deadline import send_deadline
from backmarket.writes import rows
from backmarket.writes.engine.sender import crashed
from backmarket.writes.engine.steps import market_of
from backmarket.writes.engine.verification import seen
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.request.models import from_json
from backmarket.writes.targets import stored_object


@dataclass(frozen=True, slots=True)
class Noted:
    """The writes that may be sent now.

    Attributes:
        lines: the SKU line of each write that needs one, by the write's id.
        refused: ids of the writes that cannot be sent now.
    """

    lines: dict[int, Reserved]
    refused: list[int]


def note_sending(
    transaction: Transaction, writes: Sequence[Write], *, encrypted: EncryptedCredentials, settings: Settings
) -> Noted:
    """Mark these writes as `sending`, and reserve their SKU lines.

    Args:
        transaction: holds the lease.
        writes: the writes.
        encrypted: the connection's: its account has the lines, its markets the prior values.
        settings: give the limit of SKU lines.
    """
    over = send_deadline(settings.request_longest)
    listings = [write for write in writes if write.kind == "update_listing"]
    line = _reserve(transaction, encrypted.account, len(listings), settings, over)
    kept, denied = listings[: line.granted], listings[line.granted :]
    refused = [write.id for write in denied]
    for write in denied:
        wait = line.wait_seconds + sku_quota.after_others(write.tries)
        rows.decide(transaction, write, Transition(WriteState.PENDING, wait, LINES_USED_UP, waits=True))
    for write in writes:
        prior = _prior(transaction, write, encrypted)
        if write.id not in refused and not rows.begin(transaction, write, prior=prior, seconds=over):
            refused.append(write.id)
    return Noted({write.id: replace(line, granted=1) for write in kept}, refused)


def prior_in(write: Write, shown: dict[str, Any]) -> dict[str, Any] | None:
    """The prior values that the comparison will need; None: the object is unreadable.

    Args:
        shown: the object, before the write.
    """
    try:
        return seen(from_json(write.kind, write.request), shown)
    except Exception as error:  # noqa: BLE001 - of an odd object; the write is sent without
        crashed(write, error)
        return None


def _reserve(transaction: Transaction, account: str, lines: int, settings: Settings, over: float) -> Reserved:
    """Reserve as many of the account's hourly SKU lines as are free; for 0 lines, reserves nothing."""
    if not lines:
        return NO_LINE
    limit, window = settings.sku_lines_limit, settings.sku_lines_window
    return sku_quota.reserve(transaction, account, lines, limit=limit, window=window, at_least=1, deadline=over)


def _prior(transaction: Transaction, write: Write, encrypted: EncryptedCredentials) -> dict[str, Any] | None:
    """The values before a write, as far as they are known; None, too, of a listing that a bulk part sets as well."""
    market = market_of(write, encrypted)
    shown = stored_object(transaction, write, market or "")
    if write.kind == "update_listing" and shown is not None:
        sku = str(shown.get("sku") or "")
        of, locale = write.organization_id, write.locale
        if may_be_stale(transaction, of, [sku], write=write.id, locale=locale, market=market or ""):
            return None
    if market is None or (market and shown is None):
        return write.prior  # it was asked for
    return None if shown is None else prior_in(write, shown)


LINES_USED_UP = RateLimited("The account's SKU lines of this hour are used up.")

NO_LINE = Reserved("", 0, 0.0, datetime.max.replace(tzinfo=UTC))
