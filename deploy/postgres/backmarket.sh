#!/bin/sh
# Run once by the PostgreSQL image, in an empty data directory: the owner of the tables is no superuser, so that
# row-level security binds it, too; workers, console and exporter have logins of their own (docs/deployment.md).
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$BACKMARKET_DB_PASSWORD" --set=worker="$BACKMARKET_DB_WORKER_PASSWORD" \
    --set=console="$BACKMARKET_DB_CONSOLE_PASSWORD" --set=metrics="$BACKMARKET_DB_METRICS_PASSWORD" \
    --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
CREATE ROLE backmarket LOGIN PASSWORD :'password';
CREATE ROLE backmarket_reader NOLOGIN;
GRANT backmarket_reader TO backmarket WITH ADMIN OPTION;
CREATE ROLE backmarket_worker NOLOGIN;
CREATE ROLE backmarket_console NOLOGIN;
CREATE ROLE backmarket_metrics NOLOGIN;
CREATE ROLE worker LOGIN PASSWORD :'worker' IN ROLE backmarket_worker;
CREATE ROLE console LOGIN PASSWORD :'console' IN ROLE backmarket_console;
CREATE ROLE metrics LOGIN PASSWORD :'metrics' IN ROLE backmarket_metrics;
CREATE DATABASE backmarket OWNER backmarket;
SQL
