"""The schema, where it can't be applied."""

import pytest

from backmarket.database import Database, apply_schema
from backmarket.errors import SchemaMissing


def test_tables_of_an_older_version_are_said_to_be_that(database_url: str) -> None:
    database = Database(database_url)
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE backmarket.labels DROP COLUMN due_at")
    with pytest.raises(SchemaMissing, match="older version"):
        apply_schema(database)
    database.close()
