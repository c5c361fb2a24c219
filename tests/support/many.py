"""Many organizations and orders, made by PostgreSQL in seconds."""

from __future__ import annotations

from tests.support.databases import open_connection

LARGE = "large"
"""The organization that has half of all orders."""


def fill(url: str, *, organizations: int, orders: int, runs: int = 48) -> None:
    """Organizations with runs, and orders with lines, changes and writes; half of the orders are one organization's.

    Args:
        url: of an empty database.
        organizations: how many.
        orders: how many in all.
        runs: of each sync, one in half an hour.
    """
    values = {"organizations": organizations, "orders": orders, "large": LARGE, "runs": runs}
    with open_connection(url, autocommit=True) as connection:
        connection.execute("SET backmarket.worker = 'on'; SET synchronous_commit = off")
        for statement in _FILL.split(";"):
            if statement.strip():
                connection.execute(statement.encode(), values)
        connection.execute("VACUUM ANALYZE")


_FILL = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale, last_error_at,
    enabled)
SELECT CASE WHEN n = 0 THEN %(large)s ELSE 'seller-' || lpad(n::text, 6, '0') END, 'sealed', 'account-' || n,
    'production', 'EU', 'fr-fr', CASE WHEN n %% 100 = 1 THEN now() END, n %% 250 <> 2
FROM generate_series(0, %(organizations)s - 1) n;

INSERT INTO backmarket.sync_state (organization_id, resource, last_started_at, last_success_at, next_due_at,
    sync_due_at, failing_since, failures, error_code, error)
SELECT c.organization_id, s.resource, now(), now() - random() * interval '5 min', now() + random() * interval '5 min',
    now() + interval '5 min', c.last_error_at, CASE WHEN c.last_error_at IS NULL THEN 0 ELSE 3 END,
    CASE WHEN c.last_error_at IS NOT NULL THEN 'server_error' END,
    CASE WHEN c.last_error_at IS NOT NULL THEN 'Back Market answered 502.' END
FROM backmarket.connections c CROSS JOIN backmarket.schedule s;

INSERT INTO backmarket.sync_runs (organization_id, resource, kind, outcome, started_at, finished_at, serving, requests,
    rows_created, rows_updated, rows_unchanged, rows_removed, rows_rejected, behind)
SELECT s.organization_id, s.resource, 'incremental', CASE WHEN n %% 20 = 0 THEN 'failed' ELSE 'done' END,
    now() - n * interval '30 min', now() - n * interval '30 min', 0, 1, 1, 1, 0, 0, 0, 300 + random() * 600
FROM backmarket.sync_state s CROSS JOIN generate_series(1, %(runs)s) n;

INSERT INTO backmarket.orders (organization_id, order_id, state, country_code, date_creation, date_modification,
    tracking_number, price, currency, raw, content, shipping_address)
SELECT CASE WHEN n %% 2 = 0 THEN %(large)s
        ELSE 'seller-' || lpad((1 + n / 2 %% (%(organizations)s - 1))::text, 6, '0') END, n,
    CASE WHEN n %% 5000 IN (0, 1) THEN 1 ELSE 9 END, CASE WHEN n %% 3000 IN (0, 1) THEN 'sk-sk' ELSE 'fr-fr' END,
    timestamptz '2024-01-01' + n * interval '1 min', now(), 'T-' || n, n %% 1000, 'EUR',
    jsonb_build_object('order_id', n, 'filling', repeat('x', 300)), n,
    jsonb_build_object('firstName', 'Name' || chr(97 + n / 676 %% 26),
        'lastName', chr(65 + n %% 26) || 'amily' || chr(97 + n / 26 %% 26))
FROM generate_series(1, %(orders)s) n;

INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, state, listing, quantity, raw, imei,
    serial_number)
SELECT organization_id, order_id, order_id, state, 'SKU-' || order_id %% 20000, 1, '{}',
    CASE WHEN order_id %% 2 = 0 THEN (350000000000000 + order_id)::text ELSE '' END,
    CASE WHEN order_id %% 2 = 1 THEN 'SN' || order_id ELSE '' END
FROM backmarket.orders;

INSERT INTO backmarket.listings (organization_id, listing_id, legacy_listing_id, sku, title, publication_state,
    quantity, price, currency, raw, content)
SELECT %(large)s, lpad(to_hex(n), 32, '0')::uuid, n, 'SKU-' || n, 'iPhone ' || n %% 40 || ' 128 Go', 1, n %% 10, 100,
    'EUR', jsonb_build_object('filling', repeat('x', 300)), n
FROM generate_series(1, LEAST(20000, %(orders)s)) n;

INSERT INTO backmarket.deliveries (organization_id, shipment_id, order_id, date_creation, tracking_number, raw, content)
SELECT organization_id, order_id, order_id, date_creation, 'D-' || order_id, '{}', 1
FROM backmarket.orders WHERE order_id %% 4 = 0;

INSERT INTO backmarket.returns (organization_id, shipment_id, order_id, date_creation, tracking_number, raw, content)
SELECT organization_id, order_id, order_id, date_creation, 'R-' || order_id, '{}', 1
FROM backmarket.orders WHERE order_id %% 20 = 0;

INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)
SELECT organization_id, 'orders', order_id::text, 'created' FROM backmarket.orders;

INSERT INTO backmarket.api_writes (organization_id, kind, object_id, lane, request, locale, environment, region, state,
    settled_at)
SELECT %(large)s, 'update_order', n::text, 'order/' || n, '{"new_state": 2}', 'fr-fr', 'production', 'EU', 'succeeded',
    now()
FROM generate_series(2, LEAST(100000, %(orders)s), 2) n;

INSERT INTO backmarket.bulk_jobs (organization_id, id, state, object_prefix, locale, environment, region, header, lines,
    fingerprint, waits_until)
SELECT %(large)s, n, 'waiting_for_quota', 'bulk/' || n || '/', 'fr-fr', 'production', 'EU', 'sku', 500, '', now()
FROM generate_series(1, 20) n;

INSERT INTO backmarket.bulk_parts (organization_id, job_id, number, state, byte_offset, byte_length, lines,
    line_numbers)
SELECT %(large)s, job, n, CASE WHEN n %% 100 = 0 THEN 'failed' ELSE 'pending' END, 0, 1, 1, '{1}'
FROM generate_series(1, 20) job CROSS JOIN generate_series(1, LEAST(2000, %(orders)s / 100)) n
"""
