"""The sandbox's rate limit, and its count of violations against one that is made the slow way."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.sandbox import Assumptions, InProcessTransport, Settings, World
from backmarket.sandbox.world.rate_limit import Limits, Window

HEADERS = {"user-agent": "BM-Test-Unit;test@example.com"}
moments = st.lists(st.integers(0, 400), max_size=120).map(lambda values: [value / 8 for value in sorted(values)])


@given(arrivals=moments, limit=st.integers(1, 12), seconds=st.sampled_from([0.5, 2.0, 10.0]))
def test_violations_are_counted_in_every_sliding_window(arrivals: list[float], limit: int, seconds: float) -> None:
    window = Window()
    told = [window.arrive(moment, limit, seconds) for moment in arrivals]
    slow = [
        sum(1 for other in arrivals[:number] if other > moment - seconds) >= limit
        for number, moment in enumerate(arrivals)
    ]
    assert told == slow
    assert window.violations == sum(slow)


@given(arrivals=moments, limit=st.integers(1, 5))
def test_what_comes_over_the_limit_is_refused_and_so_is_the_block_after_it(arrivals: list[float], limit: int) -> None:
    settings, limits = Settings(limit=limit, window=2.0, block=3.0), Limits()
    blocked_until, seen = 0.0, list[float]()
    for moment in arrivals:
        over = sum(1 for other in seen if other > moment - 2.0) >= limit
        seen.append(moment)
        expected = over or moment < blocked_until
        if over and moment >= blocked_until:
            blocked_until = moment + 3.0
        assert limits.arrive("a", "::1", sensitive=False, now=moment, settings=settings) == expected


def arrive(
    limits: Limits, settings: Settings, account: str, *, times: int, address: str = "::1", now: float = 1.0
) -> int:
    """How many of so many requests at once are refused."""
    told = [limits.arrive(account, address, sensitive=False, now=now, settings=settings) for _ in range(times)]
    return sum(told)


@pytest.mark.parametrize(("scope", "refused"), [("account", 0), ("address", 5)])
def test_the_limit_is_an_accounts_or_an_addresses(scope: Any, refused: int) -> None:
    settings, limits = Settings(limit=5, assumptions=Assumptions(limit_scope=scope)), Limits()
    assert arrive(limits, settings, "a", times=5) == 0
    assert arrive(limits, settings, "b", times=5) == refused
    assert limits.violations("account") == {"a": 0, "b": 0}
    assert limits.violations("address") == {"::1": 5}


@pytest.mark.parametrize(("scope", "refused"), [("account", 5), ("address", 0)])
def test_an_account_can_come_from_two_addresses(scope: Any, refused: int) -> None:
    settings, limits = Settings(limit=5, assumptions=Assumptions(limit_scope=scope)), Limits()
    assert arrive(limits, settings, "a", times=5, address="127.0.0.1") == 0
    assert arrive(limits, settings, "a", times=5, address="127.0.0.2") == refused


def test_without_enforcement_violations_are_only_counted() -> None:
    settings, limits = Settings(limit=5, enforce_limit=False), Limits()
    assert arrive(limits, settings, "a", times=8) == 0
    assert limits.violations("account") == {"a": 3}


@pytest.mark.parametrize(("block", "ordinary_refused"), [("sensitive", False), ("everything", True)])
def test_sensitive_operations_have_the_lower_limit_too(block: Any, ordinary_refused: bool) -> None:
    settings, limits = Settings(sensitive_limit=2, assumptions=Assumptions(sensitive_block=block)), Limits()
    told = [limits.arrive("a", "::1", sensitive=True, now=1.0, settings=settings) for _ in range(3)]
    assert told == [False, False, True]
    assert limits.arrive("a", "::1", sensitive=False, now=2.0, settings=settings) == ordinary_refused
    assert limits.violations("account", sensitive=True) == {"a": 1}
    assert limits.violations("account") == {"a": 0}


def test_a_refusal_is_html_without_retry_after_and_ends_with_the_block() -> None:
    world = World(settings=Settings(limit=3, window=0.4, block=0.8))
    world.add_seller("a", "token-a", orders=1)
    world.add_seller("b", "token-b", orders=1)
    client = httpx.Client(transport=InProcessTransport(world), base_url="http://sandbox", headers=HEADERS)

    def status(token: str = "token-a") -> int:
        return client.get("/ws/orders", headers={"authorization": f"Basic {token}"}).status_code

    assert [status() for _ in range(4)] == [200, 200, 200, 429]
    refusal = client.get("/ws/category/tree", headers={"authorization": "Basic token-a"})
    assert refusal.status_code == 429
    assert refusal.headers["content-type"].startswith("text/html")
    assert "retry-after" not in refusal.headers
    assert status("token-b") == 200
    window = world.limits.windows["account", "a", False]
    window.blocked_until -= 0.8
    window.arrivals.clear()
    assert status() == 200


@pytest.mark.parametrize(("path", "allowed"), [("/ws/category/tree", 20), ("/ws/category/tree/3", 20)])
def test_categories_are_sensitive(path: str, allowed: int) -> None:
    world = World()
    world.add_seller("a", "token-a", orders=0)
    client = httpx.Client(
        transport=InProcessTransport(world),
        base_url="http://sandbox",
        headers=HEADERS | {"authorization": "Basic token-a"},
    )
    assert [client.get(path).status_code for _ in range(allowed + 1)] == [200] * allowed + [429]
