#!/bin/sh
# Run once by the PostgreSQL image, in an empty data directory: the owner of the tables is no superuser, so that
# row-level security binds it, too.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$BACKMARKET_DB_PASSWORD" --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
CREATE ROLE backmarket LOGIN PASSWORD :'password';
CREATE ROLE backmarket_reader NOLOGIN;
GRANT backmarket_reader TO backmarket WITH ADMIN OPTION;
CREATE DATABASE backmarket OWNER backmarket;
SQL
