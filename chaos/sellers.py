"""The thirty organizations of a round: who they are, and what happens to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from backmarket import BackMarket
from backmarket.sandbox import SandboxControl

COUNT: Final = 30
LIED_TO = range(8)
"""Those whose lists are damaged and whose rows vanish: they walk in full every few seconds, which sets it right."""

BULK = range(8, 11)
WRITES = range(11, 14)
LARGE: Final = 14
PAGED: Final = 15
"""One whose orders fill three pages, and that walks in full every few seconds as well."""

FULL_WALKS_EVERY: Final = 4.0
SYNCS_EVERY: Final = 6.0


@dataclass(frozen=True, slots=True)
class Sellers:
    """The sellers, and so the organizations, by name.

    Attributes:
        names: in the order of their numbers.
    """

    names: Sequence[str]

    @classmethod
    def of(cls, seed: int) -> Sellers:
        """Those of a round; another round has others, so that nothing of an older one is theirs."""
        return cls([f"auth0|{seed}.{number:02}" for number in range(COUNT)])

    def group(self, numbers: range) -> Sequence[str]:
        """Some of them."""
        return [self.names[number] for number in numbers]

    def open(self, sandbox: SandboxControl, market: BackMarket, seed: int) -> None:
        """Open the accounts and connect them."""
        dice = Random(f"sellers {seed}")
        for number, name in enumerate(self.names):
            sandbox.add_seller(name, f"token-of-{name}", **spec(number, dice))
        for name in self.names:
            market.upsert_connection(name, f"token-of-{name}", base_url=sandbox.url)


def spec(number: int, dice: Random) -> Mapping[str, Any]:
    """What an account has."""
    if number == LARGE:
        return {"orders": 400, "listings": 120, "deliveries": 50, "returns": 10}
    orders = 120 if number == PAGED else dice.choice((20, 40, 60))
    return {"orders": orders, "listings": 85 if number in BULK else 20, "deliveries": dice.randint(2, 6), "returns": 2}
