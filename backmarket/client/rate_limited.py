"""Send one request with a slot of the limiter, and report the slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from backmarket.client import Answer, Credentials, Transport, limit_reached, retry_after
from backmarket.client.answers import is_of_sku_quota
from backmarket.errors import BrokenAnswer, NetworkError
from backmarket.limits import Limiter, Slot

MAX_LIMITER_WAIT_SECONDS = 2.0
"""Maximum seconds that a slice waits for a slot. Before a longer wait it hands on."""


def send(
    transport: Transport,
    limiter: Limiter,
    credentials: Credentials,
    slot: Slot,
    path: str,
    parameters: Sequence[tuple[str, str]] = (),
) -> Answer:
    """Send one request, and report its slot; see `with_slot`."""
    return with_slot(limiter, slot, partial(transport.get, credentials, path, parameters))


def with_slot(limiter: Limiter, slot: Slot, request: Callable[[], Answer], *, counts_sku_lines: bool = False) -> Answer:
    """Send one request, and report to the limiter whether its slot was used.

    Args:
        limiter: granted the slot.
        slot: the slot.
        request: sends the request.
        counts_sku_lines: a 429 of the API itself concerns the lines, so it does not block the account's requests.

    Raises:
        NetworkError, BrokenAnswer: see `Transport.send`.
    """
    try:
        answer = request()
    except NetworkError as error:
        match error.delivery:
            case "not_sent":
                limiter.release([slot])
            case "finished":
                limiter.complete([slot])
            case "in_doubt":
                pass  # the slot is held until the request cannot arrive any more
        raise
    except BrokenAnswer:
        limiter.complete([slot])
        raise
    limiter.complete([slot])
    if limit_reached(answer) and not (counts_sku_lines and is_of_sku_quota(answer)):
        limiter.block(slot.account, retry_after(answer))
    return answer
