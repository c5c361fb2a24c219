-- How far behind the copies were, run by run, and what the pages of the console ask for.
ALTER TABLE backmarket.sync_runs ADD COLUMN behind double precision;
CREATE INDEX orders_state ON backmarket.orders (
    organization_id, state, COALESCE(date_creation, '-infinity') DESC, order_id DESC) WHERE state <> 9;
CREATE INDEX orders_country ON backmarket.orders (
    organization_id, country_code, COALESCE(date_creation, '-infinity') DESC, order_id DESC);
CREATE INDEX orders_tracking ON backmarket.orders (organization_id, tracking_number);
CREATE INDEX changes_row ON backmarket.changes (organization_id, external_id);
