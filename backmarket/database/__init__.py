"""PostgreSQL: the only code that opens connections to it; the schema, and what is stored encrypted.

`connection.py` has the border that every error of PostgreSQL's crosses; `schema.py` makes and migrates the tables;
`encryption.py` keeps the sellers' API keys unreadable at rest.
"""

from backmarket.database.connection import SCHEMA_VERSION, Database, DatabaseError, Listener, Transaction, savepoint

__all__ = ["SCHEMA_VERSION", "Database", "DatabaseError", "Listener", "Transaction", "savepoint"]
