"""What all faults have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random

from chaos.grounds import Grounds
from chaos.messages import Wire
from chaos.schedule import Strike


class Fault(ABC):
    """One fault of one round.

    Args:
        grounds: what it strikes.
        wire: between the processes.
        strike: says when, how long, and what the choices follow from.
    """

    def __init__(self, grounds: Grounds, wire: Wire, strike: Strike) -> None:
        self.grounds = grounds
        self.wire = wire
        self.strike = strike
        self.dice = Random(strike.choice)

    @property
    def pid(self) -> int | None:
        """The process that it strikes; None: a server, or messages."""
        return None

    @abstractmethod
    def begin(self) -> None:
        """Strike."""

    @abstractmethod
    def end(self) -> None:
        """Let it be over; called once, also where `begin` failed."""
