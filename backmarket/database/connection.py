"""PostgreSQL: the pool, transactions, and the one border that psycopg's errors cross.

A database error's details quote row values (names, addresses), so nothing of its text goes further than this
file: what leaves is a class of ours with the SQLSTATE and the names of table and constraint.

Row-level security binds the owner of the tables, too; our own transactions say that they are a worker's
(docs/decisions/0009).
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from backmarket.errors import BackMarketError, DatabaseUnavailable, InvalidArgument, SchemaMissing, SettingsError

SCHEMA_VERSION = 4
"""The version that `schema.sql` writes into `schema_version`."""

Transaction = psycopg.Connection[TupleRow]
"""An open connection inside a transaction; it commits when its `with` block ends well."""

_BEGIN = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL backmarket.worker = 'on'; SET LOCAL timezone = 'UTC';"
    b" SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex'"
)
"""Opens a transaction that sees every organization; one message, and nothing that outlives the transaction.

What a server, a database or a role may set otherwise, and our statements and psycopg rely on, is pinned: initdb takes
the machine's time zone, psycopg can't read a German date, and a lease is claimed with READ COMMITTED in mind. SET LOCAL
holds behind a transaction pooler, too; `options` in the URL does not.
"""


class DatabaseError(BackMarketError):
    """PostgreSQL refused a statement; a fault of ours, or of the schema."""

    code = "database_error"


class Database:
    """The connections of one process to PostgreSQL. Open it after a fork, never before.

    Args:
        url: a libpq URL.
        size: connections that it may hold; more callers wait.
        timeout: seconds that a caller waits for a connection.

    Raises:
        SettingsError: the URL is none.
    """

    def __init__(self, url: str, *, size: int = 8, timeout: float = 10.0) -> None:
        try:
            conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise SettingsError(
                "BACKMARKET_DATABASE_URL is no URL of PostgreSQL, such as postgresql://user:password@host:5432/name."
            ) from None
        self.url = url
        self._timeout = timeout
        self._role_checked = False
        self._pool = ConnectionPool(
            url,
            min_size=0,
            max_size=size,
            timeout=timeout,
            # the pauses between two tries double until then; by default for 5 minutes, and the pool slept long past the
            # end of an outage: a minute and more, in which nobody got a connection
            reconnect_timeout=timeout,
            open=False,
            check=_check,
            name="backmarket",
            kwargs={
                "application_name": "backmarket",
                "autocommit": True,  # transactions are opened by `_BEGIN`
                # statements prepared by name break behind a transaction pooler
                "prepare_threshold": None,
                "client_encoding": "utf8",  # whatever the role, the database or PGCLIENTENCODING sets
                "connect_timeout": 5,
                "keepalives_idle": 30,
            },
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction on a pooled connection.

        Raises:
            DatabaseUnavailable: it can't be reached, or can't take the work now; nothing was committed,
                or, where the connection was cut during the commit, it is not known.
            SchemaMissing: `backmarket db init` was never run.
            SettingsError: the role of the URL is neither the owner of our tables nor a member of it.
            InvalidArgument: a value does not fit its type, such as a NUL in a text.
            DatabaseError: anything else.
        """
        with _translate_errors():
            self._pool.open()
            try:
                taken = self._pool.getconn()
            except PoolTimeout:
                raise DatabaseUnavailable(f"PostgreSQL can't be reached: {self._why_not()}") from None
            try:
                with _marked(taken):
                    self._role_checked = self._role_checked or _check_role(taken)
                    yield taken
            finally:
                self._pool.putconn(taken)

    def _why_not(self) -> str:
        """Why no connection could be had, in PostgreSQL's or the network's own words, which name no password."""
        try:
            psycopg.connect(self.url, connect_timeout=3).close()
        except psycopg.OperationalError as error:
            return " ".join(str(error).split())
        return f"all {self._pool.max_size} connections of this process were in use for {self._timeout:g} s."

    def close(self) -> None:
        """Close every connection; the pool can't be used again."""
        self._pool.close()

    def listen(self, channel: str) -> Listener:
        """A connection of its own that hears what is announced on a channel. The caller closes it.

        Raises:
            DatabaseUnavailable: it can't be had.
        """
        with _translate_errors():
            connection = psycopg.connect(
                self.url,
                autocommit=True,
                application_name="backmarket-listen",
                prepare_threshold=None,
                client_encoding="utf8",
                connect_timeout=5,
                keepalives_idle=30,
            )
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            return Listener(connection)


