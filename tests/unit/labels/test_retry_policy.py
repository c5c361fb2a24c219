"""What a failure means for a label, and how long everybody waits for a server that is away."""

from __future__ import annotations

import pytest

from backmarket import errors
from backmarket.errors import BackMarketError
from backmarket.labels.retry_policy import GiveUp, PauseAll, Retry, retry_decision
from backmarket.services.circuit_breaker import (
    LOG_INTERVAL_SECONDS,
    MAX_PAUSE_SECONDS,
    PROBE_TIMEOUT_SECONDS,
    CircuitBreaker,
)


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (errors.NotFound("x"), Retry(60, 21600)),
        (errors.NotAvailable("x"), Retry(60, 21600)),
        (errors.HostRefused("x"), Retry(60, 21600)),
        (errors.RequestRefused("x"), Retry(60, 21600)),
        (errors.NotAPdf("x"), Retry(60, 21600)),
        (errors.NetworkError("x"), Retry(15, 3600)),
        (errors.ServerError("x"), Retry(15, 3600)),
        (errors.BrokenAnswer("x"), Retry(15, 3600)),
        (errors.Crashed("x"), Retry(60, 21600)),
        (errors.OriginRefused("x"), GiveUp()),
        (errors.TooLarge("x"), GiveUp()),
        (errors.RateLimited("x"), PauseAll()),
        (errors.Unauthorized("x"), Retry(60, 21600)),
        (errors.BucketUnavailable("x"), PauseAll()),
        (errors.LimiterUnavailable("x"), PauseAll(5)),
        (errors.FirewallBlocked("x"), PauseAll(60)),
        (errors.BucketRefused("x"), PauseAll(300)),
        (errors.SettingsError("x"), PauseAll(300)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_its_fate(error: BackMarketError, decision: object) -> None:
    assert retry_decision(error) == decision


def test_pauses_double_up_to_the_longest_with_a_jitter_of_a_quarter() -> None:
    decision = Retry(60, 21600)
    for tries, middle in ((0, 60), (1, 120), (5, 1920), (9, 21600), (10_000, 21600)):
        pauses = [decision.pause(tries) for _ in range(200)]
        assert 0.75 * middle <= min(pauses) < 0.9 * middle
        assert 1.1 * middle < max(pauses) <= 1.25 * middle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_waited_for_longer_and_longer() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    assert not breaker.is_open
    pauses = []
    for _ in range(10):
        pauses.append(breaker.record_failure())
        assert breaker.is_open
        clock.now += pauses[-1]
    assert 5 <= pauses[0] <= 6.25
    assert 20 <= pauses[2] <= 25
    assert MAX_PAUSE_SECONDS <= pauses[-1] <= 1.25 * MAX_PAUSE_SECONDS
    breaker.record_success()
    assert not breaker.is_open
    assert breaker.record_failure() < 7


def test_those_who_meet_an_outage_together_do_not_lengthen_it() -> None:
    breaker = CircuitBreaker(Clock())
    assert max(breaker.record_failure() for _ in range(100)) < 7


def test_one_asks_for_all_who_wait() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    breaker.record_failure()
    assert [breaker.allow_probe() for _ in range(3)] == [True, False, False]
    assert 5 <= breaker.wait() <= 6.25
    clock.now += 30
    assert 5 <= breaker.wait() <= 6.25, "the answer is still waited for"
    assert breaker.record_failure() > 9
    assert 10 <= breaker.wait() <= 12.5
    assert breaker.allow_probe()
    clock.now += PROBE_TIMEOUT_SECONDS
    assert breaker.allow_probe(), "who asked is gone"
    breaker.record_success()
    assert breaker.allow_probe()


def test_one_line_a_minute_is_enough() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    assert [breaker.should_log() for _ in range(3)] == [True, False, False]
    clock.now += LOG_INTERVAL_SECONDS
    assert breaker.should_log()
