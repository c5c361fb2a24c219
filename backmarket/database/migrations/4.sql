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
