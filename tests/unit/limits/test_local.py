"""The limiter's rules on a clock that the test sets; nothing here sleeps but one test with threads."""

import threading
import time
from dataclasses import dataclass

import pytest

from backmarket.errors import RateLimited
from backmarket.limits import Limiter, LocalLimiter, account_name, wait_for_slot
from tests.support.waiting import PATIENCE_SECONDS

WINDOW, DEADLINE = 10.0, 30.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter_at(clock: Clock, limit: int = 3, sensitive_limit: int = 1, egress_limit: int = 0) -> LocalLimiter:
    return LocalLimiter(
        limit=limit,
        window=WINDOW,
        sensitive_limit=sensitive_limit,
        deadline=DEADLINE,
        egress_limit=egress_limit,
        clock=clock,
    )


def test_grants_as_many_as_fit_and_says_when_more_may(clock: Clock) -> None:
    limiter = limiter_at(clock)
    first = limiter.acquire("a", 2)
    assert (len(first.slots), first.wait, first.blocked) == (2, 0.0, False)
    limiter.complete(first.slots)
    clock.now += 4
    second = limiter.acquire("a", 2)
    assert (len(second.slots), second.wait, second.blocked) == (1, 6.0, False)
    assert limiter.acquire("a", 5).slots == ()


def test_more_than_the_limit_is_never_granted(clock: Clock) -> None:
    grant = limiter_at(clock).acquire("a", 50)
    assert len(grant.slots) == 3
    assert grant.wait == WINDOW


