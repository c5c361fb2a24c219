"""The next state of a write after a request: one table of errors for sending, one for reading back."""

from __future__ import annotations

from backmarket.errors import (
    BackMarketError,
    Erased,
    FirewallBlocked,
    LimiterUnavailable,
    NetworkError,
    NotAvailable,
    NotFound,
    ObjectNotFound,
    RateLimited,
    RequestRefused,
    SettingsError,
    TerminalError,
    Unauthorized,
    UnknownOutcome,
    error_for,
)
from backmarket.limits.backoff import MIN_PAUSE_SECONDS, growing
from backmarket.observability.numbers import counted
from backmarket.work.backoff import FIREWALL_SECONDS, MAX_LOOKS, MAX_TRIES
from backmarket.writes.engine.verification import Verdict
from backmarket.writes.models import Transition, Write, WriteState

MOST_SENT = 3
"""Maximum number of automatic sends of a write. Each resend requires that the last one certainly did not arrive."""


REFUSALS = {RequestRefused.code, NotAvailable.code, NotFound.code}
"""Error codes by which the API refuses a write."""

_TIMED_OUT = 408
"""Request timeout: the API refuses, but may have begun to process the request."""


def transition_after_sending(write: Write, error: BackMarketError | None) -> Transition:
    """The next state of a write that was sent.

    Args:
        error: why it failed, or why its outcome is unknown; None: the API accepted it.
    """
    match error:
        case None:
            return Transition(WriteState.SUCCEEDED, confirmed_by="answer")
        case NetworkError(delivery="not_sent") | LimiterUnavailable() | RateLimited() | Unauthorized():
            return _postponed(write, error, growing(write.tries))
        case FirewallBlocked():
            return _postponed(write, error, growing(write.tries, FIREWALL_SECONDS))
        case TerminalError() if error.status != _TIMED_OUT:
            return _refused(write, error)
        case _:
            return lost(write, error)


def _postponed(write: Write, error: BackMarketError, pause: float) -> Transition:
    """The next state of a write that certainly did not arrive: sent again later; after `MAX_TRIES`, it is given up."""
    if write.tries + 1 < MAX_TRIES:
        return Transition(WriteState.PENDING, pause, error, unsent=True)
    why = f"The write could not be sent in {write.tries + 1} attempts: {error.message}"
    if _sent_before(write):
        text = f"{why} An earlier request may have arrived. {_DECIDE}"
        return Transition(WriteState.UNKNOWN, None, _unknown(text, error), unsent=True)
    marks = {"status": error.status, "request_id": error.request_id, "cf_ray": error.cf_ray}
    return Transition(WriteState.REFUSED, error=error_for(error.code, why, **marks), unsent=True)


def _refused(write: Write, error: BackMarketError) -> Transition:
    if _sent_before(write):
        return Transition(WriteState.UNKNOWN, 0.0, error)
    return Transition(WriteState.REFUSED, error=error)


def transition_before_sending(write: Write, error: BackMarketError) -> Transition:
    """The next state of a write whose prior values could not be fetched; nothing was sent.

    Args:
        write: the write.
        error: why they could not be fetched.
    """
    if isinstance(error, TerminalError) and error.status != _TIMED_OUT:
        return transition_after_sending(write, error)
    minimum = FIREWALL_SECONDS if isinstance(error, FirewallBlocked) else MIN_PAUSE_SECONDS
    return _postponed(write, error, growing(write.tries, minimum))


def lost(write: Write, error: BackMarketError | None) -> Transition:
    """The next state of a write that may have happened: it is read back, if possible.

    Args:
        error: why the outcome is unknown; None: the sending worker ended first.
    """
    why = error.message.rstrip(".") if error else "The worker that sent the write ended before the answer came"
    if write.kind == "upload_order_invoice":
        return Transition(WriteState.UNKNOWN, None, _unknown(f"{why}. {_INVOICE}", error))
    return Transition(
        WriteState.UNKNOWN, 0.0, _unknown(f"{why}. The change may have happened. A worker reads it back.", error)
    )