class Listener:
    """A connection outside the pool, which hears announcements and reads.

    Behind a transaction pooler it hears nothing, and reads all the same. Once a method has raised, it is of no use
    any more.

    Args:
        connection: in autocommit.
    """

    def __init__(self, connection: psycopg.Connection[TupleRow]) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction; see `Database.transaction`.

        Raises:
            BackMarketError: as for `Database.transaction`.
        """
        with _translate_errors(), _marked(self._connection):
            yield self._connection

    def wait(self, timeout: float) -> bool:
        """Wait for an announcement.

        Args:
            timeout: seconds.

        Returns:
            Whether one came.

        Raises:
            DatabaseUnavailable: the connection was cut.
        """
        with _translate_errors():
            return any(True for _ in self._connection.notifies(timeout=timeout, stop_after=1))

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def _marked(connection: Transaction) -> Iterator[None]:
    """A transaction that is marked as a worker's; `psycopg.Rollback` undoes it quietly."""
    connection.execute(_BEGIN)
    try:
        yield
    except psycopg.Rollback:
        connection.rollback()
    except BaseException:  # Ctrl-C too: whatever it was leaves nothing behind, and goes on
        with suppress(psycopg.Error):  # the connection is gone, and the transaction with it
            connection.rollback()
        raise
    else:
        connection.commit()


def _check_role(transaction: Transaction) -> bool:
    """Whether our role is one that the tables' policies know; False: there are no tables yet.

    Raises:
        SettingsError: it is not: it would see no rows, and no error either.
    """
    row = transaction.execute(_ROLE).fetchone()
    if row is None:
        return False
    if not row[0]:
        raise SettingsError(
            "The role of BACKMARKET_DATABASE_URL sees no rows of backmarket's tables: connect as their owner, or make"
            f' the role a member of it (GRANT "{row[1]}" TO "{row[2]}").'
        )
    return True


_ROLE = """
SELECT pg_has_role(relowner, 'USAGE') OR NOT row_security_active(oid), pg_get_userbyid(relowner), current_user
FROM pg_class WHERE relname = 'connections'
  AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'backmarket')
"""


@contextmanager
def savepoint(transaction: Transaction) -> Iterator[None]:
    """A part of a transaction that can fail alone: an error undoes it, and what was done before stays.

    Raises:
        InvalidArgument: a value does not fit its type.
        BackMarketError: as for `Database.transaction`; the transaction can't go on.
    """
    with _translate_errors(), transaction.transaction():
        yield


_UNFIT: tuple[type[Exception], ...] = (
    psycopg.DataError,
    # the value's size or depth: operational errors to psycopg, but no later try helps
    pg.ProgramLimitExceeded,
    pg.StatementTooComplex,
)

_UNAVAILABLE: tuple[type[Exception], ...] = (
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
    psycopg.OperationalError,  # cut connections, shutdown, out of memory, disk full, lock timeout, deadlock
    pg.SerializationFailure,
)


def _check(connection: Transaction) -> None:
    """Whether a connection from the pool still is one, at no cost where it is.

    The server says that it ends a connection, or its system closes it; an idle one that is well has nothing to say.
    Without this, each connection that the pool held through a restart of PostgreSQL cost a task more, whose
    organization then waited for the end of its nudge, a minute each.
    """
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if poller.poll(0):
        ConnectionPool.check_connection(connection)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidArgument("PostgreSQL can't hold a text with lone surrogates.") from None
    except _UNFIT as error:
        raise InvalidArgument(f"PostgreSQL can't hold this value: {_describe(error)}") from None
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"PostgreSQL can't take the work now: {_describe(error)}") from None
    except pg.RaiseException as error:  # of `schema.sql`, in our own words
        raise SchemaMissing(error.diag.message_primary or "The schema was refused.") from None
    except (pg.UndefinedTable, pg.InvalidSchemaName, pg.UndefinedColumn) as error:
        raise SchemaMissing(
            f"The database lacks our tables, or has those of another version ({_describe(error)}): run `backmarket db"
            " init`, or `backmarket db migrate` where there are older ones; `backmarket doctor` says more."
        ) from None
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL refused a statement: {_describe(error)}") from None


def _describe(error: Exception) -> str:
    """The error's class, SQLSTATE and the names of what it concerns; never its text, which quotes values."""
    words: list[Any] = [type(error).__name__]
    if isinstance(error, psycopg.Error):
        words += [error.sqlstate, error.diag.table_name, error.diag.constraint_name, error.diag.column_name]
    return " ".join(str(word) for word in words if word)
