"""PostgreSQL: the pool, transactions, and the one border that psycopg's errors cross.

A database error's details quote row values (names, addresses), so nothing of its text goes further than this
file: what leaves is a class of ours with the SQLSTATE and the names of table and constraint.

Row-level security binds owner and processes, too; our transactions are marked as a worker's (docs/decisions/0009).
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from backmarket.database.conninfo import connection_text
from backmarket.errors import (
    BackMarketError,
    DatabaseUnavailable,
    InvalidArgument,
    SchemaMissing,
    SettingsError,
    StatementTimedOut,
)

SCHEMA_VERSION = 8
"""The version that `schema.sql` writes into `schema_version`."""

Transaction = psycopg.Connection[TupleRow]
"""An open connection inside a transaction; it commits when its `with` block ends well."""

PREPARE_AFTER = 5
"""Uses of a statement on a connection after which it is prepared there: planning is more than half of its cost."""

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
    """PostgreSQL refused a statement, because of an error in this program or in the schema."""

    code = "database_error"


class Database:
    """The connections of one process to PostgreSQL. Open it after a fork, never before.

    Args:
        url: a libpq URL.
        size: maximum number of connections; further callers wait.
        timeout: seconds that a caller waits for a connection.
        statement_timeout: seconds after which PostgreSQL cancels a statement; 0: never. For callers that can't wait:
            most work is bounded by its lease instead.

    Raises:
        SettingsError: if the URL is malformed.
    """

    def __init__(self, url: str, *, size: int = 8, timeout: float = 10.0, statement_timeout: float = 0.0) -> None:
        text = connection_text(url, application_name="backmarket")
        self.url = url
        self._timeout = timeout
        self._begin = _BEGIN
        if statement_timeout:
            self._begin += f"; SET LOCAL statement_timeout = {round(statement_timeout * 1000)}".encode()
        self._role_checked = False
        self._pool = ConnectionPool(
            text,
            min_size=0,
            max_size=size,
            timeout=timeout,
            # the pauses between two tries double until then; by default for 5 minutes, and the pool slept long past the
            # end of an outage: a minute and more, in which no caller got a connection
            reconnect_timeout=timeout,
            open=False,
            check=_check,
            configure=_prepare_where_possible,
            name="backmarket",
            kwargs={
                "autocommit": True,  # transactions are opened by `_BEGIN`
                "prepare_threshold": None,
                "client_encoding": "utf8",  # whatever the role, the database or PGCLIENTENCODING sets
            },
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction on a pooled connection.

        Raises:
            DatabaseUnavailable: if PostgreSQL is unreachable, or can't take the work now; nothing was committed. If
                the connection was cut during the commit, it may have been.
            SchemaMissing: if `backmarket db init` was never run.
            SettingsError: if the login of the URL lacks a right; the text says who has to do what.
            InvalidArgument: if a value does not fit its type, such as a NUL in a text.
            DatabaseError: if anything else failed.
        """
        with _translate_errors():
            self._pool.open()
            try:
                taken = self._pool.getconn()
            except PoolTimeout:
                raise DatabaseUnavailable(f"PostgreSQL is unreachable: {self._why_not()}") from None
            try:
                with _told_if_cut(taken), _marked(taken, self._begin):
                    self._role_checked = self._role_checked or _check_role(taken)
                    yield taken
            finally:
                self._pool.putconn(taken)

    def _why_not(self) -> str:
        """Why no connection could be had, in PostgreSQL's or the network's own words, which name no password."""
        try:
            psycopg.connect(connection_text(self.url, connect_timeout=3)).close()
        except psycopg.OperationalError as error:
            return " ".join(str(error).split())
        return f"all {self._pool.max_size} connections of this process were in use for {self._timeout:g} s."

    def close(self) -> None:
        """Close every connection; the pool cannot be used again."""
        self._pool.close()

    def listen(self, channel: str) -> Listener:
        """Open a connection of its own that receives the notifications of a channel. The caller closes it.

        Raises:
            DatabaseUnavailable: if PostgreSQL is unreachable.
        """
        with _translate_errors():
            text = connection_text(self.url, application_name="backmarket-listen")
            connection = psycopg.connect(text, autocommit=True, prepare_threshold=None, client_encoding="utf8")
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            return Listener(connection)