def transition_after_reading(write: Write, found: Verdict) -> Transition:
    """The next state of a write that was read back.

    Args:
        found: the comparison's verdict.
    """
    if found.state == "applied":
        return Transition(WriteState.SUCCEEDED, confirmed_by="reading_back")
    if found.state == "undecidable":
        return Transition(WriteState.UNKNOWN, None, UnknownOutcome(f"{found.reason} {_DECIDE}"))
    if write.error_code in REFUSALS:
        marks = {"status": write.error_status, "request_id": write.error_request_id, "cf_ray": write.error_cf_ray}
        return Transition(WriteState.REFUSED, error=error_for(write.error_code, write.error or "", **marks))
    if write.sent < MOST_SENT:
        return Transition(
            WriteState.PENDING, 0.0, UnknownOutcome("The write had not arrived. A worker sends it again.")
        )
    text = f"The write was sent {counted(write.sent, 'time')} and never arrived. {_DECIDE}"
    return Transition(WriteState.UNKNOWN, None, UnknownOutcome(text))


def transition_after_failed_reading(write: Write, error: BackMarketError) -> Transition:
    """The next state of a write whose reading back failed: read back again later; after `MAX_LOOKS`, a person's."""
    why = error.message.rstrip(".")
    if isinstance(error, NotFound):
        return Transition(
            WriteState.UNKNOWN, None, _unknown(f"The change may have happened, and {_GONE} {_DECIDE}", error)
        )
    if write.tries + 1 >= MAX_LOOKS:
        text = (
            f"The change may have happened, and could not be read back in {write.tries + 1} attempts: {why}. {_DECIDE}"
        )
        return Transition(WriteState.UNKNOWN, None, _unknown(text, error))
    text = f"The change may have happened, and could not be read back yet: {why}."
    return Transition(WriteState.UNKNOWN, growing(write.tries), _unknown(text, error))


def transition_after_loading(write: Write, error: BackMarketError) -> Transition:
    """The next state of an invoice whose file could not be read from the bucket; nothing was sent."""
    if isinstance(error, ObjectNotFound) or write.tries + 1 >= MAX_TRIES:
        return Transition(WriteState.REFUSED, error=error)
    return Transition(WriteState.PENDING, growing(write.tries), error)


def pause_all_after(error: BackMarketError | None, *, reading: bool = False) -> float | None:
    """Seconds that all writes of an organization pause after an error; None: they continue.

    The pause does not grow with the tries of one write: its own does, and the others continue meanwhile.

    Args:
        error: the error of one write.
        reading: it was being read back; the firewall may refuse this one object only.
    """
    match error:
        case FirewallBlocked():
            return None if reading else FIREWALL_SECONDS
        case LimiterUnavailable():
            return 5.0
        case Unauthorized():
            return 0.0  # no worker gets the lease before the key has changed
        case SettingsError():
            return 60.0
        case _:
            return None


def erased(write: Write) -> Transition:
    """The next state of a write whose order was erased: it is never sent, and only a person can look for it."""
    if write.state is WriteState.PENDING:
        return Transition(WriteState.REFUSED, error=Erased("The personal data of its order was erased."))
    text = "The change may have happened, and the personal data of its order was erased. Look at the order."
    return Transition(WriteState.UNKNOWN, None, Erased(text))


def elsewhere() -> Transition:
    """The next state of a write that may have happened in a market that the connection has left."""
    moved = "the connection has had another region, environment or base URL since."
    text = f"The change may have happened, and {moved} {_DECIDE}"
    return Transition(WriteState.UNKNOWN, None, UnknownOutcome(text))


def _sent_before(write: Write) -> bool:
    """Whether an earlier request of a write, which left no trace, may have arrived very late."""
    return write.sent > 0 and write.kind != "upload_order_invoice"


def _unknown(text: str, error: BackMarketError | None) -> UnknownOutcome:
    if error is None:
        return UnknownOutcome(text)
    return UnknownOutcome(text, status=error.status, request_id=error.request_id, cf_ray=error.cf_ray)


_GONE = "its object no longer exists."

_DECIDE = (
    "Look at Back Market's back office. Record what you saw (`settle_write`, `backmarket writes settle`), or send the"
    " write again (`retry_write`, `backmarket writes retry`)."
)

_INVOICE = (
    "The invoice may have been uploaded, and cannot be read back. Look at the order in Back Market's back office, and"
    " record what you saw (`settle_write`, `backmarket writes settle`). Sending it again (`retry_write`,"
    " `backmarket writes retry`) may upload the invoice twice."
)
