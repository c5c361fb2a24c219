"""Send one request with a slot of the limiter, and report the slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from backmarket.client.answers import Answer, limit_reached, retry_after
from backmarket.client.credentials import Credentials
from backmarket.errors import BrokenAnswer, NetworkError
from backmarket.limits import Limiter, Slot

if TYPE_CHECKING:
    from backmarket.client.transport import Transport

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
    return Held(((limiter, slot),)).send(request, counts_sku_lines=counts_sku_lines)


@dataclass(frozen=True, slots=True)
class Held:
    """The slots of one request, one of each limit that it counts against; the account's is the last."""

    slots: tuple[tuple[Limiter, Slot], ...]

    def send(self, request: Callable[[], Answer], *, counts_sku_lines: bool) -> Answer:
        """Send the request, and report its slots; see `with_slot`."""
        try:
            answer = request()
        except NetworkError as error:
            match error.delivery:
                case "not_sent":
                    self.release()
                case "finished":
                    self.complete()
                case "in_doubt":
                    pass  # the slots are held until the request cannot arrive any more
            raise
        except BrokenAnswer:
            self.complete()
            raise
        self.complete()
        if reached := limit_reached(answer, counts_sku_lines=counts_sku_lines):
            limiter, slot = self.slots[-1 if reached == "account" else 0]  # the operation's own come first
            limiter.block(slot.account, retry_after(answer))
        return answer

    def complete(self) -> None:
        """Report the request as over: its slots come free a window from now."""
        for limiter, slot in self.slots:
            limiter.complete([slot])

    def release(self) -> None:
        """Report the request as never sent: its slots are free at once."""
        for limiter, slot in self.slots:
            limiter.release([slot])
