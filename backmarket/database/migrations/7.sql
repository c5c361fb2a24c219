-- Events say whether a first walk found them, and values that are not personal. The new tables are made by `schema.sql`.
ALTER TABLE backmarket.changes ADD initial boolean NOT NULL DEFAULT false, ADD field_values jsonb;
