"""Send one request with a slot of the limiter, and report the slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from backmarket.client.answers import Answer, retry_after
from backmarket.client.transport import Credentials, Transport
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


def with_slot(limiter: Limiter, slot: Slot, request: Callable[[], Answer]) -> Answer:
    """Send one request, and report to the limiter whether its slot was used.

    Raises:
        NetworkError, BrokenAnswer: see `Transport.send`.
    """
    held = Held(((limiter, slot),))
    try:
        answer = request()
    except NetworkError as error:
        held.failed(error)
        raise
    except BrokenAnswer:
        held.complete()
        raise
    held.answered(answer)
    return answer


@dataclass(frozen=True, slots=True)
class Held:
    """The slots of one request, one of each limit that it counts against."""

    slots: tuple[tuple[Limiter, Slot], ...]

    def answered(self, answer: Answer) -> None:
        """Report an answer, whatever its status."""
        self.complete()
        if answer.status == 429:
            limiter, slot = self.slots[-1]  # the account's
            limiter.block(slot.account, retry_after(answer))

    def failed(self, error: NetworkError) -> None:
        """Report a request without an answer; `delivery` decides about its slots."""
        if error.delivery == "finished":
            self.complete()
        elif error.delivery == "not_sent":
            self.release()
        # in doubt: the slots are held until the request cannot arrive any more

    def complete(self) -> None:
        """Report the request as over: its slots come free a window from now."""
        for limiter, slot in self.slots:
            limiter.complete([slot])

    def release(self) -> None:
        """Report the request as never sent: its slots are free at once."""
        for limiter, slot in self.slots:
            limiter.release([slot])
