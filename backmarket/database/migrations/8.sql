-- Figures are counted from these indexes alone, which have more columns now.
DROP INDEX backmarket.orders_newest, backmarket.orderlines_order;
CREATE INDEX orders_newest ON backmarket.orders (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC)
INCLUDE (date_creation, state, country_code, currency, date_shipping, expected_dispatch_date, removed_at);
CREATE INDEX orderlines_order ON backmarket.orderlines (organization_id, order_id)
INCLUDE (state, price, currency, quantity, removed_at, sku_key);

-- Events of the inbox: `schema.sql` makes the table of the entries that have one.
