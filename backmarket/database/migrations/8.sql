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
