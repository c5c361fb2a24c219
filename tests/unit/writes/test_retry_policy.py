"""The next state of a write after each answer: every wait has an end, and one write holds up no other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    BucketUnavailable,
    FirewallBlocked,
    LimiterUnavailable,
    NetworkError,
    NotAvailable,
    NotFound,
    ObjectNotFound,
    RateLimited,
    RequestRefused,
    ServerError,
    Unauthorized,
)
from backmarket.work.backoff import FIREWALL_SECONDS, MAX_LOOKS, MAX_TRIES
from backmarket.writes.engine import retry_policy
from backmarket.writes.models import Write, WriteState

PENDING, REFUSED, UNKNOWN = WriteState.PENDING, WriteState.REFUSED, WriteState.UNKNOWN
NOT_SENT, IN_DOUBT = NetworkError("Down.", delivery="not_sent"), NetworkError("Slow.", delivery="in_doubt")
LOST = [IN_DOUBT, ServerError("Down.", status=500), BrokenAnswer("Cut."), RequestRefused("Late.", status=408)]
NEVER_ARRIVED = [NOT_SENT, LimiterUnavailable("Away."), RateLimited("Slow down.", status=429), FirewallBlocked("No.")]
NO = [RequestRefused("No.", status=400), NotAvailable("No.", status=403), NotFound("No.", status=404)]


def write(**values: Any) -> Write:
    usual: dict[str, Any] = {
        "organization_id": "org", "id": 1, "kind": "update_order", "object_id": "1", "lane": "order/1",
        "request": {"order_id": 1}, "locale": "fr-fr", "environment": "production", "region": "EU", "base_url": None,
        "idempotency_key": None, "fingerprint": "f", "object_key": None, "state": PENDING, "prior": None,
        "due_at": None, "settle_at": None, "sent": 0, "tries": 0, "error_code": None, "error": None,
        "error_status": None, "error_request_id": None, "error_cf_ray": None, "created_at": datetime.now(UTC),
        "sent_at": None, "settled_at": None, "confirmed_by": None, "behind": None, "decidable": False,
    }  # fmt: skip
    return Write(**usual | values)


@pytest.mark.parametrize(
    ("error", "tries", "sent", "state", "ends"),
    [
        *((error, 0, 0, PENDING, False) for error in [*NEVER_ARRIVED, Unauthorized("No.", status=401)]),
        *((error, MAX_TRIES - 2, 0, PENDING, False) for error in NEVER_ARRIVED),
        *((error, MAX_TRIES - 1, 0, REFUSED, True) for error in NEVER_ARRIVED),
        *((error, MAX_TRIES - 1, 1, UNKNOWN, True) for error in NEVER_ARRIVED),
        *((error, 0, 0, REFUSED, True) for error in NO),
        *((error, 0, 1, UNKNOWN, False) for error in NO),
        *((error, MAX_TRIES, 0, UNKNOWN, False) for error in LOST),
    ],
    ids=str,
)
def test_what_was_sent_is_sent_again_for_a_day_or_read_back(
    error: BackMarketError, tries: int, sent: int, state: WriteState, ends: bool
) -> None:
    after = retry_policy.transition_after_sending(write(tries=tries, sent=sent), error)
    assert (after.state, after.pause is None or after.state is REFUSED) == (state, ends)
    assert not ends or error.message.rstrip(".") in str(after.error)


@pytest.mark.parametrize(
    "error", [*LOST, *NEVER_ARRIVED, NotAvailable("No.", status=403), RequestRefused("No.", status=400)], ids=str
)
@pytest.mark.parametrize(("tries", "persons"), [(0, False), (MAX_LOOKS - 2, False), (MAX_LOOKS - 1, True)])
def test_reading_back_ends_with_a_person(error: BackMarketError, tries: int, persons: bool) -> None:
    after = retry_policy.transition_after_failed_reading(write(state=UNKNOWN, tries=tries), error)
    assert (after.state, after.pause is None) == (UNKNOWN, persons)
    assert persons or after.pause, "a look that failed is not repeated at once"


@pytest.mark.parametrize(
    ("error", "tries", "state"),
    [
        (ServerError("Down.", status=500), 0, PENDING),
        (IN_DOUBT, 0, PENDING),
        (FirewallBlocked("No."), 0, PENDING),
        (ServerError("Down.", status=500), MAX_TRIES - 1, REFUSED),
        (NotFound("No.", status=404), 0, REFUSED),
    ],
    ids=str,
)
def test_what_was_never_sent_is_never_unknown(error: BackMarketError, tries: int, state: WriteState) -> None:
    assert retry_policy.transition_before_sending(write(tries=tries), error).state is state


@pytest.mark.parametrize(
    ("error", "tries", "state"),
    [
        (BucketUnavailable("Away."), 0, PENDING),
        (BucketUnavailable("Away."), MAX_TRIES - 1, REFUSED),
        (ObjectNotFound("Gone."), 0, REFUSED),
    ],
    ids=str,
)
def test_an_invoice_that_cannot_be_loaded_is_given_up(error: BackMarketError, tries: int, state: WriteState) -> None:
    assert retry_policy.transition_after_loading(write(tries=tries), error).state is state


@pytest.mark.parametrize(
    ("error", "reading", "seconds"),
    [
        (FirewallBlocked("No."), False, FIREWALL_SECONDS),
        (FirewallBlocked("No."), True, None),
        (ServerError("Down."), False, None),
        (NotAvailable("No."), True, None),
    ],
    ids=str,
)
def test_one_object_does_not_hold_up_the_others(error: BackMarketError, reading: bool, seconds: float | None) -> None:
    assert retry_policy.pause_all_after(error, reading=reading) == seconds


@pytest.mark.parametrize(("state", "after"), [(PENDING, REFUSED), (WriteState.SENDING, UNKNOWN), (UNKNOWN, UNKNOWN)])
def test_what_was_erased_is_neither_sent_nor_read_back(state: WriteState, after: WriteState) -> None:
    transition = retry_policy.erased(write(state=state, request={}))
    assert (transition.state, transition.error and transition.error.code) == (after, "erased")
    assert after is REFUSED or transition.pause is None
