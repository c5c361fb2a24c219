-- Writes and jobs name who asked for them. The new tables (sessions of the console, the audit trail, locks) are made by
-- `schema.sql`. Locks became rows: a worker of version 4, which takes advisory locks, must not run beside one of version 5.
ALTER TABLE backmarket.api_writes ADD asked_by text;
ALTER TABLE backmarket.bulk_jobs ADD asked_by text;
