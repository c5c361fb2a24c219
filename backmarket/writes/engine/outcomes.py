"""The result of a write after a step: sent, delayed, read back, or failed."""

from __future__ import annotations

from backmarket.errors import NetworkError
from backmarket.limits.sku_quota import REFUSED_SECONDS, Reserved
from backmarket.writes.engine.results import Result
from backmarket.writes.engine.retry_policy import (
    transition_after_failed_reading,
    transition_after_reading,
    transition_after_sending,
)
from backmarket.writes.engine.sender import Read, Sent, crashed
from backmarket.writes.engine.verification import Verdict, compare, undecidable
from backmarket.writes.models import Write
from backmarket.writes.request.models import from_json


def after_sending(write: Write, sent: Sent, line: Reserved | None, *, locale: str) -> Result:
    """The result of a write that was sent, or came too late to be sent.

    Args:
        sent: the result of sending it.
        line: the SKU line reserved for it.
        locale: the locale in which rows were fetched.
    """
    never = isinstance(sent.error, NetworkError) and sent.error.delivery == "not_sent"
    return Result(
        write,
        transition_after_sending(write, sent.error),
        shown=sent.shown,
        locale=locale,
        cause=sent.error,
        line=line if never else None,
        lines_closed=REFUSED_SECONDS if sent.lines_used_up else 0.0,
    )


def after_reading(write: Write, read: Read, *, locale: str) -> Result:
    """The result of a write that was read back, or whose reading back failed.

    Args:
        read: what the API showed.
        locale: the locale in which rows were fetched.
    """
    if read.error is not None:
        return Result(write, transition_after_failed_reading(write, read.error), cause=read.error)
    return Result(write, transition_after_reading(write, _verdict(write, read)), shown=read.shown, locale=locale)


def _verdict(write: Write, read: Read) -> Verdict:
    """The comparison's verdict; if it cannot read the object, a person decides."""
    try:
        return compare(from_json(write.kind, write.request), write.prior, read.seen or {})
    except Exception as error:  # noqa: BLE001 - of an odd answer; the worker would retry for ever
        return undecidable(crashed(write, error).message)
