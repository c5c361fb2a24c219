"""The limiter that all processes share through Redis; the rules themselves are in the Lua scripts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.retry import Retry

from backmarket.errors import DatabaseUnavailable, LimiterUnavailable, SettingsError
from backmarket.limits.batching import Batcher
from backmarket.limits.limiter import RESERVATION_GRACE, Grant, Limiter, LimiterState, Slot
from backmarket.messages import redis_urls
from backmarket.observability import telemetry
from backmarket.observability.logs import Logger

if TYPE_CHECKING:
    from backmarket.settings import Settings

PREFIX = "backmarket:limiter:{all}:"
"""Prefix of every key. The hash tag keeps them on one node of a cluster, as one script uses several."""
CONNECT_TIMEOUT = 2.0
"""Seconds to connect to Redis."""
ANSWER_TIMEOUT = 5.0
"""Seconds to wait for an answer of Redis."""
MICRO, MILLI = 1_000_000, 1_000
_RECOVERING = 2
"""What `acquire.lua` returns when Redis has lost its count."""

_Script = Callable[[list[str], list[str | int]], list[int]]

log = Logger(__name__)


class SharedLimiter(Limiter):
    """A true sliding window, exact across any number of processes and machines.

    Guarantee: in no interval of `window` seconds do more than `limit` requests of one account
    *arrive* at the server, however long each takes and whatever the clients' clocks say. A slot
    is held from before its request is sent until `window` after its answer arrived here, so all
    requests of one server window hold their slots together; Redis's TIME is the only clock. The same
    holds for `sensitive_limit` and, where set, for `egress_limit`.

    The guarantee holds as long as
    - each caller sends at once and ends each request within `deadline` of `acquire`;
    - requests reach the server within `transit` of `acquire`, or are answered before the pause after a data
      loss ends. This matters only when Redis was emptied, restarted or failed over: then nothing is
      granted for `transit + window`, since the requests in flight are not known. Before the first request of all
      (`begin` knows) none is in flight, and a Redis without a sentinel grants at once;
    - Redis evicts nothing (`maxmemory-policy noeviction`), and its clock is not set forward.
      A clock set back delays slots by as much.

    When Redis is unreachable, `acquire` raises. `complete`, `release` and `block` log and continue: the caller's
    answer is worth more, and a slot not completed is held longer, not shorter. A lost block costs one more
    429 at worst.

    Safe to share between threads and to use after a fork.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://`.
        limit: requests that one account may send in any window.
        window: seconds.
        sensitive_limit: requests to the sensitive endpoints in the same window.
        deadline: seconds after `acquire` at which a request without an answer is over.
        egress_id: name of the address that requests leave from; 429s on most of its accounts block it, see `block.lua`.
        egress_limit: requests from that address in any window; 0: no such limit.
        transit: maximum seconds from `acquire` to a request's arrival at the server; in practice, the time to
            open a connection.
        begin: called before the first slot of this process is handed out; returns whether no process was ever
            given one, so that a Redis without a sentinel is new, not emptied. None: it is not known.

    Raises:
        SettingsError: if `redis_url` is not such a URL.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        limit: int,
        window: float,
        sensitive_limit: int,
        deadline: float,
        egress_id: str = "default",
        egress_limit: int = 0,
        transit: float = 5.0,
        begin: Callable[[], bool] | None = None,
    ) -> None:
        self._redis = _connect(redis_url)
        self._limit, self._sensitive_limit, self._egress_limit = limit, sensitive_limit, egress_limit
        self._egress_id = egress_id
        self._window, self._hold, self._recovery = window, deadline + window, transit + window
        self._begin = begin
        self._acquire = self._script("acquire")
        self._complete = self._script("complete")
        self._settling = Batcher(self._settle_all)
        self._block = self._script("block")
        self._peek = self._script("peek")
        self._skip_recovery = self._script("skip_recovery")

    def acquire(self, account: str, want: int = 1, *, sensitive: bool = False, urgent: str | None = None) -> Grant:
        """Take up to `want` slots; see `Limiter.acquire`."""
        if want < 1:
            raise ValueError("want must be at least 1")
        token = secrets.token_hex(8)
        grant = self._ask(token, account, want, sensitive=sensitive, urgent=urgent)
        if self._begin_requests() and grant.recovering:
            self._skip(only_if_by=token)
            grant = self._ask(secrets.token_hex(8), account, want, sensitive=sensitive, urgent=urgent)
        if len(grant.slots) < want:
            telemetry.emit("limiter_denied", by="block" if grant.blocked else "window")
        return grant

    def _ask(self, token: str, account: str, want: int, *, sensitive: bool, urgent: str | None) -> Grant:
        limits = (self._limit, self._sensitive_limit if sensitive else 0, self._egress_limit)
        times = (_us(self._window), _us(self._hold), _us(self._recovery))
        keys = [*self._six_keys(account), *self._urgent_keys(account)]
        waiting: tuple[str, int] = (urgent or "", _us(RESERVATION_GRACE))
        with _or_unavailable():
            granted, wait, blocked = self._acquire(keys, [token, want, *times, *limits, *waiting])
        slots = tuple(Slot(account, f"{token}:{i}", sensitive) for i in range(1, granted + 1))
        return Grant(slots, wait / MICRO, blocked=blocked > 0, recovering=blocked == _RECOVERING)

    def _begin_requests(self) -> bool:
        """Before the first slot of this process is handed out: whether no process was ever given one.

        Raises:
            LimiterUnavailable: if PostgreSQL can't say.
        """
        if self._begin is None:
            return False
        try:
            first = self._begin()
        except DatabaseUnavailable as error:
            raise LimiterUnavailable(f"Whether requests were sent before is not known: {error.message}") from error
        self._begin = None
        return first

    def complete(self, slots: Sequence[Slot]) -> None:
        """The answers arrived; see `Limiter.complete`. Threads that complete at the same time share one call."""
        self._settling.add(slots)

    def _settle_all(self, slots: Sequence[Slot]) -> None:
        for account, group in groupby(slots, key=lambda slot: slot.account):
            pairs = [value for slot in group for value in (slot.id, int(slot.sensitive))]
            with _or_log("limiter.complete_failed", account):
                keys = [*self._window_keys(account), *self._egress_keys("egress-answers")]
                self._complete(keys, [_us(self._window), int(self._egress_limit > 0), account, *pairs])

    def release(self, slots: Sequence[Slot]) -> None:
        """The requests were never sent; see `Limiter.release`."""
        for account, group in groupby(slots, key=lambda slot: slot.account):
            ids = [slot.id for slot in group]
            with _or_log("limiter.release_failed", account), self._redis.pipeline() as pipeline:
                for key in self._window_keys(account):
                    pipeline.zrem(key, *ids)
                pipeline.execute()

    def block(self, account: str, retry_after: float | None = None) -> None:
        """The API answered 429; see `Limiter.block`."""
        telemetry.emit("limiter_block")
        egress = self._egress_keys("egress-blocked", "egress-refusals", "egress-answers")
        block = max(self._window, retry_after or 0.0)
        with _or_log("limiter.block_failed", account):
            self._block([_key("blocked", account), *egress], [account, _ms(self._window), _ms(block)])

    def peek(self, account: str) -> LimiterState:
        """Return the account's state; see `Limiter.peek`."""
        with _or_unavailable():
            used, sensitive, egress, *blocked = self._peek(self._six_keys(account), [_us(self._recovery)])
        names: tuple[Literal["account", "egress", "emptied"], ...] = ("account", "egress", "emptied")
        longest = max(range(3), key=blocked.__getitem__)
        return LimiterState(
            used=used,
            limit=self._limit,
            sensitive_used=sensitive,
            sensitive_limit=self._sensitive_limit,
            egress_used=egress,
            egress_limit=self._egress_limit,
            blocked_for=blocked[longest] / MICRO,
            blocked_by=names[longest] if blocked[longest] else None,
        )

    def skip_recovery(self) -> None:
        """Skip the pause after Redis lost its count; see `Limiter.skip_recovery`."""
        self._begin_requests()
        self._skip(only_if_by="")

    def _skip(self, *, only_if_by: str) -> None:
        with _or_unavailable():
            self._skip_recovery([_key("sentinel")], [only_if_by])

    def close(self) -> None:
        """Close its connections; the next use opens them again."""
        self._redis.close()

    def _script(self, name: str) -> _Script:
        """A script of this package; redis-py sends it again if the server has dropped it."""
        parts = (files(__package__).joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("server", name))
        text = "".join(parts)
        return cast(_Script, self._redis.register_script(text))

    def _six_keys(self, account: str) -> list[str]:
        blocks = [_key("blocked", account), *self._egress_keys("egress-blocked")]
        return [_key("sentinel"), *blocks, *self._window_keys(account)]

    def _window_keys(self, account: str) -> list[str]:
        return [_key("slots", account), _key("sensitive", account), *self._egress_keys("egress-slots")]

    def _urgent_keys(self, account: str) -> list[str]:
        return [_key("urgent", account), _key("urgent-sensitive", account), *self._egress_keys("urgent-egress")]

    def _egress_keys(self, *kinds: str) -> list[str]:
        return [_key(kind, self._egress_id) for kind in kinds]


