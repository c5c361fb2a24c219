"""PostgreSQL, the broker and the limiter: whether they answer, are the right ones, and keep their data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

from backmarket.database import Transaction, schema
from backmarket.doctor.finding import Finding, fault, ok, skipped, warning
from backmarket.documents import document
from backmarket.errors import BackMarketError, SchemaDiffers, SchemaMissing, SettingsError
from backmarket.limits.first_request import requests_began
from backmarket.messages import redis_urls
from backmarket.services import Services
from backmarket.status.broker import Broker, wrong_mode

OLDEST_POSTGRESQL = 140000
CLOCKS_APART = 5.0
"""Seconds between two clocks from which the difference is reported."""
FULL = 0.8

_SERVER = """
SELECT current_setting('server_version_num')::int, extract(epoch FROM clock_timestamp())::float8,
    current_setting('max_connections')::int,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('log_error_verbosity'), current_setting('log_min_error_statement'), pg_is_in_recovery()
"""


def database(services: Services) -> Iterator[Finding]:
    """PostgreSQL and its schema."""
    if not services.settings.database_url:
        yield skipped("database", "BACKMARKET_DATABASE_URL is not set.")
        return
    try:
        with services.database.transaction() as transaction:
            yield from _server(transaction)
    except SettingsError as error:
        yield fault("database", error.message, "Correct BACKMARKET_DATABASE_URL, or the rights of its role.")
        return
    except BackMarketError as error:
        yield fault(
            "database",
            error.message,
            "Is PostgreSQL running, and do host, port, name, user and password in BACKMARKET_DATABASE_URL fit?",
        )
        return
    found = _schema(services)
    yield found
    if found.verdict == "ok":
        with services.database.transaction() as transaction:
            yield _login(transaction)


def _server(transaction: Transaction) -> Iterator[Finding]:
    row = transaction.execute(_SERVER.encode()).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one
    number, clock, most, used, verbosity, statement, standby = row
    if number < OLDEST_POSTGRESQL:
        yield fault("database", f"PostgreSQL {number // 10000} is too old.", "Use PostgreSQL 14 or newer.")
    elif standby:
        yield fault(
            "database",
            "This PostgreSQL is a standby: it takes no writes.",
            "Point BACKMARKET_DATABASE_URL at the primary, or promote this one.",
        )
    else:
        yield ok("database", f"PostgreSQL {number // 10000} answers.")
    if used > FULL * most:
        yield warning(
            "database connections",
            f"{used} of {most} connections are in use.",
            "Raise max_connections, lower BACKMARKET_DATABASE_POOL_SIZE, or put a pooler in between.",
        )
    if verbosity != "terse" or statement != "panic":
        yield warning(
            "database log",
            "PostgreSQL's own log may quote row values in errors, and those are customers' addresses.",
            "Set log_error_verbosity=terse, log_min_error_statement=panic, log_parameter_max_length_on_error=0.",
        )
    yield from _clock("database clock", clock, "PostgreSQL")


def _schema(services: Services) -> Finding:
    try:
        schema.check(services.database)
    except SettingsError as error:
        return fault("schema", error.message, f"See {document('docs/operations/postgresql.md')}.")
    except SchemaMissing as error:
        return fault("schema", error.message, "Run `backmarket db init`.")
    except SchemaDiffers as error:
        newer = "newer version" in error.message
        advice = (
            "Install the newer version here, too."
            if newer
            else f"Run `backmarket db migrate`; see {document('docs/operations/upgrade-and-restore.md')}."
        )
        return fault("schema", error.message, advice)
    return ok("schema", "The tables are those of this version.")


def _login(transaction: Transaction) -> Finding:
    """Whether the login has what its process needs, as far as that can be seen without trying."""
    row = transaction.execute(_LOGIN, (list(schema.PROCESS_ROLES),)).fetchone()
    assert row is not None  # noqa: S101 - the tables are there
    name, owns, missing, unreadable = row
    if unreadable:
        return fault(
            "database login",
            f"{name} is a member of backmarket_worker, which lacks rights on {', '.join(unreadable)}.",
            "Run `backmarket db migrate` as the owner of the tables.",
        )
    if owns and missing:
        create = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
        return ok(
            "database login",
            f"{name} owns the tables, and can serve every process. Before processes can have logins of their own, an"
            f" administrator has to run `{create}`, and the owner `backmarket db migrate`.",
        )
    return ok("database login", f"{name} owns the tables." if owns else f"{name} has a role of its process.")


_LOGIN = """
SELECT current_user::text, pg_has_role(relowner, 'USAGE'),
    ARRAY(SELECT role FROM unnest(%s::text[]) AS role WHERE to_regrole(role) IS NULL),
    ARRAY(SELECT relname::text FROM pg_class
        WHERE relnamespace = 'backmarket'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
          AND relname NOT LIKE 'console!_%%' ESCAPE '!'
          AND pg_has_role(to_regrole('backmarket_worker'), 'USAGE') AND NOT has_any_column_privilege(oid, 'SELECT')
        ORDER BY relname)