def test_a_settled_slot_is_free_one_window_after_its_answer(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    grant = limiter.acquire("a")
    clock.now += 5
    limiter.complete(grant.slots)
    clock.now += WINDOW
    assert not limiter.acquire("a").slots, "the window is closed at both ends"
    clock.now += 0.001
    assert limiter.acquire("a").slots


def test_a_slot_without_an_answer_is_held_until_its_deadline_and_a_window(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    limiter.acquire("a")
    clock.now += DEADLINE + WINDOW
    assert not limiter.acquire("a").slots
    clock.now += 0.001
    assert limiter.acquire("a").slots


def test_a_slot_given_back_is_free_at_once(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1, sensitive_limit=1, egress_limit=1)
    limiter.release(limiter.acquire("a", sensitive=True).slots)
    assert limiter.acquire("a", sensitive=True).slots


def test_a_late_answer_counts_although_its_slot_had_expired(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    grant = limiter.acquire("a")
    clock.now += 2 * (DEADLINE + WINDOW)
    limiter.complete(grant.slots)
    assert not limiter.acquire("a").slots


def test_overfull_by_a_late_answer_waits_for_enough_to_come_free(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    late = limiter.acquire("a").slots
    clock.now += DEADLINE + WINDOW + 1
    limiter.complete(limiter.acquire("a").slots)
    clock.now += 3
    limiter.complete(late)
    clock.now += 1
    assert limiter.acquire("a").wait == 9.0


def test_accounts_do_not_share_their_limit_but_share_the_address(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=3, egress_limit=4)
    assert len(limiter.acquire("a", 3).slots) == 3
    assert len(limiter.acquire("b", 3).slots) == 1


def test_the_sensitive_limit_counts_beside_the_general_one(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=3, sensitive_limit=1)
    assert len(limiter.acquire("a", 2, sensitive=True).slots) == 1
    assert len(limiter.acquire("a", 3).slots) == 2


def test_a_429_blocks_the_account_for_a_window_at_least(clock: Clock) -> None:
    limiter = limiter_at(clock)
    limiter.block("a", retry_after=2.0)
    grant = limiter.acquire("a")
    assert (grant.slots, grant.wait, grant.blocked) == ((), WINDOW, True)
    assert limiter.acquire("b").slots
    clock.now += WINDOW
    assert limiter.acquire("a").slots


def test_a_longer_retry_after_is_kept_when_a_shorter_one_follows(clock: Clock) -> None:
    limiter = limiter_at(clock)
    limiter.block("a", retry_after=60.0)
    limiter.block("a")
    assert limiter.peek("a").blocked_for == 60.0


def test_429s_of_most_accounts_within_a_window_block_the_address_for_a_window(clock: Clock) -> None:
    limiter = limiter_at(clock)
    for account in "abcd":
        limiter.block(account)
    assert limiter.acquire("g").slots
    clock.now += WINDOW - 1
    limiter.block("e")
    assert limiter.acquire("g").wait == WINDOW
    assert limiter.peek("g").blocked_by == "egress"
    assert limiter.peek("e").blocked_by == "account"


def test_429s_further_apart_do_not(clock: Clock) -> None:
    limiter = limiter_at(clock)
    for account in "abcde":
        limiter.block(account)
        clock.now += WINDOW / 4
    assert limiter.acquire("g").slots


def test_the_urgent_is_left_what_it_was_denied(clock: Clock) -> None:
    limiter = limiter_at(clock)
    limiter.complete(limiter.acquire("a", 3).slots)
    clock.now += 4
    assert limiter.acquire("a", urgent="one").wait == 6.0
    assert limiter.acquire("a", urgent="other").wait == 6.0
    clock.now += 6.001
    assert len(limiter.acquire("a", 3).slots) == 1
    assert len(limiter.acquire("b", 3).slots) == 3
    assert len(limiter.acquire("a", urgent="one").slots) == 1
    assert len(limiter.acquire("a", urgent="other").slots) == 1


def test_a_reservation_is_taken_away_by_its_grant(clock: Clock) -> None:
    limiter = limiter_at(clock)
    first = limiter.acquire("a", 3).slots
    assert not limiter.acquire("a", urgent="one").slots
    limiter.release(first)
    assert limiter.acquire("a", urgent="one").slots
    assert len(limiter.acquire("a", 3).slots) == 2


def test_an_urgent_one_that_got_a_part_reserves_the_rest(clock: Clock) -> None:
    limiter = limiter_at(clock)
    limiter.complete(limiter.acquire("a").slots)
    assert len(limiter.acquire("a", 3, urgent="one").slots) == 2
    clock.now += WINDOW + 0.001
    assert not limiter.acquire("a").slots
    assert len(limiter.acquire("a", urgent="one").slots) == 1


def test_a_reservation_ends_a_second_after_its_waiter_should_have_come(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    limiter.complete(limiter.acquire("a").slots)
    limiter.acquire("a", urgent="killed")
    clock.now += WINDOW + 0.5
    assert limiter.acquire("a").wait == 0.5
    clock.now += 0.501
    assert limiter.acquire("a").slots


def test_the_urgent_is_first_after_a_429_too(clock: Clock) -> None:
    limiter = limiter_at(clock)
    limiter.block("a")
    assert limiter.acquire("a", urgent="one").blocked
    clock.now += WINDOW
    assert len(limiter.acquire("a", 3).slots) == 2
    assert limiter.acquire("a", urgent="one").slots


def test_a_long_block_keeps_no_reservation(clock: Clock) -> None:
    limiter = limiter_at(clock, egress_limit=1)
    limiter.block("a", retry_after=3600.0)
    limiter.acquire("a", urgent="one")
    assert not limiter.acquire("b").slots
    clock.now += WINDOW + 1.001
    assert limiter.acquire("b").slots


def test_waiting_urgently_goes_before_who_asks_in_between(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    limiter.complete(limiter.acquire("a").slots)
    others: list[bool] = []

    def sleep(seconds: float) -> None:
        clock.now += seconds + 0.001
        others.append(bool(limiter.acquire("a").slots))

    assert wait_for_slot(limiter, "a", urgent=True, timeout=60.0, sleep=sleep).account == "a"
    assert others == [False]


def test_peek_changes_nothing(clock: Clock) -> None:
    limiter = limiter_at(clock, egress_limit=9)
    limiter.acquire("a", sensitive=True)
    state = limiter.peek("a")
    assert (state.used, state.limit, state.sensitive_used, state.egress_used) == (1, 3, 1, 1)
    assert (state.blocked_for, state.blocked_by) == (0.0, None)
    assert limiter.peek("a") == state


def test_want_below_one_is_a_mistake(clock: Clock) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        limiter_at(clock).acquire("a", 0)


def test_waiting_sleeps_as_long_as_the_limiter_says(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    limiter.complete(limiter.acquire("a").slots)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    assert wait_for_slot(limiter, "a", timeout=60.0, sleep=sleep).account == "a"
    assert pauses == [10.0, 0.01]


def test_waiting_ends_at_once_when_the_timeout_cannot_be_met(clock: Clock) -> None:
    limiter = limiter_at(clock, limit=1)
    limiter.complete(limiter.acquire("a").slots)
    with pytest.raises(RateLimited) as raised:
        wait_for_slot(limiter, "a", timeout=2.0, sleep=lambda _: pytest.fail("slept"))
    assert raised.value.retry_after == 10.0


def test_the_window_holds_among_threads() -> None:
    limit, window = 20, 0.3
    limiter = LocalLimiter(limit=limit, window=window, sensitive_limit=limit, deadline=PATIENCE_SECONDS)
    arrivals: list[float] = []

    def send() -> None:
        while len(arrivals) < 5 * limit:
            slot = wait_for_slot(limiter, "a", timeout=PATIENCE_SECONDS)
            arrivals.append(time.monotonic())
            limiter.complete([slot])

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrivals.sort()
    assert all(later - first > window for first, later in zip(arrivals, arrivals[limit:], strict=False))


def test_an_account_is_named_by_a_keyed_hash() -> None:
    name = account_name("a-secret-api-key", "limiter-key")
    assert name == account_name("a-secret-api-key", "limiter-key")
    assert len(name) == 32
    assert int(name, 16) >= 0
    assert "secret" not in name
    assert name != account_name("a-secret-api-key", "another key")
    assert name != account_name("a-secret-api-kez", "limiter-key")


def test_both_limiters_are_limiters(clock: Clock) -> None:
    limiter: Limiter = limiter_at(clock)
    limiter.skip_recovery()
    assert limiter.acquire("a").slots
