-- Requests may have been sent with this database. `schema.sql` has the table's comment.
CREATE TABLE backmarket.first_request (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    began_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO backmarket.first_request DEFAULT VALUES;