FROM pg_class WHERE oid = 'backmarket.connections'::regclass
"""


def broker(services: Services) -> Iterator[Finding]:
    """The Redis that carries messages."""
    if not (services.settings.broker_url or services.settings.redis_url):
        yield skipped("broker", "Neither BACKMARKET_BROKER_URL nor BACKMARKET_REDIS_URL is set.")
        return
    name = "BACKMARKET_BROKER_URL" if services.settings.broker_url else "BACKMARKET_REDIS_URL"
    asked = Broker(services.settings.broker)
    try:
        info = asked.info()
    except BackMarketError as error:
        yield fault("broker", error.message, _advice(error, name))
        return
    finally:
        asked.close()
    yield _role("broker", info) or ok("broker", f"{_product(info)} answers.")
    yield from _memory("broker", info)


def _advice(error: BackMarketError, name: str) -> str:
    if "no permissions" in error.message:
        page = document("docs/operations/redis.md")
        return f"Give the user in {name} the commands, keys and channels that {page} lists."
    if any(word in error.message for word in _REFUSES):
        return "Redis answers and refuses to write. Make room on its disk or in its memory, or restore its replicas."
    return f"Is Redis running, and do host, port and password in {name} fit?"


_REFUSES = ("MISCONF", "'maxmemory'", "NOREPLICAS", "read only replica")
"""Words of the errors of a Redis that refuses writes; redis-py leaves out the codes that it knows (OOM, READONLY)."""


def _role(check: str, info: Mapping[str, Any]) -> Finding | None:
    """A fault if this Redis cannot be used."""
    if wrong := wrong_mode(info):
        return fault(check, *wrong)
    if info.get("role") == "slave":
        return fault(
            check,
            "This Redis is a replica: it takes no writes.",
            "Name the primary in the URL, or an address that follows it.",
        )
    return None


def _product(info: Mapping[str, Any]) -> str:
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '')}".strip()


def _memory(check: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    if "maxmemory_policy" not in info:
        yield skipped(f"{check} memory policy", "The Redis user may not ask INFO: its memory is not known.")
        return
    policy, limit, used = info.get("maxmemory_policy"), info.get("maxmemory", 0), info.get("used_memory", 0)
    if policy == "noeviction":
        yield ok(f"{check} memory policy", "noeviction: Redis evicts nothing.")
    else:
        yield fault(
            f"{check} memory policy",
            f"maxmemory-policy is {policy}: when its memory is full, Redis drops messages and the limiter's records.",
            "Set `maxmemory-policy noeviction` (CONFIG SET, and in its configuration); use a Redis of its own.",
        )
    if limit and used > FULL * limit:
        yield warning(
            f"{check} memory",
            f"{100 * used // limit}% of maxmemory is used; when it is full, no message is taken.",
            "Raise maxmemory; if a queue has grown, start workers for it.",
        )
    if not info.get("aof_enabled"):
        yield warning(
            f"{check} persistence",
            "Redis keeps no append-only file: a restart empties it.",
            "Nothing is lost by that, but 15 s pass without a request: set `appendonly yes`.",
        )


def limiter(services: Services) -> Iterator[Finding]:
    """The Redis that counts requests, and its clock."""
    settings = services.settings
    if not settings.redis_url:
        yield skipped("limiter", "BACKMARKET_REDIS_URL is not set.")
        return
    info = _limiter_info(settings.need("redis_url"))
    if wrong := _role("limiter", info):
        yield wrong
        return
    try:
        state = services.limiter.peek("")
    except SettingsError as error:
        yield fault("limiter", error.message, "Correct BACKMARKET_REDIS_URL.")
        return
    except BackMarketError as error:
        yield fault("limiter", error.message, f"Nothing is sent without it. {_advice(error, 'BACKMARKET_REDIS_URL')}")
        return
    if state.blocked_by == "emptied" and _has_sent(services):
        yield warning(
            "limiter",
            "Redis has lost its count of requests: it is another one, was emptied or restarted. Nothing is sent for"
            f" {state.blocked_for:.0f} s more.",
            "Wait. If it happens again, something restarts or empties Redis: check its memory and its persistence.",
        )
    elif state.blocked_by == "egress":
        yield warning(
            "limiter",
            f"429s on most accounts block this address for {state.blocked_for:.0f} s.",
            "The block ends without action. Does another program use this address? Bound ours by"
            " BACKMARKET_EGRESS_RATE_LIMIT.",
        )
    else:
        yield ok("limiter", "The limiter answers.")
    if settings.broker_url:
        yield from _memory("limiter", info)
    yield from _clock("limiter clock", info.get("server_time_usec", time.time() * 1e6) / 1e6, "Redis")


def _has_sent(services: Services) -> bool:
    """Whether requests were sent before; a Redis without a count is new otherwise."""
    try:
        return requests_began(services.database)
    except BackMarketError:
        return True


def _limiter_info(url: str) -> Mapping[str, Any]:
    """INFO of the limiter's Redis; empty if it cannot be read: the limiter's own error says why."""
    with suppress(BackMarketError), closing(Broker(redis_urls.for_kombu(url))) as asked:
        return asked.info()
    return {}


def _clock(check: str, theirs: float, whose: str) -> Iterator[Finding]:
    apart = theirs - time.time()
    if abs(apart) <= CLOCKS_APART:
        yield ok(check, f"{whose} and this machine agree within {CLOCKS_APART:g} s.")
        return
    yield warning(
        check,
        f"The clock of {whose} is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's.",
        "Let both follow a time server. Set forward while workers run, the limiter's clock lets too much through.",
    )
