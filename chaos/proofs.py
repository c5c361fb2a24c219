"""`make chaos-proofs`: a round notices when a safeguard is missing. One at a time is switched off, and it turns red.

Each is given some seeded rounds, the first of which strike what the safeguard is for; the first red one is enough.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from chaos.__main__ import DIRECTORY, apart, end_orderly
from chaos.grounds import Grounds
from chaos.rounds import play
from chaos.schedule import Lasting, Plan, Strike, plan

ROUNDS = 6
"""Until a safeguard that is off must have been noticed."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A safeguard, and what shows that it is off.

    Attributes:
        name: of the safeguard.
        strikes: kind, aim and seconds of the faults that it is for.
        finding: what a verdict's text must contain.
        off: how `chaos/inside` calls it.
        settings: of the product, where that is how it is switched off.
        assumptions: of the API.
        api_faults: the sandbox's rules.
        lasting: the fault that never heals.
    """

    name: str
    strikes: tuple[tuple[str, str, float], ...]
    finding: tuple[str, ...]
    off: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    assumptions: dict[str, str] = field(default_factory=dict)
    api_faults: tuple[dict[str, Any], ...] = ()
    lasting: Lasting | None = None


_IDLE = (("second_beat", "nothing", 3.0),)
"""Strikes of a proof that needs none."""

PROOFS = (
    Proof("the lease check", (("freeze_worker", "sync", 4.0),), ("without a lease",), off="lease"),
    Proof(
        "the watermark's overlap",
        _IDLE,
        ("rows differ",),
        settings={"watermark_overlap": 0.0},
        assumptions={"date_filter": "exclusive", "date_header": "missing"},
        api_faults=({"kind": "slow", "seconds": 0.7, "operation": "orders.list", "probability": 0.5, "group": "all"},),
    ),
    Proof("the limiter's sentinel", (("empty_redis", "request", 0.0),), ("above the limit",), off="sentinel"),
    Proof("the state `submitting`", (("kill_worker", "bulk lease", 0.5),), ("sent twice",), off="submitting"),
    Proof("events and rows in one transaction", (("kill_worker", "sync", 0.5),), ("without the event",), off="outbox"),
    Proof("the pauses of what fails", _IDLE, ("met the lasting fault",), off="pauses", lasting=Lasting("label", "500")),
    Proof(
        "the turn of syncs before a full walk that fails",
        _IDLE,
        ("syncs behind",),
        off="turn",
        lasting=Lasting("page", "500"),
    ),
    Proof(
        "the end of a walk with rows that cannot be read",
        _IDLE,
        ("unfinished walks",),
        off="unread",
        lasting=Lasting("missing order", "500"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds without each safeguard, and say whether all were missed."""
    parser = argparse.ArgumentParser(prog="make chaos-proofs", description=__doc__)
    parser.add_argument("names", nargs="*", help="only those whose name contains one of these words")
    names = parser.parse_args(arguments).names
    missed = True
    for proof in PROOFS:
        if not names or any(name in proof.name for name in names):
            missed &= show(proof)
    return int(not missed)


def show(proof: Proof) -> bool:
    """Play rounds until one is red for the right reason; whether one was."""
    with Grounds(_directory(proof), off=proof.off, **proof.settings) as grounds:
        for seed in range(1, ROUNDS + 1):
            result = play(grounds, _plan(proof, seed), limit=90.0)
            found = [wrong for wrong in result.wrong if any(words in wrong for words in proof.finding)]
            if found:
                print(f"without {proof.name}: red after {seed} rounds\n      {found[0]}", flush=True)
                return True
    print(f"without {proof.name}: {ROUNDS} rounds did not notice", flush=True)
    return False


def _plan(proof: Proof, seed: int) -> Plan:
    """A round whose faults are those that the safeguard is for, again and again."""
    dice, usual = Random(f"proof {proof.name} {seed}"), plan(seed)
    strikes = []
    for number in range(5):
        kind, aim, lasts = dice.choice(proof.strikes)
        strikes.append(Strike(kind, 0.8 + 1.3 * number, lasts, aim, dice.randrange(2**16)))  # type: ignore[arg-type]
    return replace(
        usual,
        strikes=tuple(strikes),
        api_faults=proof.api_faults,
        lasting=proof.lasting,
        task_fault=None,
        assumptions=usual.assumptions | proof.assumptions,
    )


def _directory(proof: Proof) -> Path:
    return DIRECTORY / f"without-{proof.off or 'overlap'}"


if __name__ == "__main__":
    apart()
    end_orderly()
    sys.exit(main())
