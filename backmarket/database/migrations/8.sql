-- Find: rows of all organizations by a number, a SKU, or the beginning of the customer's name. The column rewrites the table
-- of orders, so indexes that change go before it.
CREATE FUNCTION backmarket.folded(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT NULLIF(btrim(regexp_replace(
        translate(replace(lower(regexp_replace(normalize($1, NFKD), '[\u0300-\u036f]', '', 'g')), 'ß', 'ss'),
            'øłđ''’', 'old'), '[[:space:].,%_\\-]+', ' ', 'g')), '')
$$;
CREATE FUNCTION backmarket.name_key(jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT backmarket.folded(left(COALESCE($1 ->> 'lastName', '') || ' ' || COALESCE($1 ->> 'firstName', ''), 200))
$$;
DROP INDEX backmarket.orders_tracking, backmarket.orderlines_sku, backmarket.listings_sku;
ALTER TABLE backmarket.orders ADD name_key text COLLATE "C" GENERATED ALWAYS AS (
    COALESCE(backmarket.name_key(shipping_address), backmarket.name_key(billing_address))) STORED;
CREATE INDEX orders_number ON backmarket.orders ((CASE WHEN order_id > 0 THEN order_id END));
CREATE INDEX orders_tracking ON backmarket.orders (tracking_number);
CREATE INDEX orders_name ON backmarket.orders (name_key, organization_id, order_id DESC) WHERE name_key IS NOT NULL;
CREATE INDEX orderlines_sku ON backmarket.orderlines (sku_key, organization_id);
CREATE INDEX orderlines_imei ON backmarket.orderlines (imei) WHERE imei <> '';
CREATE INDEX orderlines_serial_number ON backmarket.orderlines (serial_number) WHERE serial_number <> '';
CREATE INDEX listings_sku ON backmarket.listings (sku_key, organization_id);
CREATE INDEX deliveries_tracking ON backmarket.deliveries (tracking_number);
CREATE INDEX returns_tracking ON backmarket.returns (tracking_number);
-- Figures are counted from these indexes alone, which have more columns now.
DROP INDEX backmarket.orders_newest, backmarket.orderlines_order;
CREATE INDEX orders_newest ON backmarket.orders (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC)
INCLUDE (date_creation, state, country_code, currency, date_shipping, expected_dispatch_date, removed_at);
CREATE INDEX orderlines_order ON backmarket.orderlines (organization_id, order_id)
INCLUDE (state, price, currency, quantity, removed_at, sku_key);

-- Events of the inbox: `schema.sql` makes the table of the entries that have one.
-- A listing's price and state belong to a market: syncs are of one market each (decision 0021). `schema.sql` makes the table
-- `listing_markets`. A column with a constant default costs no row; only the keys of small tables are built again. That of
-- `sync_runs` stays, which is unique without the market.
ALTER TABLE backmarket.connections ADD markets text[] NOT NULL DEFAULT '{}';
ALTER TABLE backmarket.sync_runs ADD market text NOT NULL DEFAULT '';
ALTER TABLE backmarket.changes ADD market text NOT NULL DEFAULT '';
ALTER TABLE backmarket.sync_state ADD market text NOT NULL DEFAULT '';
ALTER TABLE backmarket.walks ADD market text NOT NULL DEFAULT '';
ALTER TABLE backmarket.walk_seen ADD market text NOT NULL DEFAULT '';
ALTER TABLE backmarket.walk_seen DROP CONSTRAINT walk_seen_organization_id_resource_kind_fkey;
ALTER TABLE backmarket.walks DROP CONSTRAINT walks_organization_id_resource_fkey;
ALTER TABLE backmarket.sync_state DROP CONSTRAINT sync_state_pkey,
    ADD PRIMARY KEY (organization_id, resource, market);
ALTER TABLE backmarket.walks DROP CONSTRAINT walks_pkey, ADD PRIMARY KEY (organization_id, resource, market, kind),
    ADD FOREIGN KEY (organization_id, resource, market) REFERENCES backmarket.sync_state ON DELETE CASCADE;
ALTER TABLE backmarket.walk_seen DROP CONSTRAINT walk_seen_pkey,
    ADD PRIMARY KEY (organization_id, resource, market, kind, pass, first_page),
    ADD FOREIGN KEY (organization_id, resource, market, kind) REFERENCES backmarket.walks ON DELETE CASCADE;
-- How the files of a seller are written is remembered: `schema.sql` makes the table `bulk_formats`.
