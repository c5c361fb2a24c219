"""Django's migrations of its own table, the cursor of the change feed."""