def shared_limiter(settings: Settings, begin: Callable[[], bool] | None = None) -> SharedLimiter:
    """Create the limiter that the settings describe.

    Args:
        settings: its Redis and its limits.
        begin: see `SharedLimiter`.

    Raises:
        SettingsError: if `REDIS_URL` is missing or is not a URL of Redis.
    """
    return SharedLimiter(
        settings.need("redis_url"),
        limit=settings.rate_limit,
        window=settings.rate_window,
        sensitive_limit=settings.sensitive_rate_limit,
        deadline=settings.request_longest,
        egress_id=settings.egress_id,
        egress_limit=settings.egress_rate_limit,
        transit=settings.connect_timeout,
        begin=begin,
    )


def _connect(url: str) -> Redis:
    """A connection pool that opens connections when needed, and reopens broken ones.

    A call on a broken connection is retried once; the slots of a lost answer are held until they expire. So is a call
    that a replica refused: after a failover without a disconnect, a new connection reaches the new primary.
    """
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError, ReadOnlyError))
    network: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "socket_keepalive_options": redis_urls.KEEPALIVE,
    }
    try:
        return Redis.from_url(
            redis_urls.check(url, redis_urls.LIMITER_SCHEMES),
            socket_timeout=ANSWER_TIMEOUT,
            retry=retry,
            **({} if url.startswith("unix:") else network),
        )
    except ValueError as error:
        raise SettingsError(f"BACKMARKET_REDIS_URL {error}.") from None


@contextmanager
def _or_unavailable() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LimiterUnavailable(f"Redis cannot be asked for a slot, so nothing is sent: {reason}") from error


@contextmanager
def _or_log(event: str, account: str) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        log.warning(event, account=account, error=" ".join(str(error).split()) or type(error).__name__)


def _key(kind: str, name: str = "") -> str:
    return PREFIX + (f"{kind}:{name}" if name else kind)


def _us(seconds: float) -> int:
    return round(seconds * MICRO)


def _ms(seconds: float) -> int:
    return round(seconds * MILLI)
