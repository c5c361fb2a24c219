"""The hourly quota of SKU lines that an account may send, kept in rows.

A line is reserved in the transaction that decides to send it, and counts until a window after its request is over.
So no window of the server's sees more than the limit, however long a request takes
(docs/decisions/0003 has the same argument for requests). PostgreSQL's clock is the only one.

`reserve`, `release` and `block` hold the account's lock until the transaction ends: call them last in the transaction,
and for one account only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import args_row

from backmarket.database import Database, Transaction
from backmarket.limits.backoff import growing

STEPS = 1800
"""Steps of a window at which lines may come free (2 s in an hour): the maximum number of an account's rows; a line is
held for at most one step too long.

Measured (socket, 2 cores): 2,000 reservations of a line one after the other 2.3 s; with 1,800 rows 1.5 ms each where
granted, 4 ms where denied.
"""

REFUSED_SECONDS = 300.0
"""Seconds for which an account sends no lines after the API refused one with 429, unless the API names more."""
AFTER_OTHERS_SECONDS = 30.0
"""Seconds from then on, twice as many with each further refusal, until what was refused is sent again: the lines that
were not refused go first, so that one that always is holds them up for five minutes and no longer."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """Result of `reserve`.

    Attributes:
        granted: lines that may be sent now; they count even if they are never sent, unless released.
        wait_seconds: seconds until a retry may succeed; 0.0 if all were granted.
        free_at: when the granted lines come free.
    """

    account: str
    granted: int
    wait_seconds: float
    free_at: datetime


@dataclass(frozen=True, slots=True)
class Free:
    """Remaining quota of an account.

    Attributes:
        lines: number that could be reserved now.
        wait_seconds: seconds until the given lines could be reserved; 0.0: now.
        closed: the API has refused a line, whatever the ledger says.
    """

    lines: int
    wait_seconds: float
    closed: bool


def reserve(
    transaction: Transaction,
    account: str,
    lines: int,
    *,
    limit: int,
    window: float,
    at_least: int | None = None,
    deadline: float = 0.0,
) -> Reserved:
    """Reserve lines: all of them or none; or, with `at_least`, as many as fit.

    Args:
        transaction: the lines count once it commits; send nothing before.
        account: as `account_name` gives it.
        lines: number wanted, at least 1.
        limit: lines that the account may send in any window.
        window: seconds.
        at_least: reserve fewer if at least this many fit.
        deadline: seconds from now at which the request that carries them is over.

    Raises:
        ValueError: if more lines are wanted than can ever be granted at once, or fewer than one.
    """
    least = lines if at_least is None else at_least
    if not 1 <= least <= min(lines, limit):
        raise ValueError(f"{least} lines of {lines} cannot be reserved where {limit} is the limit")
    _lock(transaction, account)
    wanted = {"account": account, "lines": lines, "least": least, "limit": limit}
    times = {"held": window + deadline, "step": window / STEPS}
    with transaction.cursor(row_factory=args_row(Reserved)) as cursor:
        reserved = cursor.execute(_RESERVE, {**wanted, **times}).fetchone()
    assert reserved is not None  # noqa: S101 - the statement gives one row
    return reserved


def after_others(tries: int) -> float:
    """Seconds from the end of a block until what was refused is sent again; 0.0: it was not refused yet.

    Args:
        tries: failed tries in a row.
    """
    return growing(tries - 1, AFTER_OTHERS_SECONDS) if tries else 0.0


def release(transaction: Transaction, reserved: Reserved) -> None:
    """Release lines that were certainly never sent. Lines that may have been sent are never released."""
    _lock(transaction, reserved.account)
    transaction.execute(_RELEASE, (reserved.granted, reserved.account, reserved.free_at))


def block(transaction: Transaction, account: str, seconds: float) -> None:
    """The API refused a line with 429, so it counts lines that the ledger does not: grant nothing for a while.

    Args:
        account: that got the 429.
        seconds: for which nothing is granted, from now on; a longer block stays.
    """
    _lock(transaction, account)
    transaction.execute(_BLOCK, (account, seconds))


def free(transaction: Transaction, account: str, *, limit: int, lines: int = 1) -> Free:
    """What is free now, and when a number of lines is; changes nothing, and promises nothing.

    Args:
        limit: lines that the account may send in any window.
        lines: number that the caller would reserve; more than the limit count as the limit.
    """
    wanted = {"account": account, "lines": min(lines, limit), "limit": limit}
    with transaction.cursor(row_factory=args_row(Free)) as cursor:
        found = cursor.execute(_FREE, wanted).fetchone()
    assert found is not None  # noqa: S101 - the statement gives one row
    return found


def drop_free(database: Database) -> int:
    """Delete free lines of accounts that reserve no more; returns the number of deleted rows."""
    with database.transaction() as transaction:
        return transaction.execute("DELETE FROM backmarket.sku_quota WHERE free_at <= now()").rowcount


def _lock(transaction: Transaction, account: str) -> None:
    transaction.execute("SELECT backmarket.take_lock('sku_quota', %s)", (account,))


# The clock is read after taking the lock: a transaction's own now() may be older than what others have reserved since.
# A step counts as passed only once it is over, hence floor + 1.
_RESERVE = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at),
gone AS (DELETE FROM backmarket.sku_quota USING moment WHERE account = %(account)s AND free_at <= at),
held AS MATERIALIZED (
    SELECT free_at, lines FROM backmarket.sku_quota, moment WHERE account = %(account)s AND free_at > at
),
asked AS MATERIALIZED (
    SELECT to_timestamp((floor((extract(epoch FROM at)::float8 + %(held)s) / %(step)s) + 1) * %(step)s) AS free_at,
        CASE WHEN closed OR room < %(least)s THEN 0 ELSE LEAST(room, %(lines)s) END AS lines
    FROM moment, (
        SELECT %(limit)s - COALESCE(sum(lines), 0) AS room, COALESCE(bool_or(lines IS NULL), false) AS closed FROM held
    ) AS sums
),
taken AS (
    INSERT INTO backmarket.sku_quota AS q (account, free_at, lines)
    SELECT %(account)s, free_at, lines FROM asked WHERE lines > 0
    ON CONFLICT (account, free_at) DO UPDATE SET lines = q.lines + excluded.lines
)
SELECT %(account)s, a.lines::integer, CASE WHEN a.lines = %(lines)s THEN 0.0 ELSE extract(epoch FROM GREATEST(
    (SELECT max(free_at) FROM held WHERE lines IS NULL),
    (SELECT min(free_at) FROM (
        SELECT free_at, sum(sum(lines)) OVER (ORDER BY free_at DESC) - sum(lines) AS still_held
        FROM (SELECT free_at, COALESCE(lines, 0) AS lines FROM held UNION ALL SELECT * FROM asked) AS all_held
        GROUP BY free_at
    ) AS ends WHERE still_held <= %(limit)s - LEAST(%(least)s, %(lines)s - a.lines))
) - at)::float8 END, a.free_at
FROM moment, asked a
"""

