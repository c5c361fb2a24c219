-- Events say whether a first walk found them, and values that are not personal. The new tables are made by `schema.sql`.
ALTER TABLE backmarket.changes ADD initial boolean NOT NULL DEFAULT false, ADD field_values jsonb;
-- What the console's pages "To ship" and "Inbox" read. `schema.sql` makes the table of saved filters.
CREATE INDEX orders_to_ship ON backmarket.orders (
    (CASE WHEN expected_dispatch_date IS NULL THEN 'infinity' ELSE expected_dispatch_date END), organization_id, order_id)
INCLUDE (state, expected_dispatch_date) WHERE state IN (1, 3) AND removed_at IS NULL;
CREATE INDEX sync_state_incomplete ON backmarket.sync_state (organization_id)
WHERE rows_missing > 0 OR rows_rejected > 0;
CREATE INDEX labels_unavailable ON backmarket.labels (organization_id) WHERE state = 'unavailable';
