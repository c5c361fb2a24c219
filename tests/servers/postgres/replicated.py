"""The grounds of `make chaos` over a primary and its standby, which is promoted in the middle of everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg

from backmarket.changes import ChangesMissed
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from chaos import grounds as places
from chaos import verdict as verdicts
from chaos.faults import FAULTS
from chaos.faults.fault import Fault
from chaos.grounds import DATABASE, ROLE, Grounds
from chaos.rounds import play
from chaos.schedule import Aim, Strike, plan
from chaos.verdict import Round
from tests.servers.postgres.servers import ForeignPostgres, Pair, PgBouncer

LIMIT_SECONDS = 200.0
SEED = 39
HANGS_SECONDS = 8.0
STRIKES_AT = 3.0
"""Seconds from the beginning of the round."""


@dataclass
class Told:
    """What a round came to.

    Attributes:
        wrong: what the verdict found.
        goes_on_after: seconds from the promotion until a sync succeeded on the new primary.
        lost: rows of the old primary that the new one never had, by table.
        missed: a reader of the change feed was told that events may be missing.
        twice: writes and lines of bulk files that Back Market took more often than they were asked for.
        undecided: writes that a person has to look at: kind, requests sent, and why.
    """

    wrong: list[str] = field(default_factory=list)
    goes_on_after: float = -1.0
    lost: dict[str, int] = field(default_factory=dict)
    missed: bool = False
    twice: list[str] = field(default_factory=list)
    undecided: list[tuple[str, int, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class ReplicatedStack(Stack):
    """Valkey and S3, and a pair of servers that runs.

    Args:
        pair: whose addresses are told.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__(settings=Settings.model_validate({"database_url": pair.url}))

    @property
    def postgres(self) -> Any:
        """None that a round could start again."""
        return _Gone()


class _Gone:
    def resume(self) -> None:
        """It was not paused by the round."""

    def start(self) -> None:
        """The primary that is gone stays so."""


def kill(pair: Pair) -> None:
    """The primary crashes."""
    pair.primary.kill()


def fence(pair: Pair) -> None:
    """The primary hangs with its connections open, until whoever promotes the standby switches it off."""
    pair.primary.pause()
    sleep(HANGS_SECONDS)
    pair.primary.kill()


def play_failover(
    pair: Pair,
    directory: Path,
    *,
    bouncer: PgBouncer | None = None,
    vanish: Callable[[Pair], None] = kill,
    behind: float = 0.0,
    aim: Aim = "writes",
) -> Told:
    """Play a round of all flows with one fault: the primary goes, and the standby takes its place.

    Args:
        pair: runs.
        directory: for logs.
        bouncer: between the fleet and the pair; it is led to the new primary.
        vanish: takes the primary away.
        behind: seconds for which the standby gets nothing before.
        aim: what is to be going on.
    """
    told = Told()

    class Failover(Fault):
        """The one fault."""

        def begin(self) -> None:
            """Promote the standby."""
            if behind:
                pair.cut_off()
                sleep(behind)
            cursor = self.grounds.market.changes("now").next_cursor
            before = _counts(pair.primary)
            vanish(pair)
            pair.promote()
            promoted = monotonic()
            if bouncer:
                bouncer.lead_to(pair.standby)
            after = _counts(pair.standby)
            told.lost = {name: number - after[name] for name, number in before.items() if number > after[name]}
            Thread(target=_measure, args=(pair.standby, promoted, told), daemon=True).start()
            self.grounds.cursor = cursor  # type: ignore[attr-defined]

        def end(self) -> None:
            """It stays so."""

    round_plan = replace(
        plan(SEED),
        strikes=(Strike("failover", STRIKES_AT, 0.0, aim, 0),),
        api_faults=(),
        task_fault=None,
        assumptions={"date_header": "right"},
        duplicates=False,
    )
    own: dict[str, Any] = {}
    if bouncer:
        own["database_url"] = f"postgresql://{ROLE}@{bouncer.address}/{DATABASE}"
    seen: list[Round] = []

    def verdict(round_: Round) -> list[str]:
        seen.append(round_)
        return verdicts.verdict(round_)

    with (
        # the host's broker, which asks for services, is a stack of its own
        patch.object(places, "Stack", lambda **asked: Stack(**asked) if asked else ReplicatedStack(pair)),
        patch.object(places, "_small_disk", nullcontext),
        patch.dict(FAULTS, {"failover": Failover}),
        patch("chaos.rounds.verdict", verdict),
        Grounds(directory, **own) as grounds,
    ):
        result = play(grounds, round_plan, limit=LIMIT_SECONDS)
        told.wrong, told.figures = result.wrong, {**result.figures, "seconds": result.seconds}
        told.twice = [*_twice(seen[0])]
        told.undecided = seen[0].ask("SELECT kind, sent, error FROM backmarket.api_writes WHERE state = 'unknown'")
        try:
            grounds.market.changes(grounds.cursor)  # type: ignore[attr-defined]
        except ChangesMissed:
            told.missed = True
    return told


_TABLES = ("orders", "listings", "deliveries", "returns", "changes", "api_writes", "bulk_jobs")


def _ask(server: ForeignPostgres, statement: str) -> list[tuple[Any, ...]]:
    url = urlsplit(server.url)._replace(path=f"/{DATABASE}").geturl()
    with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
        return connection.execute(statement.encode()).fetchall()


def _counts(server: ForeignPostgres) -> dict[str, int]:
    selected = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM backmarket.{name}" for name in _TABLES)
    return dict(_ask(server, selected))


def _measure(server: ForeignPostgres, promoted: float, told: Told) -> None:
    ((at,),) = _ask(server, "SELECT clock_timestamp()::text")
    while not _ask(server, f"SELECT FROM backmarket.sync_state WHERE last_success_at > '{at}' LIMIT 1"):
        sleep(0.05)
    told.goes_on_after = round(monotonic() - promoted, 1)


def _twice(round_: Round) -> Iterator[str]:
    """What took place more often than it was asked for."""
    for seller in round_.sellers.names:
        taken = round_.grounds.sandbox.truth(seller, "writes")
        lines = Counter(one["object"] for one in taken if one["operation"] == "listings.bulk")
        yield from (f"line {sku} of {seller}" for sku, number in lines.items() if number > 1)
        others = Counter(
            (one["operation"], one["object"], str(one["fields"]))
            for one in taken
            if one["operation"] != "listings.bulk"
        )
        yield from (f"{what} of {seller}" for what, number in others.items() if number > 1)