_RELEASE = """
UPDATE backmarket.sku_quota SET lines = GREATEST(lines - %s, 0)
WHERE account = %s AND free_at = %s AND lines IS NOT NULL
"""

_BLOCK = """
INSERT INTO backmarket.sku_quota AS q (account, free_at) VALUES (%s, clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (account, free_at) DO UPDATE SET lines = NULL
"""

_FREE = """
WITH held AS MATERIALIZED (
    SELECT free_at, lines FROM backmarket.sku_quota WHERE account = %(account)s AND free_at > clock_timestamp()
),
sums AS (
    SELECT GREATEST(%(limit)s - COALESCE(sum(lines), 0), 0) AS room,
        max(free_at) FILTER (WHERE lines IS NULL) AS closed_until
    FROM held
)
SELECT CASE WHEN closed_until IS NULL THEN room ELSE 0 END::integer,
    CASE WHEN closed_until IS NULL AND room >= %(lines)s THEN 0.0 ELSE GREATEST(0.0, extract(epoch FROM GREATEST(
        closed_until,
        (SELECT min(free_at) FROM (
            SELECT free_at, sum(COALESCE(lines, 0)) OVER (ORDER BY free_at DESC) - COALESCE(lines, 0) AS still_held
            FROM held
        ) AS ends WHERE room < %(lines)s AND still_held <= %(limit)s - %(lines)s)
    ) - clock_timestamp())::float8) END,
    closed_until IS NOT NULL
FROM sums
"""
