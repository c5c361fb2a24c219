"""How the files of a seller are written, as a person chose it last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg.types.json import Jsonb

from backmarket.bulk.csv_file.amounts import Notation
from backmarket.bulk.csv_file.column_map import MAX_COLUMNS, ColumnMap, column_key
from backmarket.bulk.csv_file.dialect import check_encoding
from backmarket.connections.connection import select
from backmarket.database import Database
from backmarket.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """How files are written.

    Attributes:
        encoding: of the bytes; None: detected.
        decimal: the decimal sign of amounts, `.` or `,`; None: a point.
        thousands: between the thousands of amounts; None: nothing is.
        columns: the names of columns in the files, in lower case, and those under which they are sent; empty: left out.
    """

    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Notation(self.decimal, self.thousands)
        ColumnMap(self.columns)
        if len(self.columns) > MAX_COLUMNS:
            raise InvalidArgument(f"At most {MAX_COLUMNS} columns are remembered. Match those of the file alone.")
        if self.encoding is not None:
            check_encoding(self.encoding)


def get(database: Database, organization_id: str) -> FileFormat:
    """The format of a seller's files; nothing is chosen if none was saved."""
    with database.transaction() as transaction:
        row = transaction.execute(_GET, (organization_id,)).fetchone()
    return (
        FileFormat() if row is None else FileFormat(encoding=row[0], decimal=row[1], thousands=row[2], columns=row[3])
    )


def save(database: Database, organization_id: str, chosen: FileFormat) -> None:
    """Save the format of a seller's files. Columns that were matched before stay matched, up to 500.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    columns = {column_key(name): sent_as.strip() for name, sent_as in chosen.columns.items()}
    values = {
        "organization": organization_id,
        "encoding": chosen.encoding and check_encoding(chosen.encoding),
        "decimal": chosen.decimal,
        "thousands": chosen.thousands,
        "columns": Jsonb(columns),
        "most": MAX_COLUMNS,
    }
    with database.transaction() as transaction:
        if transaction.execute(_SAVE, values).rowcount == 0:
            select(transaction, organization_id)  # raises


_GET = "SELECT encoding, decimal, thousands, columns FROM backmarket.bulk_formats WHERE organization_id = %s"

_SAVE = """
INSERT INTO backmarket.bulk_formats AS f (organization_id, encoding, decimal, thousands, columns)
SELECT organization_id, %(encoding)s, %(decimal)s, %(thousands)s, %(columns)s
FROM backmarket.connections WHERE organization_id = %(organization)s
ON CONFLICT (organization_id) DO UPDATE SET
    encoding = excluded.encoding, decimal = excluded.decimal, thousands = excluded.thousands,
    columns = CASE
        WHEN (SELECT count(*) FROM jsonb_object_keys(f.columns || excluded.columns)) <= %(most)s
        THEN f.columns || excluded.columns ELSE excluded.columns END
"""
