"""The state of one sandbox: its sellers, its clock, its settings, and its traffic."""

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

_SPREAD: Final = timedelta(days=180)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class World:
    """A stateful stand-in for the Back Market API's data.

    Args:
        seed: determines all invented data, together with the sellers' names, but for the date: a world of the same
            seed that starts a day later is the same with all times a day later.
        start: end of the half year in which invented times lie; None: the present.
        settings: the initial settings.
        clock: returns the present, in UTC; it dates changes from outside.
    """

    def __init__(
        self,
        seed: int = 0,
        start: datetime | None = None,
        *,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._given_start = start
        self.now = clock
        self.start_over(seed, settings=settings)

    def start_over(self, seed: int = 0, *, settings: Settings | None = None) -> None:
        """Reset every seller, fault, setting and counter, as in a new process.

        Args:
            seed: the new seed.
            settings: the new settings; None: the defaults.
        """
        self.seed = seed
        self.start = self._given_start or self.now().replace(microsecond=0)
        """End of the invented times; whole seconds, as some notations of times have no more."""
        self.settings = settings or Settings()
        self.sellers: dict[str, Seller] = {}
        self._numbering = Numbering(seed)
        self.faults = Faults(seeded_random(seed, "faults"))
        self.limits = Limits()
        self.traffic = Traffic()
        self.schedule = Schedule()
        self._tokens: dict[str, Seller] = {}

    def add_seller(self, name: str, token: str, **spec: Any) -> Seller:
        """Open an account and invent its data.

        Args:
            name: unique; statistics and the control API use it, never the token.
            token: unique; sent after `Authorization: Basic `.
            **spec: the other fields of `SellerSpec`.

        Raises:
            ValueError: if the name or the token is taken.
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
            KeyError: if there is no such seller.
        """
        seller = self.sellers[name]
        self._tokens.pop(seller.token, None)
        seller.token = token
        self._tokens[token] = seller

    def seller_of(self, authorization: bytes | None) -> Seller | None:
        """The seller whose exact token this `Authorization` header carries, if any."""
        if authorization is None or not authorization.startswith(b"Basic "):
            return None
        return self._tokens.get(authorization[6:].decode("latin-1"))

    def change(self, change: Change) -> Changed | None:
        """Make a change now, or queue it until its answers (then None).

        Raises:
            KeyError: if there is no such seller.
            ValueError: if rows of this kind cannot be changed like this.
        """
        if change.after is None:
            return changes.apply(self.sellers, change, self.now())
        if change.seller not in self.sellers:
            raise KeyError(change.seller)
        self.schedule.add(change)
        return None

    def answered(self, seller: str, operation: str) -> None:
        """Count an answer that is about to be sent, and make the changes that are due with it."""
        for change in self.schedule.answered(seller, operation):
            changes.apply(self.sellers, change, self.now())

    def reset_counters(self) -> None:
        """Reset requests, violations and blocks; rows, faults and settings stay."""
        self.traffic.reset()
        self.limits.reset()
