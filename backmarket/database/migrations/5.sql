-- Writes and jobs name who asked for them. The table of the audit trail and its partitions are made by `schema.sql`.
ALTER TABLE backmarket.api_writes ADD asked_by text;
ALTER TABLE backmarket.bulk_jobs ADD asked_by text;
