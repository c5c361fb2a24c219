"""What happens in a round: follows from its seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

from backmarket.sandbox.world.fault_rules import FaultKind

Aim = Literal["sync", "labels", "writes", "bulk", "bulk lease", "request", "nothing"]
"""What a fault waits for, so that it strikes something: a held lease, a write or a part that is being sent, a request
without an answer."""

SECONDS: Final = 8.0
"""How long faults strike; what follows is the time until everything is quiet."""

STRIKES: Final = 5
"""Faults of processes, servers and messages in a round."""

KINDS: Final[dict[str, tuple[float, float]]] = {
    "kill_worker": (0.3, 0.8),
    "freeze_worker": (3.5, 4.5),
    "terminate_worker": (0.3, 0.8),
    "kill_beat": (0.3, 1.5),
    "second_beat": (3.0, 5.0),
    "empty_redis": (0.0, 0.0),
    "stop_redis": (0.5, 2.0),
    "stop_postgres": (0.3, 1.5),
    "crash_postgres": (0.0, 0.5),
    "s3_away": (0.5, 3.0),
    "s3_silent": (1.0, 4.0),
    "s3_outage": (17.8, 17.8),  # its start takes more than two seconds
    "disk_full": (1.0, 2.5),
    "no_connections": (1.0, 2.5),
    "clock_jump": (2.0, 4.0),
    "late_messages": (2.0, 4.0),
}
"""Faults, and for how many seconds each lasts: from, to."""

OUTAGE: Final = "s3_outage"
"""The fault that begins first and outlasts the others: all but it becomes quiet meanwhile."""

OF_S3: Final = frozenset({"s3_away", "s3_silent", OUTAGE})

STRIKE_ON: Final[dict[str, tuple[Aim, ...]]] = {
    "kill_worker": ("sync", "labels", "writes", "bulk", "request"),
    "freeze_worker": ("sync", "labels", "writes", "bulk", "request"),
    "terminate_worker": ("sync", "labels", "writes", "bulk"),
    "empty_redis": ("sync", "request"),
    "stop_redis": ("sync", "request"),
    "stop_postgres": ("sync", "labels", "writes", "bulk"),
    "crash_postgres": ("sync", "labels", "writes", "bulk"),
    "s3_away": ("labels",),
    "s3_silent": ("labels",),
    OUTAGE: ("sync", "request"),
    "disk_full": ("sync", "labels"),
    "no_connections": ("sync", "writes"),
}
"""What a fault may wait for; those that are not here strike at their time."""

LISTS: Final = ("orders.list", "listings.list", "deliveries.list", "returns.list")
WRITES: Final = ("orders.update", "orderlines.update", "listings.update")
LABELS: Final = ("deliveries.label", "returns.label")

_ANYWHERE: Final[tuple[dict[str, Any], ...]] = (
    *({"kind": "status", "status": status} for status in (500, 502, 503, 504)),
    {"kind": "status", "status": 503, "html": True},
    {"kind": "waf_html"},
    {"kind": "waf_json"},
    {"kind": "rate_limited"},
    {"kind": "garbage"},
    {"kind": "empty"},
    {"kind": "redirect", "location": "http://127.0.0.1:9/elsewhere"},
    {"kind": "reset"},
    {"kind": "close"},
    {"kind": "cut"},
    {"kind": "slow", "seconds": 0.8},
    {"kind": "timeout", "seconds": 4.0},
    {"kind": "early_404"},
)
"""Faults of any question."""

_OF_A_LIST: Final[tuple[dict[str, Any], ...]] = (*_ANYWHERE, {"kind": "forbidden"}, {"kind": "unauthorized"})

_OF_ROWS: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "repeat_page"},
    {"kind": "early_empty_page"},
    {"kind": "next_null_early"},
    {"kind": "wrong_count", "value": 3},
    {"kind": "wrong_count", "value": -1},
    {"kind": "unknown_fields"},
    {"kind": "unknown_states"},
    {"kind": "nulls"},
    {"kind": "wrong_types"},
    {"kind": "id_missing"},
    {"kind": "nul_characters"},
    {"kind": "lone_surrogate"},
)
"""What an API would do that lies: only a later full walk sets it right."""

_OF_A_WRITE: Final[tuple[dict[str, Any], ...]] = (
    *(
        {"kind": kind, "applied": applied}
        for kind in ("reset", "close", "status", "garbage")
        for applied in (True, False)
    ),
    {"kind": "timeout", "seconds": 4.0, "applied": True},
    {"kind": "timeout", "seconds": 4.0},
    {"kind": "cut"},
    {"kind": "slow", "seconds": 0.8},
    {"kind": "rate_limited"},
    {"kind": "waf_json"},
)
"""A write may have taken place (`applied`) though its answer is lost."""

_OF_A_TASK: Final[tuple[FaultKind, ...]] = ("task_fails", "task_hangs", "task_odd")

THINGS: Final = ("listing", "line", "label", "order", "missing order", "page", "organization", "account")
"""What may be broken for ever; see `chaos.lasting`."""

ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "500": {"kind": "status", "status": 500},
    "403 HTML": {"kind": "waf_html"},
    "403 JSON": {"kind": "forbidden"},
    "404": {"kind": "early_404"},
    "408": {"kind": "status", "status": 408},
    "409": {"kind": "status", "status": 409},
    "429 with requestId": {"kind": "status", "status": 429},
    "429 without requestId": {"kind": "sku_quota"},
    "garbage": {"kind": "garbage"},
    "reset": {"kind": "reset"},
    "silence": {"kind": "timeout", "seconds": 4.0},
}
"""What it is answered with. Their number and that of the things have no common divisor, so that seeds in a row go
through all pairs."""

HEALED_IN_FULL: Final = 4
"""In every so manieth round nothing is broken for ever."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault.

    Attributes:
        kind: of `KINDS`.
        at: seconds from the beginning of the round, at the earliest.
        lasts: seconds.
        aim: what it waits for, up to a second.
        choice: decides what else there is to choose.
    """

    kind: str
    at: float
    lasts: float
    aim: Aim
    choice: int


@dataclass(frozen=True, slots=True)
class Lasting:
    """A fault that never heals.

    Attributes:
        thing: of `THINGS`: what is broken.
        answer: of `ANSWERS`: what its requests are answered with.
    """

    thing: str
    answer: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A round.

    Attributes:
        seed: what all of it follows from.
        strikes: in their order.
        api_faults: the sandbox's rules from the beginning; `group` says whose requests suffer.
        lasting: the fault that never heals.
        task_fault: the outcome of one bulk task.
        assumptions: which answers of the unproven ones the API gives.
        duplicates: every message is delivered twice.
    """

    seed: int
    strikes: tuple[Strike, ...]
    api_faults: tuple[dict[str, Any], ...]
    lasting: Lasting | None
    task_fault: FaultKind | None
    assumptions: dict[str, str]
    duplicates: bool


