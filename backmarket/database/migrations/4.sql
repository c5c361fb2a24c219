-- Behind a row policy no index answers a comparison with COALESCE, which PostgreSQL takes for one that may tell of rows.
DROP INDEX backmarket.orders_newest, backmarket.orders_state, backmarket.orders_country, backmarket.orders_erasable,
    backmarket.deliveries_newest, backmarket.returns_newest;
CREATE INDEX orders_newest ON backmarket.orders (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC);
CREATE INDEX orders_state ON backmarket.orders (
    organization_id, state, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC)
WHERE state <> 9;
CREATE INDEX orders_country ON backmarket.orders (
    organization_id, country_code, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC,
    order_id DESC);
CREATE INDEX orders_erasable ON backmarket.orders (
    (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END))
WHERE erased_at IS NULL;
CREATE INDEX deliveries_newest ON backmarket.deliveries (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, shipment_id DESC);
CREATE INDEX returns_newest ON backmarket.returns (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, shipment_id DESC);

-- What a full walk found wrong stays until the next one. The code of a run that went well stood in the columns of errors.
ALTER TABLE backmarket.sync_state ADD rows_missing bigint NOT NULL DEFAULT 0;
ALTER TABLE backmarket.sync_state ADD rows_rejected bigint NOT NULL DEFAULT 0;
UPDATE backmarket.sync_state SET rows_missing = 1 WHERE error_code = 'many_missing';
UPDATE backmarket.sync_state SET error_code = NULL, error = NULL WHERE error_code = 'many_missing';
-- A failover that lost a checkpoint is noticed.
ALTER TABLE backmarket.walks ADD saves bigint NOT NULL DEFAULT 1;
-- A row that is modified during a walk does not cost a second one. What an unfinished walk has seen is kept as it was.
ALTER TABLE backmarket.walks ADD counted bigint;
ALTER TABLE backmarket.walks ADD steady boolean NOT NULL DEFAULT false;
ALTER TABLE backmarket.walk_seen ADD modified text[] NOT NULL DEFAULT '{}';
-- The object of a label whose URL changed stays until the new one is there.
ALTER TABLE backmarket.labels DROP CONSTRAINT labels_check;
ALTER TABLE backmarket.labels ADD CONSTRAINT labels_stored_has_object CHECK (state <> 'stored' OR object_key IS NOT NULL);
-- Since when a task has had a status that is not explained.
ALTER TABLE backmarket.bulk_parts RENAME COLUMN odd_since TO unexplained_since;

-- A refused key is probed again, also one that was refused before.
ALTER TABLE backmarket.connections ADD refused_at timestamptz;
ALTER TABLE backmarket.connections ADD next_probe_at timestamptz;
ALTER TABLE backmarket.connections ADD probed_at timestamptz;
UPDATE backmarket.connections
SET refused_at = unauthorized_at, next_probe_at = now() + interval '1 hour' * (1 + random())
WHERE unauthorized_at IS NOT NULL;
CREATE INDEX connections_refused ON backmarket.connections (next_probe_at) WHERE refused_at IS NOT NULL;
-- Which parts and writes set the same SKUs, and since when the rows show what they did.
ALTER TABLE backmarket.sync_state ADD last_walk_started_at timestamptz;
ALTER TABLE backmarket.bulk_parts ADD sku_hashes bigint[], ADD read_page integer;
ALTER TABLE backmarket.bulk_jobs ADD report_error text;
CREATE OR REPLACE FUNCTION backmarket.sku_key(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower(btrim($1) COLLATE "C")
$$;
CREATE OR REPLACE FUNCTION backmarket.sku_hash(text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(encode(sha256(convert_to(backmarket.sku_key($1), 'UTF8')), 'hex'), 16))::bit(64)::bigint
$$;
-- What production sends beside the document's fields, for rows that no later answer changes.
ALTER TABLE backmarket.orders ADD shipper text, ADD psp_reference text, ADD paypal_reference text;
ALTER TABLE backmarket.orderlines ADD shipper text;
UPDATE backmarket.orders SET shipper = raw->>'shipper', psp_reference = raw->>'psp_reference',
    paypal_reference = raw->>'paypal_reference'
WHERE COALESCE(raw->>'shipper', raw->>'psp_reference', raw->>'paypal_reference') IS NOT NULL;
UPDATE backmarket.orderlines SET shipper = raw->>'shipper' WHERE raw->>'shipper' IS NOT NULL;
-- After a failover that lost the mark, what may have been sent is read back first.
CREATE OR REPLACE FUNCTION backmarket.server_history() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED AS $$
    SELECT concat(
        CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier FROM pg_control_system()) ELSE 0 END, '-',
        CASE WHEN NOT pg_is_in_recovery() AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE')
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint
        WHEN pg_is_in_recovery() AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
            THEN (SELECT timeline_id FROM pg_control_checkpoint()) ELSE 0 END)
$$;
ALTER TABLE backmarket.api_writes ADD recorded_on text NOT NULL DEFAULT backmarket.server_history();
ALTER TABLE backmarket.bulk_parts ADD recorded_on text NOT NULL DEFAULT backmarket.server_history();
