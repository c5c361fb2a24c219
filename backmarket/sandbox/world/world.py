"""The state of one sandbox: its sellers, its clock, its settings, and what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backmarket.sandbox.settings import Settings
from backmarket.sandbox.world import changes
from backmarket.sandbox.world.changes import Change, Changed, Schedule
from backmarket.sandbox.world.fault_rules import Faults
from backmarket.sandbox.world.rate_limit import Limits
from backmarket.sandbox.world.seeded_random import seeded_random
from backmarket.sandbox.world.sellers import Numbering, Seller, SellerSpec
from backmarket.sandbox.world.traffic import Traffic

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Everything invented lies before it, so that a seed gives the same world on any day."""

_SPREAD: Final = timedelta(days=180)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class World:
    """A stateful stand-in for the Back Market API's data.

    Args:
        seed: everything invented follows from it and the sellers' names.
        start: what is invented lies in the half year before.
        settings: how the sandbox behaves at first.
        clock: gives the present, in UTC; what is changed from outside is dated by it.
    """

    def __init__(
        self,
        seed: int = 0,
        start: datetime = START,
        *,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.start = start
        self.now = clock
        self.start_over(seed, settings=settings)

    def start_over(self, seed: int = 0, *, settings: Settings | None = None) -> None:
        """Forget every seller, fault, setting and counter; what follows is as in a new process.

        Args:
            seed: everything invented from now on follows from it.
            settings: how the sandbox behaves from now on; None: the defaults.
        """
        self.seed = seed
        self.settings = settings or Settings()
        self.sellers: dict[str, Seller] = {}
        self._numbering = Numbering(seed)
        self.faults = Faults(seeded_random(seed, "faults"))
        self.limits = Limits()
        self.traffic = Traffic()
        self.schedule = Schedule()
        self._tokens: dict[str, Seller] = {}

    def add_seller(self, name: str, token: str, **spec: Any) -> Seller:
        """Open an account and invent what belongs to it.

        Args:
            name: unique; statistics and the control API call the seller so, never by the token.
            token: unique; what requests carry after `Authorization: Basic `.
            **spec: the other fields of `SellerSpec`.

        Raises:
            ValueError: the name or the token is taken.
        """
        return self.add(SellerSpec(name=name, token=token, **spec))

    def add(self, spec: SellerSpec) -> Seller:
        """Open an account as specified; see `add_seller`."""
        if spec.name in self.sellers or spec.token in self._tokens:
            raise ValueError(f"the name or the token of seller {spec.name} is taken")
        between = spec.created_between or (self.start - _SPREAD, self.start)
        seller = Seller(spec, self.seed, between, self._numbering, self.settings.assumptions)
        self.sellers[spec.name] = self._tokens[spec.token] = seller
        return seller

    def replace_token(self, name: str, token: str) -> None:
        """Give a seller a new token; the old one is refused from now on.

        Raises:
            KeyError: there is no such seller.
        """
        seller = self.sellers[name]
        self._tokens.pop(seller.token, None)
        seller.token = token
        self._tokens[token] = seller

    def seller_of(self, authorization: bytes | None) -> Seller | None:
        """The seller whose token this `Authorization` header carries, as it is, if there is one."""
        if authorization is None or not authorization.startswith(b"Basic "):
            return None
        return self._tokens.get(authorization[6:].decode("latin-1"))

    def change(self, change: Change) -> Changed | None:
        """Make a change now, or let it wait for its answers (then None).

        Raises:
            KeyError: there is no such seller.
        ValueError: rows of this kind can't change so.
        """
        if change.after is None:
            return changes.apply(self.sellers, change, self.now())
        if change.seller not in self.sellers:
            raise KeyError(change.seller)
        self.schedule.add(change)
        return None

    def answered(self, seller: str, operation: str) -> None:
        """Count an answer that is about to be sent, and make the changes that waited for it."""
        for change in self.schedule.answered(seller, operation):
            changes.apply(self.sellers, change, self.now())

    def reset_counters(self) -> None:
        """Forget requests, violations and blocks; rows, faults and settings stay."""
        self.traffic.reset()
        self.limits.reset()