def plan(seed: int, kinds: Sequence[str] = tuple(KINDS)) -> Plan:
    """The round of a seed.

    Args:
        seed: whole number; each fault is sure to be in one of so many rounds.
        kinds: faults that this machine can do; others take the place of those that it can't.
    """
    dice = Random(f"round {seed}")
    known = list(KINDS)
    chosen = [known[seed % len(known)], *(dice.choice(known) for _ in range(STRIKES - 1))]
    dice.shuffle(chosen)
    chosen = [kind if kind in kinds else dice.choice(kinds) for kind in chosen]
    if OUTAGE in chosen:  # nothing else can strike that server
        others = [kind for kind in kinds if kind not in OF_S3]
        chosen.remove(OUTAGE)
        chosen = [OUTAGE, *(dice.choice(others) if kind in OF_S3 else kind for kind in chosen)]
    step = (SECONDS - 1.0) / STRIKES
    strikes = [_strike(kind, 0.6 + step * (number + dice.random() * 0.6), dice) for number, kind in enumerate(chosen)]
    return Plan(
        seed=seed,
        strikes=tuple(sorted(strikes, key=lambda strike: strike.at)),
        api_faults=tuple(_api_faults(dice)),
        lasting=_lasting(seed),
        task_fault=dice.choice((None, None, *_OF_A_TASK)),
        assumptions={
            "date_filter": dice.choice(("inclusive", "exclusive")),
            "list_order": dice.choice(("creation_desc", "creation_asc", "modification_desc", "modification_asc")),
            "past_the_end": dice.choice(("404", "empty")),
            "cookies": dice.choice(("none", "bound")),
            "date_header": dice.choice(("right", "fast", "missing")),
        },
        duplicates=dice.random() < 0.5,
    )


def _lasting(seed: int) -> Lasting | None:
    if seed % HEALED_IN_FULL == 0:
        return None
    number = seed - seed // HEALED_IN_FULL
    return Lasting(THINGS[number % len(THINGS)], list(ANSWERS)[number % len(ANSWERS)])


def _strike(kind: str, at: float, dice: Random) -> Strike:
    aim: Aim = dice.choice(STRIKE_ON.get(kind, ("nothing",)))
    lasts = dice.uniform(*KINDS[kind])
    at = 0.1 if kind == OUTAGE else min(at, SECONDS - lasts)
    return Strike(kind, round(at, 2), round(lasts, 2), aim, dice.randrange(2**16))


def _api_faults(dice: Random) -> list[dict[str, Any]]:
    """Rules; the first one that matches a request strikes."""
    found = []
    for fault in dice.sample(_OF_A_LIST, 6):
        once = fault["kind"] in {"unauthorized", "forbidden"}
        found.append(fault | _rule(dice, LISTS, 0.15 if not once else 0.05, 1 if once else 5) | {"group": "all"})
    found += [fault | _rule(dice, LISTS[:2], 0.5, 4) | {"group": "lied to"} for fault in dice.sample(_OF_ROWS, 3)]
    found += [fault | _rule(dice, WRITES, 0.4, 2) | {"group": "all"} for fault in dice.sample(_OF_A_WRITE, 3)]
    found += [
        fault | _rule(dice, LABELS, 0.2, 6) | {"group": "all"}
        for fault in dice.sample((*_ANYWHERE, {"kind": "large_pdf", "value": 300_000}), 3)
    ]
    lost = dice.choice(_OF_A_WRITE)
    return [*found, lost | {"operation": "listings.bulk", "count": 1, "after": dice.randrange(3), "group": "all"}]


def _rule(dice: Random, operations: Sequence[str], probability: float, count: int) -> dict[str, Any]:
    return {"operation": dice.choice(operations), "probability": probability, "count": count}
