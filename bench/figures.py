"""How long figures take to count: 1,000,000 orders of one organization within a year, and as many of 10,000 others.

    python -m bench.figures [--orders 1000000] [--organizations 10000]

Rows are as wide as real ones. Medians of some calls; the first one of each is told apart.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time

import psycopg
from cryptography.fernet import Fernet

from backmarket import BackMarket
from backmarket.errors import InvalidArgument
from backmarket.queries.periods import Span
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from bench.setting import machine
from tests.support.databases import open_connection

LARGE, USUAL = "large", "seller-000007"
TRIES = 5


def main() -> None:
    """Fill a database and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--organizations", type=int, default=10_000)
    asked = parser.parse_args()
    print(machine())
    with Stack(services=("postgres",)) as stack:
        url = stack.addresses.database_url
        settings = Settings(
            database_url=url, secret_keys=(Fernet.generate_key().decode(),), limiter_key=secrets.token_hex(16)
        )
        with BackMarket(settings) as bm:
            bm.apply_schema()
            _fill(url, asked.orders, asked.organizations)
            for name in (LARGE, USUAL, None):
                for span in Span:
                    _measure(bm, name, span)


def _fill(url: str, orders: int, organizations: int) -> None:
    began = time.monotonic()
    values = {"orders": orders, "organizations": organizations, "large": LARGE}
    with open_connection(url, autocommit=True) as connection:
        connection.execute("SET backmarket.worker = 'on'; SET synchronous_commit = off")
        for statement in _FILL.split(";"):
            connection.execute(statement.encode(), values)
        connection.execute("VACUUM ANALYZE")
    print(f"{2 * orders} orders of {organizations} organizations made in {time.monotonic() - began:.0f} s")
    _sizes(url)


def _sizes(url: str) -> None:
    with psycopg.connect(url) as connection:
        for name, size in connection.execute(_SIZES):
            print(f"{name:25} {size}")


def _measure(bm: BackMarket, organization: str | None, span: Span) -> None:
    took, said = [], ""
    for _ in range(TRIES):
        began = time.perf_counter()
        try:
            found = bm.get_figures(organization, span=span)
            said = f"{found.total().orders} orders"
        except InvalidArgument as error:
            said = error.message
        took.append(time.perf_counter() - began)
    median = statistics.median(took)
    print(f"{organization or 'all':15} {span:8} {median * 1000:7.0f} ms, first {took[0] * 1000:7.0f} ms, {said}")


_FILL = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)
SELECT CASE WHEN n = 0 THEN %(large)s ELSE 'seller-' || lpad(n::text, 6, '0') END, 'sealed', 'account-' || n,
    'production', 'EU', 'fr-fr'
FROM generate_series(0, %(organizations)s - 1) n;

INSERT INTO backmarket.sync_state (organization_id, resource, watermark)
SELECT organization_id, resource, now() FROM backmarket.connections CROSS JOIN backmarket.schedule;

INSERT INTO backmarket.orders (organization_id, order_id, state, country_code, date_creation, date_modification,
    date_shipping, expected_dispatch_date, tracking_number, price, currency, raw, content)
SELECT CASE WHEN n %% 2 = 0 THEN %(large)s
        ELSE 'seller-' || lpad((1 + n / 2 %% (%(organizations)s - 1))::text, 6, '0') END, n,
    CASE WHEN n > 1.99 * %(orders)s THEN 3 ELSE 9 END,
    (ARRAY['fr-fr', 'de-de', 'es-es', 'it-it', 'en-gb'])[1 + n / 7 %% 5], at, at + interval '2 days',
    CASE WHEN n <= 1.99 * %(orders)s THEN at + interval '1 hour' * (n %% 60) END, at + interval '48 hours', 'T-' || n,
    n %% 1000, CASE WHEN n / 7 %% 5 = 4 THEN 'GBP' ELSE 'EUR' END, filling, n
FROM generate_series(1, 2 * %(orders)s) n
CROSS JOIN LATERAL (SELECT now() - interval '365 days' * (1 - n / (2.0 * %(orders)s)) AS at) AS a
CROSS JOIN (
    SELECT jsonb_object_agg('field_' || i, md5(i::text)) AS filling FROM generate_series(1, 22) i
) AS f;

INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, state, date_creation, price, currency,
    listing, product, quantity, raw)
SELECT o.organization_id, 2 * o.order_id + line, o.order_id,
    CASE WHEN o.order_id %% 25 = 0 THEN 4 WHEN o.order_id %% 12 = 0 THEN 6 ELSE 3 END, o.date_creation, o.price,
    o.currency, 'SKU-' || o.order_id %% 5000, 'iPhone 12 128 Go', 1, filling
FROM backmarket.orders o
CROSS JOIN LATERAL generate_series(0, (o.order_id %% 10 = 0)::integer) line
CROSS JOIN (
    SELECT jsonb_object_agg('field_' || i, md5(i::text)) AS filling FROM generate_series(1, 10) i
) AS f;

INSERT INTO backmarket.listings (organization_id, listing_id, legacy_listing_id, sku, title, publication_state,
    quantity, price, currency, raw, content)
SELECT %(large)s, lpad(to_hex(n), 32, '0')::uuid, n, 'SKU-' || n, 'iPhone ' || n %% 40 || ' 128 Go', 1, n %% 10, 100,
    'EUR', '{}', n
FROM generate_series(1, 5000) n;

INSERT INTO backmarket.returns (organization_id, shipment_id, order_id, date_creation, raw, content)
SELECT organization_id, order_id, order_id, date_creation + interval '9 days', '{}', 1
FROM backmarket.orders WHERE order_id %% 12 = 0
"""

_SIZES = """
SELECT relname, pg_size_pretty(pg_relation_size(oid)) FROM pg_class
WHERE relnamespace = 'backmarket'::regnamespace AND relkind IN ('r', 'i') AND pg_relation_size(oid) > 5e6
ORDER BY pg_relation_size(oid) DESC
"""


if __name__ == "__main__":
    main()
