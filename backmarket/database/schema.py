"""The tables of the database: making them, bringing older ones to this version, and telling which version is there.

`schema.sql` is the truth. `migrations/` has what it can't do by running again.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from backmarket.database.connection import SCHEMA_VERSION, Database, Transaction
from backmarket.errors import SchemaDiffers, SchemaMissing, SettingsError

PROCESS_ROLES = ("backmarket_worker", "backmarket_console", "backmarket_metrics")
"""The roles to which `schema.sql` grants what each process needs, where they exist."""

LOCK_SECONDS = 10
"""How long a migration waits for a table in use; statements that come later wait behind it."""

TURN_SECONDS = 60
"""How long a caller waits for another one that is migrating."""


def version(database: Database) -> int | None:
    """The version of the database's schema; None: it has none.

    Raises:
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        return _version(transaction)


def check(database: Database) -> None:
    """Make sure that the database is encoded as UTF-8 and has the schema of this version.

    Raises:
        SettingsError: if the database has another encoding.
        SchemaMissing: if it has no schema.
        SchemaDiffers: if it has an older or a newer one; the text says what to do.
        BackMarketError: as for `Database.transaction`.
    """
    with database.transaction() as transaction:
        check_encoding(transaction)
        found = _version(transaction)
    if found is None:
        raise SchemaMissing("The database has no backmarket tables. Run `backmarket db init`.")
    if found != SCHEMA_VERSION:
        raise SchemaDiffers(_difference(found))


def check_encoding(transaction: Transaction) -> None:
    """Refuse a database that can't hold every text of the API.

    Raises:
        SettingsError: if its encoding is not UTF8.
    """
    row = transaction.execute("SELECT convert_to(current_setting('server_encoding'), 'SQL_ASCII')").fetchone()
    encoding = bytes(row[0]).decode("ascii") if row else "unknown"  # a text comes as bytes where it is SQL_ASCII
    if encoding != "UTF8":
        raise SettingsError(
            f"The database's encoding is {encoding}, which can't hold every name and address."
            " Create another one (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0), and name it in"
            " BACKMARKET_DATABASE_URL."
        )


def apply_schema(database: Database, *, migrate: bool = True) -> list[int]:
    """Create the tables, or migrate older ones to this version without losing a row; harmless to repeat.

    Two callers at once take turns. A caller that is killed has done whole steps, and the next one continues.

    Args:
        migrate: migrate older tables, too.

    Returns:
        The versions that it went through, the last one being this program's; empty if there was nothing to migrate.

    Raises:
        SettingsError: if the database's encoding is not UTF8.
        SchemaDiffers: if the tables are newer than this program; or older, and `migrate` is False.
        SchemaMissing: if the database lacks what the schema can't create; the text says what.
        DatabaseUnavailable: if PostgreSQL is unreachable, or a table was in use for too long: try again.
    """
    with database.transaction() as transaction:
        check_encoding(transaction)
    passed: list[int] = []
    while (found := version(database)) not in {None, SCHEMA_VERSION}:
        assert found is not None  # noqa: S101 - what the set says
        if found > SCHEMA_VERSION or not migrate:
            raise SchemaDiffers(_difference(found))
        if _step(database, found):
            passed.append(found + 1)
    with database.transaction() as transaction:
        _lock(transaction)
        transaction.execute(schema_text().encode())
    return passed


def schema_text() -> str:
    """The text of `schema.sql`, from the wheel or, in a checkout, from its root."""
    packaged = resources.files("backmarket") / "schema.sql"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "schema.sql").read_text(encoding="utf-8")


def migration_text(to: int) -> str:
    """What leads to a version from the one before."""
    return (resources.files("backmarket.database.migrations") / f"{to}.sql").read_text(encoding="utf-8")


def _step(database: Database, found: int) -> bool:
    """From one version to the next; False: another did it meanwhile."""
    with database.transaction() as transaction:
        _lock(transaction)
        if _version(transaction) != found:
            return False
        transaction.execute(migration_text(found + 1).encode())
        transaction.execute("INSERT INTO backmarket.schema_version (version) VALUES (%s)", (found + 1,))
    return True


def _lock(transaction: Transaction) -> None:
    """Take turns, by a lock that no reader can take. Each later wait for a table in use is limited, too.

    Where there are no tables yet, the schema's name is the lock: the second caller waits until the first has committed.
    """
    transaction.execute(f"SET LOCAL lock_timeout = '{TURN_SECONDS}s'".encode())
    transaction.execute(_CREATE)
    if _version(transaction) is not None:
        transaction.execute(b"LOCK TABLE backmarket.schema_version IN SHARE ROW EXCLUSIVE MODE")
    transaction.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'".encode())


_CREATE = b"""
DO $$
BEGIN
    IF to_regnamespace('backmarket') IS NULL THEN
        CREATE SCHEMA backmarket;
    END IF;
EXCEPTION
    WHEN unique_violation OR duplicate_schema THEN
        NULL;               -- another caller has just created it
END
$$
"""


def _version(transaction: Transaction) -> int | None:
    there = transaction.execute("SELECT to_regclass('backmarket.schema_version') IS NOT NULL").fetchone()
    if there != (True,):
        return None
    row = transaction.execute("SELECT max(version) FROM backmarket.schema_version").fetchone()
    return row[0] if row else None


def _difference(found: int) -> str:
    if found > SCHEMA_VERSION:
        return (
            f"The database has schema version {found}, and this program knows {SCHEMA_VERSION} at most:"
            " run a newer version of it."
        )
    return (
        f"The database has schema version {found}, and this program needs {SCHEMA_VERSION}:"
        " stop the workers, make a backup, and run `backmarket db migrate`."
    )
