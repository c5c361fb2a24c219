"""Faults of messages on their way."""

from __future__ import annotations

from threading import Event, Thread

from chaos.faults.fault import Fault
from chaos.messages import jumbled


class LateMessages(Fault):
    """Messages are held back, and come an hour late, in another order; some that came before come again with them."""

    def begin(self) -> None:
        """Hold back what can be had of a second's messages."""
        self._ended = Event()
        self._held: list[tuple[str, str]] = []
        self._thread = Thread(target=self._hold)
        self._thread.start()

    def end(self) -> None:
        """Deliver them."""
        self._ended.set()
        self._thread.join()
        again = self.dice.sample(self.wire.heard, min(60, len(self.wire.heard)))
        self.wire.deliver(jumbled(self._held + again, self.dice))

    def _hold(self) -> None:
        self._held = self.wire.hold_back(min(1.0, self.strike.lasts), self._ended)
