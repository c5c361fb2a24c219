"""What a failure means for a label, and how long everybody waits for a server that is away."""

from __future__ import annotations

import pytest

from backmarket import errors
from backmarket.errors import BackMarketError
from backmarket.labels.retry_policy import Again, Never, Rest, fate_of
from backmarket.services.circuit_breaker import ASKING, LONGEST, TOLD_AGAIN, Outage


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (errors.NotFound("x"), Again(60, 21600)),
        (errors.NotAvailable("x"), Again(60, 21600)),
        (errors.HostRefused("x"), Again(60, 21600)),
        (errors.RequestRefused("x"), Again(60, 21600)),
        (errors.NotAPdf("x"), Again(60, 21600)),
        (errors.NetworkError("x"), Again(15, 3600)),
        (errors.ServerError("x"), Again(15, 3600)),
        (errors.BrokenAnswer("x"), Again(15, 3600)),
        (errors.Crashed("x"), Again(60, 21600)),
        (errors.OriginRefused("x"), Never()),
        (errors.TooLarge("x"), Never()),
        (errors.RateLimited("x"), Rest()),
        (errors.Unauthorized("x"), Rest()),
        (errors.BucketUnavailable("x"), Rest()),
        (errors.LimiterUnavailable("x"), Rest(5)),
        (errors.FirewallBlocked("x"), Rest(60)),
        (errors.BucketRefused("x"), Rest(300)),
        (errors.SettingsError("x"), Rest(300)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_its_fate(error: BackMarketError, fate: object) -> None:
    assert fate_of(error) == fate


def test_pauses_double_up_to_the_longest_with_a_jitter_of_a_quarter() -> None:
    fate = Again(60, 21600)
    for tries, middle in ((0, 60), (1, 120), (5, 1920), (9, 21600), (10_000, 21600)):
        pauses = [fate.pause(tries) for _ in range(200)]
        assert 0.75 * middle <= min(pauses) < 0.9 * middle
        assert 1.1 * middle < max(pauses) <= 1.25 * middle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_waited_for_longer_and_longer() -> None:
    clock = Clock()
    outage = Outage(clock)
    assert not outage.ongoing
    pauses = []
    for _ in range(10):
        pauses.append(outage.failed())
        assert outage.ongoing
        clock.now += pauses[-1]
    assert 5 <= pauses[0] <= 6.25
    assert 20 <= pauses[2] <= 25
    assert LONGEST <= pauses[-1] <= 1.25 * LONGEST
    outage.over()
    assert not outage.ongoing
    assert outage.failed() < 7


def test_those_who_meet_an_outage_together_do_not_lengthen_it() -> None:
    outage = Outage(Clock())
    assert max(outage.failed() for _ in range(100)) < 7


def test_one_asks_for_all_who_wait() -> None:
    clock = Clock()
    outage = Outage(clock)
    outage.failed()
    assert [outage.may_ask() for _ in range(3)] == [True, False, False]
    assert 5 <= outage.wait() <= 6.25
    clock.now += 30
    assert 5 <= outage.wait() <= 6.25, "the answer is still waited for"
    assert outage.failed() > 9
    assert 10 <= outage.wait() <= 12.5
    assert outage.may_ask()
    clock.now += ASKING
    assert outage.may_ask(), "who asked is gone"
    outage.over()
    assert outage.may_ask()


def test_one_line_a_minute_is_enough() -> None:
    clock = Clock()
    outage = Outage(clock)
    assert [outage.worth_telling() for _ in range(3)] == [True, False, False]
    clock.now += TOLD_AGAIN
    assert outage.worth_telling()