class Listener:
    """A connection outside the pool that receives notifications and reads.

    Behind a transaction pooler it receives none, and still reads. Once a method has raised, it cannot be used again.

    Args:
        connection: in autocommit mode.
    """

    def __init__(self, connection: psycopg.Connection[TupleRow]) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction; see `Database.transaction`.

        Raises:
            BackMarketError: as for `Database.transaction`.
        """
        with _translate_errors(), _told_if_cut(self._connection), _marked(self._connection, _BEGIN):
            yield self._connection

    def wait(self, timeout: float) -> bool:
        """Wait for a notification.

        Args:
            timeout: seconds.

        Returns:
            Whether one came.

        Raises:
            DatabaseUnavailable: if the connection was cut.
        """
        with _translate_errors():
            return any(True for _ in self._connection.notifies(timeout=timeout, stop_after=1))

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def _told_if_cut(connection: Transaction) -> Iterator[None]:
    """Take any error that closed the connection for an outage: a pooler cuts clients with errors of its own.

    psycopg raises a bare ValueError where the end of a COPY is answered twice, by a server that ends and by PgBouncer
    (`psycopg.generators.copy_end`).
    """
    try:
        yield
    except (psycopg.Error, ValueError) as error:
        if connection.closed:
            raise psycopg.OperationalError from error
        raise


@contextmanager
def _marked(connection: Transaction, begin: bytes) -> Iterator[None]:
    """A transaction that is marked as a worker's; `psycopg.Rollback` undoes it quietly."""
    connection.execute(begin)
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
    """Whether the tables' policies let our role see rows; False: there are no tables yet.

    Raises:
        SettingsError: if they don't: the role would see no rows, and no error either.
    """
    row = transaction.execute(_ROLE).fetchone()
    if row is None:
        return False
    if not row[0]:
        raise SettingsError(
            "The role of BACKMARKET_DATABASE_URL sees no rows of backmarket's tables: connect as their owner, or let an"
            f' administrator run GRANT backmarket_worker TO "{row[1]}", and the owner'
            " `backmarket db migrate`."
        )
    return True


# The owner may always come in, to migrate. Our policies for all statements are the owner's and the processes'.
_ROLE = """
SELECT pg_has_role(relowner, 'USAGE') OR NOT row_security_active(oid) OR EXISTS (
    SELECT FROM pg_policy, unnest(polroles) AS role
    WHERE polrelid = pg_class.oid AND polcmd = '*' AND pg_has_role(role, 'USAGE')
), current_user
FROM pg_class WHERE relname = 'connections'
  AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'backmarket')
"""


@contextmanager
def savepoint(transaction: Transaction) -> Iterator[None]:
    """A part of a transaction that can fail alone: an error undoes it, and what was done before stays.

    Raises:
        InvalidArgument: if a value does not fit its type.
        BackMarketError: as for `Database.transaction`; the transaction cannot continue.
    """
    with _translate_errors(), _told_if_cut(transaction), transaction.transaction():
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
    pg.ReadOnlySqlTransaction,  # a standby, or a primary that is one since a moment
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


def _prepare_where_possible(connection: Transaction) -> None:
    """Let psycopg prepare statements by name, unless a pooler stands in between: it may run each transaction elsewhere.

    A pooler has given the connection a process id of its own; without one it is the server process's.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is not None and row[0] == connection.info.backend_pid:
        connection.prepare_threshold = PREPARE_AFTER


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidArgument("PostgreSQL can't hold a text with lone surrogates.") from None
    except _UNFIT as error:
        raise InvalidArgument(f"PostgreSQL can't hold this value: {_describe(error)}") from None
    except pg.QueryCanceled as error:
        raise StatementTimedOut(f"PostgreSQL cannot take the work now: {_describe(error)}") from None
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot take the work now: {_describe(error)}") from None
    except pg.RaiseException as error:  # of `schema.sql`, in our own words
        raise SchemaMissing(error.diag.message_primary or "The schema was refused.") from None
    except (pg.UndefinedTable, pg.InvalidSchemaName, pg.UndefinedColumn) as error:
        raise SchemaMissing(
            f"The database lacks our tables, or has those of another version ({_describe(error)}): run `backmarket db"
            " init`, or `backmarket db migrate` where there are older ones; `backmarket doctor` says more."
        ) from None
    except pg.InsufficientPrivilege as error:  # its text names a table, a schema or a function; it quotes no value
        raise SettingsError(
            f"The login of BACKMARKET_DATABASE_URL lacks a right ({error.diag.message_primary}): grant it its process's"
            " role, and run `backmarket db migrate` as the owner of the tables."
        ) from None
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL refused a statement: {_describe(error)}") from None


def _describe(error: Exception) -> str:
    """The error's class, SQLSTATE and the names of what it concerns; never its text, which quotes values."""
    words: list[Any] = [type(error).__name__]
    if isinstance(error, psycopg.Error):
        words += [error.sqlstate, error.diag.table_name, error.diag.constraint_name, error.diag.column_name]
    return " ".join(str(word) for word in words if word)
