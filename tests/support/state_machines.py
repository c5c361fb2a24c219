"""State machines over the real tables: what each has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from redis import Redis

from backmarket.organizations.probes import probe_due
from tests.support.sellers import Shop, let_time_pass

RIGHT: dict[str, Any] = {"kind": "right"}
NEVER_ARRIVES: list[dict[str, Any]] = [
    {"kind": kind} for kind in ("waf_html", "waf_json", "forbidden", "unauthorized", "rate_limited", "early_404")
] + [{"kind": "status", "status": status} for status in (400, 409, 422)]
LOST: list[dict[str, Any]] = [
    {"kind": "status", "status": status, "applied": applied} for status in (408, 500, 503) for applied in (False, True)
] + [{"kind": kind, "applied": applied} for kind in ("close", "garbage", "cut") for applied in (False, True)]
SHOWN: list[dict[str, Any]] = [RIGHT, RIGHT, *NEVER_ARRIVES, *LOST[::2], {"kind": "nulls"}, {"kind": "wrong_types"}]
"""Answers to a request that changes something, and to one that reads."""


def run_machine(machine: Callable[[], RuleBasedStateMachine], *, examples: int = 15, steps: int = 20) -> None:
    """Drive a machine through examples that follow from its code alone."""
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    factory: Any = machine  # it takes a factory, its types do not say so
    run_state_machine_as_test(factory, settings=settings)


def answer_with(shop: Shop, faults: dict[str, dict[str, Any]]) -> None:
    """From now on, the sandbox gives these answers, by operation."""
    shop.sandbox.remove_faults()
    for operation, fault in faults.items():
        if fault is not RIGHT:
            shop.sandbox.add_fault(operation=operation, **fault)


def unblock(shop: Shop) -> None:
    """Let the block of a 429 be over."""
    with Redis.from_url(shop.settings.need("redis_url")) as redis:
        blocks = list(redis.scan_iter("backmarket:limiter:{all}:blocked:*"))
        if blocks:
            redis.delete(*blocks)


def age(shop: Shop, moments: dict[str, str], due: str) -> float:
    """Let everything wait for less, by as much as the next slice has to wait; a refused key is probed.

    Args:
        shop: its tables.
        moments: the columns of moments of each table, separated by spaces.
        due: SQL for the moment of the next slice; null: never.

    Returns:
        Seconds that passed.
    """
    gap = shop.one(f"SELECT GREATEST(({due}) - now(), '0')")
    for table, columns in moments.items() if gap is not None else ():
        older = ", ".join(
            f"{one} = CASE WHEN {one} < 'infinity' AND {one} > '-infinity' THEN {one} - %(gap)s ELSE {one} END"
            for one in columns.split()
        )
        with shop.services.database.transaction() as transaction:
            transaction.execute(f"UPDATE backmarket.{table} SET {older}".encode(), {"gap": gap})
    if shop.one("SELECT bool_or(refused_at IS NOT NULL) FROM backmarket.connections"):
        let_time_pass(shop, 31)
        probe_due(shop.services, seconds=5)
        return (gap.total_seconds() if gap is not None else 0.0) + 31.0
    return gap.total_seconds() if gap is not None else 0.0
