-- The whole database of backmarket, in the schema `backmarket`.
--
-- Idempotent: running it again changes nothing. `backmarket db init` runs it; tables of an older version are for
-- `backmarket db migrate`, which runs the files of `backmarket/database/migrations` before it.
-- PostgreSQL 14 or newer. Every key begins with the organization, so that no
-- statement of one organization can touch another's rows.

DO $$
DECLARE
    found integer;
BEGIN
    IF to_regclass('backmarket.schema_version') IS NOT NULL THEN
        SELECT max(version) INTO found FROM backmarket.schema_version;
        IF found <> 8 THEN
            RAISE EXCEPTION 'The database has schema version %, and this file makes version 8: run `backmarket db migrate`.',
                found;
        END IF;
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS backmarket;
COMMENT ON SCHEMA backmarket IS 'Back Market seller accounts, kept in step by the backmarket workers';

CREATE TABLE IF NOT EXISTS backmarket.schema_version (
    version integer NOT NULL PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE backmarket.schema_version IS 'Which version of this file was applied, and when';

------------------------------------------------------------------------------
-- Locks: rows that only a role with UPDATE can lock. Every login can take an advisory lock, a reader's too.
-- A transaction takes at most one of each kind, `sku_quota` last (docs/architecture.md has the order).
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.locks (
    kind text NOT NULL CHECK (kind IN (
        'connections',      -- changes of a connection, which may have no row yet
        'sku_quota',        -- the ledger of an account
        'probes',           -- the claim of a probe
        'partitions'        -- making partitions
    )),
    -- 8 bits of the name's hash: two names with the same number wait for each other, which harms none
    slot integer NOT NULL,
    PRIMARY KEY (kind, slot)
);
COMMENT ON TABLE backmarket.locks IS 'Rows to be locked; nothing is ever written to them';
INSERT INTO backmarket.locks (kind, slot)
SELECT kind, slot FROM unnest(ARRAY['connections', 'sku_quota', 'probes', 'partitions']) AS kind,
    generate_series(0, 255) AS slot
ON CONFLICT DO NOTHING;

-- The row of `locks` that a name has; several names may share one. Who takes many takes them in the order of their rows.
CREATE OR REPLACE FUNCTION backmarket.lock_slot(name text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT (hashtextextended(name, 0) & 255)::integer $$;

-- Holds a lock until the transaction ends. Waits for at most 10 s, then fails with SQLSTATE 55P03.
CREATE OR REPLACE FUNCTION backmarket.take_lock(wanted text, name text DEFAULT '') RETURNS void
LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM FROM backmarket.locks WHERE kind = wanted AND slot = backmarket.lock_slot(name) FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The row of the lock % is missing in backmarket.locks: run `backmarket db init`.', wanted;
    END IF;
END
$$;

------------------------------------------------------------------------------
-- Connections: one seller account of one organization
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.connections (
    organization_id text PRIMARY KEY CHECK (length(organization_id) BETWEEN 1 AND 200),
    -- grows with every new key, region, environment or base URL; results of an older one are void
    generation bigint NOT NULL DEFAULT 1,
    enabled boolean NOT NULL DEFAULT true,
    -- encrypted (Fernet); null: cleared
    api_key bytea,
    -- keyed hash of the API key: organizations with the same key share its rate limit
    account text,
    environment text NOT NULL CHECK (environment IN (
        'production',   -- the real marketplace
        'sandbox'       -- Back Market's "preprod"
    )),
    region text NOT NULL CHECK (region IN (
        'EU',           -- backmarket.fr
        'NA',           -- backmarket.com
        'AP'            -- backmarket.co.jp
    )),
    locale text NOT NULL,
    -- null: the host of region and environment
    base_url text,
    -- when the API refused the key for the second time, at least 30 s after `refused_at`
    unauthorized_at timestamptz,
    last_error_at timestamptz,
    last_error_code text,
    last_error text,
    last_error_request_id text,
    last_error_cf_ray text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- when the API first refused the key: nothing is sent until a probe, a check or a person clears it
    refused_at timestamptz,
    -- when the next probe of a refused key is due (one for all connections of the account); null: no more probes
    next_probe_at timestamptz,
    -- when the refused key was last probed
    probed_at timestamptz,
    -- further locales whose listings are copied into `listing_markets`, sorted; never `locale` itself
    markets text[] NOT NULL DEFAULT '{}',
    CHECK ((api_key IS NULL) = (account IS NULL))
);
COMMENT ON TABLE backmarket.connections IS 'The seller account of each organization: key, region, environment, and why it is not asked';
CREATE INDEX IF NOT EXISTS connections_account ON backmarket.connections (account);
CREATE INDEX IF NOT EXISTS connections_refused ON backmarket.connections (next_probe_at) WHERE refused_at IS NOT NULL;

------------------------------------------------------------------------------
-- The schedule: how often each resource is synced. An organization may have its
-- own in `sync_state`. Every slice reads it, so a change needs no restart.
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.schedule (
    resource text PRIMARY KEY CHECK (resource IN ('orders', 'listings', 'deliveries', 'returns')),
    -- false: off for all organizations, whatever their own schedules say
    enabled boolean NOT NULL DEFAULT true,
    -- seconds between two syncs, and between two full walks if a sync requests only changed rows
    interval_seconds double precision NOT NULL DEFAULT 300 CHECK (interval_seconds > 0),
    full_interval_seconds double precision NOT NULL DEFAULT 86400 CHECK (full_interval_seconds > 0)
);
COMMENT ON TABLE backmarket.schedule IS 'How often each resource is synced, unless an organization has a schedule of its own';
INSERT INTO backmarket.schedule (resource) VALUES ('orders'), ('listings'), ('deliveries'), ('returns')
ON CONFLICT DO NOTHING;

------------------------------------------------------------------------------
-- Sync: what is due, which worker holds it, its progress
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.sync_state (
    organization_id text NOT NULL REFERENCES backmarket.connections ON DELETE CASCADE,
    resource text NOT NULL CHECK (resource IN ('orders', 'listings', 'deliveries', 'returns')),
    -- this organization's own schedule; null: as in `schedule`
    enabled boolean NOT NULL DEFAULT true,
    interval_seconds double precision CHECK (interval_seconds > 0),
    full_interval_seconds double precision CHECK (full_interval_seconds > 0),
    -- whether the labels of its shipments are wanted in the bucket
    download_labels boolean NOT NULL DEFAULT true,
    -- when the next slice is due
    next_due_at timestamptz NOT NULL DEFAULT now(),
    -- a message was sent; no other is sent before this time
    nudged_until timestamptz,
    -- the lease: only the holder of the newest number may write, whatever its clock says
    lease_number bigint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    -- number of the newest sync request, and of the newest one that was answered
    requested bigint NOT NULL DEFAULT 0,
    served bigint NOT NULL DEFAULT 0,
    full_requested boolean NOT NULL DEFAULT false,
    -- an operator has accepted that many rows are missing: they may be requested by id
    accept_missing boolean NOT NULL DEFAULT false,
    -- the requested sync skips labels
    without_labels boolean NOT NULL DEFAULT false,
    -- everything modified before it (API's clock) is stored; null: never walked completely
    watermark timestamptz,
    -- when the next sync and the next full walk are due; a sync goes before an unfinished full walk
    sync_due_at timestamptz NOT NULL DEFAULT now(),
    full_walk_due_at timestamptz NOT NULL DEFAULT now(),
    last_started_at timestamptz,
    last_success_at timestamptz,
    last_full_walk_at timestamptz,
    -- the present failure; null: the last slice succeeded
    failing_since timestamptz,
    failures integer NOT NULL DEFAULT 0,
    error_code text,
    error text,
    error_request_id text,
    error_cf_ray text,
    availability text NOT NULL DEFAULT 'available' CHECK (availability IN (
        'available',
        'not_available'     -- the account may not use this resource; retried daily
    )),
    -- finished walks, and those of them that found nothing new
    runs bigint NOT NULL DEFAULT 0,
    quiet_runs bigint NOT NULL DEFAULT 0,
    -- stored rows that the last full walk did not show, and that stay as they are: too many to request each, or not to
    -- be read by their ids
    rows_missing bigint NOT NULL DEFAULT 0,
    -- rows that the last full walk, or an incremental one since, could not store
    rows_rejected bigint NOT NULL DEFAULT 0,
    -- when the last finished walk began: what had ended before is in the stored rows
    last_walk_started_at timestamptz,
    -- of the listings: a further market of the connection; empty: the connection's locale, and all else
    market text NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, resource, market)
) WITH (fillfactor = 70);
COMMENT ON TABLE backmarket.sync_state IS 'One row for each organization, resource and market: when it is due, its lease, its watermark, its last error';
CREATE INDEX IF NOT EXISTS sync_state_due ON backmarket.sync_state (resource, next_due_at);
-- what waits for a person; every page of the console counts it
CREATE INDEX IF NOT EXISTS sync_state_incomplete ON backmarket.sync_state (organization_id)
WHERE rows_missing > 0 OR rows_rejected > 0;
-- existing connections get the states of new resources, too
DO $$
BEGIN
    PERFORM set_config('backmarket.worker', 'on', true);  -- sees all of them; see "Row-level security"
    INSERT INTO backmarket.sync_state (organization_id, resource, lease_number)
    SELECT organization_id, resource, pg_current_xact_id()::text::bigint
    FROM backmarket.connections CROSS JOIN backmarket.schedule ON CONFLICT DO NOTHING;
END
$$;

-- The next time in a rhythm of some seconds whose phase is a hash of `name`, at least `pause` seconds from now:
-- organizations with the same interval do not all fall due together.
CREATE OR REPLACE FUNCTION backmarket.next_in_phase(
    name text, seconds double precision, pause double precision DEFAULT 0
) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT to_timestamp(
        floor((extract(epoch FROM now())::float8 + pause - phase) / seconds + 1) * seconds + phase
    )
    FROM (SELECT (hashtextextended(name, 0) & 1048575) / 1048576.0 * seconds AS phase) AS p
$$;

-- A text without the signatures of its links, which are new in every answer of the API: the rest is the content
-- (`backmarket/resources/signed_links.py` has the same rule for fetched rows).
CREATE OR REPLACE FUNCTION backmarket.without_signatures(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $1 !~* '[?&](x-(amz|goog)-)?signature=' THEN $1 ELSE (
        SELECT string_agg(CASE
            WHEN piece !~* '[?&](x-(amz|goog)-)?signature=' THEN piece
            ELSE regexp_replace(regexp_replace(piece,
                '([?&])((awsaccesskeyid|googleaccessid|key-pair-id|policy|expires|signature|x-amz-security-token'
                || '|x-(amz|goog)-(algorithm|credential|date|expires|signedheaders|signature))=[^&"<>[:space:]]*&?)+',
                '\1', 'gi'), '[?&]+(?=["<>[:space:]]|$)', '', 'g')
        END, '' ORDER BY at)
        FROM regexp_split_to_table($1, '(?=["<>[:space:]])') WITH ORDINALITY AS pieces (piece, at)
    ) END
$$;

-- A name as people search for it: without accents, case and punctuation; null: nothing is left of it.
CREATE OR REPLACE FUNCTION backmarket.folded(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT NULLIF(btrim(regexp_replace(
        translate(replace(lower(regexp_replace(normalize($1, NFKD), '[\u0300-\u036f]', '', 'g')), 'ß', 'ss'),
            'øłđ''’', 'old'), '[[:space:].,%_\\-]+', ' ', 'g')), '')
$$;

-- The name in an address (schema `Address`): the last name first, then the first name.
CREATE OR REPLACE FUNCTION backmarket.name_key(jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT backmarket.folded(left(COALESCE($1 ->> 'lastName', '') || ' ' || COALESCE($1 ->> 'firstName', ''), 200))
$$;

CREATE TABLE IF NOT EXISTS backmarket.walks (
    organization_id text NOT NULL,
    resource text NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'full',             -- every row that the API lists
        'incremental'       -- rows modified since the watermark
    )),
    -- by our clock; and when the first page was answered, by the API's clock
    started_at timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    -- requested rows: modified at or after; null: all
    since timestamptz,
    -- number of the pass over the list (at most three), and the first page not yet stored
    pass integer NOT NULL,
    pass_began_at timestamptz,
    next_page integer NOT NULL,
    page_size integer NOT NULL,
    -- rows that the API counted at the beginning of this pass, and its highest count in it;
    -- null: it does not say
    expected bigint,
    highest bigint NOT NULL,
    -- the request (sync_state.requested) that this walk answers
    serving bigint NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    rows_created bigint NOT NULL DEFAULT 0,
    rows_updated bigint NOT NULL DEFAULT 0,
    rows_unchanged bigint NOT NULL DEFAULT 0,
    rows_removed bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    -- number of writes of this row: if a slice counts otherwise, the server has lost a commit
    saves bigint NOT NULL DEFAULT 1,
    -- the API's highest count in any pass; and whether no row is known to have left the list since the walk began
    counted bigint,
    steady boolean NOT NULL DEFAULT false,
    market text NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, resource, market, kind),
    FOREIGN KEY (organization_id, resource, market) REFERENCES backmarket.sync_state ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE backmarket.walks IS 'The checkpoint of each walk that is not finished; a walk that fits into one slice never has a row here';

CREATE TABLE IF NOT EXISTS backmarket.walk_seen (
    organization_id text NOT NULL,
    resource text NOT NULL,
    kind text NOT NULL,
    pass integer NOT NULL,
    first_page integer NOT NULL,
    -- rows that existed when the pass began, and rows that appeared since
    ids text[] NOT NULL,
    newcomers text[] NOT NULL,
    -- rows created before it began and modified since: they may have been listed, or not
    modified text[] NOT NULL DEFAULT '{}',
    market text NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, resource, market, kind, pass, first_page),
    FOREIGN KEY (organization_id, resource, market, kind) REFERENCES backmarket.walks ON DELETE CASCADE
);
COMMENT ON TABLE backmarket.walk_seen IS 'The ids that an unfinished walk has seen, so that a walk handed on or killed still knows them';

CREATE TABLE IF NOT EXISTS backmarket.sync_runs (
    id bigint GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL,
    resource text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN (
        'done',             -- the walk was complete
        'failed'            -- it stopped at an error; a later run goes on from its checkpoint
    )),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    -- the newest request (sync_state.requested) that the run answers
    serving bigint NOT NULL,
    requests bigint NOT NULL,
    rows_created bigint NOT NULL,
    rows_updated bigint NOT NULL,
    rows_unchanged bigint NOT NULL,
    rows_removed bigint NOT NULL,
    -- rows without a usable id, which are not stored
    rows_rejected bigint NOT NULL,
    error_code text,
    error text,
    error_request_id text,
    error_cf_ray text,
    -- seconds that the copies were behind when it ended, before it caught up; null: never synced before
    behind double precision,
    market text NOT NULL DEFAULT '',
    -- finds the newest runs of one organization and resource, all of its markets among them
    PRIMARY KEY (organization_id, resource, id, finished_at)
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE backmarket.sync_runs IS 'Each walk that changed something or failed; one that found nothing new only counts in sync_state';

------------------------------------------------------------------------------
-- The copies. `raw` is the API's own object; the columns are read from it.
-- `content` is a hash of the fetched bytes, to detect an unchanged row without sending it.
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.orders (
    organization_id text NOT NULL,
    order_id bigint NOT NULL,
    state integer,                  -- 0 new, 10 pending payment, 1 paid, 3 to be shipped, 8 not paid, 9 processed
    country_code text,
    date_creation timestamptz,
    date_modification timestamptz,
    date_shipping timestamptz,
    date_payment timestamptz,
    expected_dispatch_date timestamptz,                 -- the last one named; the API names none once it is shipped
    tracking_number text,
    tracking_url text,
    shipper_display text,
    is_backship boolean,
    delivery_note text,
    price numeric,
    shipping_price numeric,
    currency text,
    payment_method text,
    sales_taxes numeric,
    shipping_address jsonb,
    billing_address jsonb,
    invoice_uploaded_at timestamptz,
    raw jsonb NOT NULL,
    content bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),  -- when the row was last written
    removed_at timestamptz,                             -- since when the API no longer knows it
    erased_at timestamptz,          -- when its personal data was erased; it stays erased
    shipper text,                   -- the carrier, where shipper_display is how customers see it
    psp_reference text,             -- of the payment, by its provider
    paypal_reference text,
    -- finds the customer by the beginning of the name; erased with the addresses
    name_key text COLLATE "C" GENERATED ALWAYS AS (
        COALESCE(backmarket.name_key(shipping_address), backmarket.name_key(billing_address))) STORED,
    PRIMARY KEY (organization_id, order_id)
);
COMMENT ON TABLE backmarket.orders IS 'Orders, as the API last showed them';
-- CASE, as under a row policy no index serves a comparison with COALESCE. With what figures count: they read no row
CREATE INDEX IF NOT EXISTS orders_newest ON backmarket.orders (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC)
INCLUDE (date_creation, state, country_code, currency, date_shipping, expected_dispatch_date, removed_at);
-- the newest of one state (nearly all are 9, which the index of all serves), of one country
CREATE INDEX IF NOT EXISTS orders_state ON backmarket.orders (
    organization_id, state, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, order_id DESC)
WHERE state <> 9;
CREATE INDEX IF NOT EXISTS orders_country ON backmarket.orders (
    organization_id, country_code, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC,
    order_id DESC);
-- what people search for in all organizations: see `backmarket/queries/find.py`. CASE, so that queries of one organization
-- stay with the key
CREATE INDEX IF NOT EXISTS orders_number ON backmarket.orders ((CASE WHEN order_id > 0 THEN order_id END));
CREATE INDEX IF NOT EXISTS orders_tracking ON backmarket.orders (tracking_number);
CREATE INDEX IF NOT EXISTS orders_name ON backmarket.orders (name_key, organization_id, order_id DESC)
WHERE name_key IS NOT NULL;
-- orders to be accepted (1) or shipped (3), of all organizations, by their deadline
CREATE INDEX IF NOT EXISTS orders_to_ship ON backmarket.orders (
    (CASE WHEN expected_dispatch_date IS NULL THEN 'infinity' ELSE expected_dispatch_date END), organization_id, order_id)
INCLUDE (state, expected_dispatch_date) WHERE state IN (1, 3) AND removed_at IS NULL;
-- orders whose personal data may be old enough to be erased
CREATE INDEX IF NOT EXISTS orders_erasable ON backmarket.orders (
    (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END))
WHERE erased_at IS NULL;

CREATE TABLE IF NOT EXISTS backmarket.orderlines (
    organization_id text NOT NULL,
    orderline_id bigint NOT NULL,
    order_id bigint NOT NULL,
    state integer,                  -- 0 new, 9 on hold, 8 pending payment, 1 paid, 2 accepted, 3 shipped, 4 cancelled,
                                    -- 5 refunded before shipping, 6 refunded after shipping, 7 not paid
    date_creation timestamptz,
    price numeric,
    shipping_price numeric,
    shipping_delay integer,         -- hours
    currency text,
    return_reason integer,
    return_message text,
    listing text,                   -- the seller's SKU
    listing_id bigint,
    orderline_fee numeric,
    product text,
    quantity integer,
    brand text,
    product_id bigint,
    backcare boolean,
    backcare_price bigint,          -- cents
    sales_taxes numeric,
    imei text,
    serial_number text,
    condition integer,
    raw jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,         -- since when its order no longer has it
    erased_at timestamptz,          -- when its personal data was erased; it stays erased
    -- finds a SKU ignoring case, also under row-level security (docs/decisions/0009)
    sku_key text GENERATED ALWAYS AS (lower(left(listing, 200))) STORED,
    shipper text,                   -- the carrier
    PRIMARY KEY (organization_id, orderline_id)
);
COMMENT ON TABLE backmarket.orderlines IS 'The lines of the orders; written with their order';
-- with what figures count
CREATE INDEX IF NOT EXISTS orderlines_order ON backmarket.orderlines (organization_id, order_id)
INCLUDE (state, price, currency, quantity, removed_at, sku_key);
CREATE INDEX IF NOT EXISTS orderlines_sku ON backmarket.orderlines (sku_key, organization_id);
CREATE INDEX IF NOT EXISTS orderlines_imei ON backmarket.orderlines (imei) WHERE imei <> '';
CREATE INDEX IF NOT EXISTS orderlines_serial_number ON backmarket.orderlines (serial_number) WHERE serial_number <> '';

CREATE TABLE IF NOT EXISTS backmarket.listings (
    organization_id text NOT NULL,
    listing_id uuid NOT NULL,
    legacy_listing_id bigint,       -- the older integer id, which order lines name
    sku text,                       -- the seller's own; unique ignoring case
    product_id text,
    backmarket_id bigint,
    title text,
    -- price, currency, minimum and maximum, publication state, comment, warranty and shippings are those of the
    -- connection's locale; those of its further markets are in `listing_markets`
    price numeric,
    currency text,
    min_price numeric,
    max_price numeric,
    quantity integer,
    publication_state integer,      -- 0 not online, 1 online, 2 waiting for validation, 3 rejected, 4 pending
    state integer,                  -- the older form of `grade`: 9, 0, 1, 2, 3, 4
    grade text,                     -- PREMIUM, EXCELLENT, VERY_GOOD, GOOD, FAIR, STALLONE
    comment text,
    warranty_delay integer,         -- months
    new_battery boolean,
    shippings jsonb,
    raw jsonb NOT NULL,
    content bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    sku_key text GENERATED ALWAYS AS (lower(left(sku, 200))) STORED,
    PRIMARY KEY (organization_id, listing_id)
);
COMMENT ON TABLE backmarket.listings IS 'Offers in the seller''s catalogue, as the API last showed them';
CREATE INDEX IF NOT EXISTS listings_sku ON backmarket.listings (sku_key, organization_id);
CREATE INDEX IF NOT EXISTS listings_legacy ON backmarket.listings (organization_id, legacy_listing_id);

CREATE TABLE IF NOT EXISTS backmarket.listing_markets (
    organization_id text NOT NULL,
    market text NOT NULL,           -- one of `connections.markets`
    listing_id uuid NOT NULL,
    price numeric,
    currency text,
    min_price numeric,
    max_price numeric,
    publication_state integer,      -- as in `listings`
    comment text,
    warranty_delay integer,         -- months
    shippings jsonb,
    raw jsonb NOT NULL,             -- of the API's object, the members above
    content bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,         -- since when the API no longer knows it in this market
    PRIMARY KEY (organization_id, market, listing_id)
);
COMMENT ON TABLE backmarket.listing_markets IS 'What listings have in the further markets of a connection; the rest is in `listings`';

CREATE TABLE IF NOT EXISTS backmarket.deliveries (
    organization_id text NOT NULL,
    shipment_id bigint NOT NULL,
    order_id bigint,
    orderlines jsonb,               -- ids of the order lines in the parcel
    carrier_id bigint,
    carrier_name text,
    reference_number text,
    tracking_number text,
    tracking_url text,
    hub_scanned boolean,
    type text,
    invoiced_currency text,
    invoiced_price numeric,
    date_creation timestamptz,
    date_pickup timestamptz,
    date_delivery timestamptz,
    label_url text,                 -- usually a path
    pickup_info jsonb,
    raw jsonb NOT NULL,
    content bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    erased_at timestamptz,          -- when its personal data was erased; it stays erased
    PRIMARY KEY (organization_id, shipment_id)
);
COMMENT ON TABLE backmarket.deliveries IS 'BackShip parcels to customers, as the API last showed them';
CREATE INDEX IF NOT EXISTS deliveries_newest ON backmarket.deliveries (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, shipment_id DESC);
CREATE INDEX IF NOT EXISTS deliveries_order ON backmarket.deliveries (organization_id, order_id);
CREATE INDEX IF NOT EXISTS deliveries_tracking ON backmarket.deliveries (tracking_number);
-- shipments that can still change: how far a sync must reach back
CREATE INDEX IF NOT EXISTS deliveries_open ON backmarket.deliveries (organization_id, date_creation)
WHERE date_delivery IS NULL AND removed_at IS NULL;

CREATE TABLE IF NOT EXISTS backmarket.returns (
    organization_id text NOT NULL,
    shipment_id bigint NOT NULL,
    order_id bigint,
    orderline_id bigint,
    carrier_id bigint,
    carrier_name text,
    reference_number text,
    tracking_number text,
    tracking_url text,
    hub_scanned boolean,
    type text,
    invoiced_currency text,
    invoiced_price numeric,
    date_creation timestamptz,
    date_pickup timestamptz,
    date_delivery timestamptz,
    label text,                     -- usually a URL
    raw jsonb NOT NULL,
    content bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    erased_at timestamptz,          -- when its personal data was erased; it stays erased
    PRIMARY KEY (organization_id, shipment_id)
);
COMMENT ON TABLE backmarket.returns IS 'BackShip parcels from customers, as the API last showed them';
CREATE INDEX IF NOT EXISTS returns_newest ON backmarket.returns (
    organization_id, (CASE WHEN date_creation IS NULL THEN '-infinity' ELSE date_creation END) DESC, shipment_id DESC);
CREATE INDEX IF NOT EXISTS returns_order ON backmarket.returns (organization_id, order_id);
CREATE INDEX IF NOT EXISTS returns_orderline ON backmarket.returns (organization_id, orderline_id);
CREATE INDEX IF NOT EXISTS returns_tracking ON backmarket.returns (tracking_number);
CREATE INDEX IF NOT EXISTS returns_open ON backmarket.returns (organization_id, date_creation)
WHERE date_delivery IS NULL AND removed_at IS NULL;

------------------------------------------------------------------------------
-- Work beside the syncs: one due row and one lease for each organization and kind
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.work (
    organization_id text NOT NULL REFERENCES backmarket.connections ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN (
        'labels',           -- labels to be fetched into the bucket
        'writes',           -- writes to be sent to the API, or to be read back
        'bulk'              -- parts of bulk files to be sent, polled, or read back
    )),
    -- when a worker should look; infinity: there is nothing to do
    due_at timestamptz NOT NULL,
    -- a message was sent; no other is sent before this time
    nudged_until timestamptz,
    -- the lease: only the holder of the newest number may write, whatever its clock says. The first one begins with the
    -- transaction's number, which never repeats: so it grows even if a connection is removed and added again
    lease_number bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    lease_owner text,
    lease_until timestamptz,
    PRIMARY KEY (organization_id, kind)
);
CREATE INDEX IF NOT EXISTS work_due ON backmarket.work (due_at);
COMMENT ON TABLE backmarket.work IS 'When the labels, writes and bulk jobs of each organization are to be looked at, and who does it';

------------------------------------------------------------------------------
-- Labels: which are wanted in the bucket, and their states. Written with the shipment's row.
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.labels (
    organization_id text NOT NULL,
    resource text NOT NULL CHECK (resource IN ('deliveries', 'returns')),
    shipment_id bigint NOT NULL,
    -- from the API: a path, or a URL
    url text NOT NULL,
    state text NOT NULL CHECK (state IN (
        'wanted',           -- to be fetched into the bucket
        'skipped',          -- the sync that found it was told to skip labels
        'stored',           -- it is in the bucket
        'unavailable'       -- given up, or must not be fetched: `error` says why
    )),
    -- when this label was first seen; another URL, signatures apart, is another label
    noted_at timestamptz NOT NULL DEFAULT now(),
    -- of a wanted label: when it is tried next, its failed tries, and the last error
    due_at timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    error_code text,
    error text,
    -- of a label that is stored, or was until its URL changed: the object stays until the new one is stored
    object_key text COLLATE "C",
    size bigint,                    -- bytes
    sha256 text,                    -- hexadecimal
    etag text,                      -- the server's identifier of this content
    content_type text,
    stored_at timestamptz,
    PRIMARY KEY (organization_id, resource, shipment_id),
    CONSTRAINT labels_stored_has_object CHECK (state <> 'stored' OR object_key IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS labels_skipped ON backmarket.labels (organization_id, resource) WHERE state = 'skipped';
CREATE INDEX IF NOT EXISTS labels_wanted ON backmarket.labels (organization_id, due_at) WHERE state = 'wanted';
-- given up: the console counts them
CREATE INDEX IF NOT EXISTS labels_unavailable ON backmarket.labels (organization_id) WHERE state = 'unavailable';
CREATE INDEX IF NOT EXISTS labels_oldest ON backmarket.labels (noted_at) WHERE state = 'wanted';
CREATE INDEX IF NOT EXISTS labels_objects ON backmarket.labels (object_key) WHERE object_key IS NOT NULL;
COMMENT ON TABLE backmarket.labels IS 'The shipping label of each delivery and return, by the URL that the API last gave, and where it is kept';

------------------------------------------------------------------------------
-- Writes: what is to be changed at Back Market. A row first, then the request.
------------------------------------------------------------------------------

-- The server and its timeline, which a failover and a restore change; `0` where the owner may not ask. Runs with the
-- owner's rights, so that all logins get the same answer. The control file learns of a promotion only with the next
-- checkpoint, the name of the WAL file at once; a standby has none to write.
CREATE OR REPLACE FUNCTION backmarket.server_history() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat(
        CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier FROM pg_control_system()) ELSE 0 END, '-',
        CASE WHEN NOT pg_is_in_recovery() AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE')
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint
        WHEN pg_is_in_recovery() AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
            THEN (SELECT timeline_id FROM pg_control_checkpoint()) ELSE 0 END)
$$;

CREATE TABLE IF NOT EXISTS backmarket.api_writes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('update_order', 'update_orderline', 'update_listing', 'upload_order_invoice')),
    -- id of the changed order, order line or listing
    object_id text NOT NULL,
    -- writes of one lane are sent one after the other, in the order of their ids, such as `order/123`
    lane text NOT NULL,
    -- the requested change, by our names of the arguments; personal (tracking, serial numbers): never in a log
    request jsonb NOT NULL,
    locale text NOT NULL,
    -- the market it was meant for; not sent if the connection has left that market
    environment text NOT NULL,
    region text NOT NULL,
    base_url text,
    -- the caller's own name for this write: repeating the call gives this row
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    -- a hash of the caller's request, which tells a repeated call from a different one; null: its order was erased
    fingerprint text,
    -- of an invoice: the file in the bucket
    object_key text COLLATE "C",
    state text NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending',          -- not sent, or certainly not arrived
        'sending',          -- perhaps sent: a worker that finds this after `settle_at` reads back
        'succeeded',
        'refused',          -- the API refused it, or it is no longer valid: `error` says why
        'unknown'           -- it may have happened: read back after `settle_at`, or a person decides
    )),
    -- the values before it was sent, as far as they are known; tells its arrival from another party's change
    prior jsonb,
    -- when a worker looks at it again; infinity: a person must
    due_at timestamptz NOT NULL DEFAULT now(),
    -- when the sender's deadline is over: reading back is reliable from then on
    settle_at timestamptz,
    -- requests sent, and tries in a row that did not settle it
    sent integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    error_code text,
    error text,
    error_status integer,
    error_request_id text,
    error_cf_ray text,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    settled_at timestamptz,
    -- of a write that succeeded: how that is known
    confirmed_by text CHECK (confirmed_by IN (
        'answer',           -- the API confirmed it
        'reading_back',     -- its answer was lost; the requested values were found
        'person'            -- a person checked
    )),
    -- the server and timeline on which it was queued, or marked as sending: on another, the mark may have been lost
    recorded_on text NOT NULL DEFAULT backmarket.server_history(),
    -- who asked for it, and how that was proved, such as `anna (console login)`; null: asked before version 5
    asked_by text
);
CREATE UNIQUE INDEX IF NOT EXISTS api_writes_idempotency ON backmarket.api_writes (organization_id, idempotency_key)
WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS api_writes_newest ON backmarket.api_writes (organization_id, id DESC);
-- the writes of one object, in their order; the first open one of each lane can be sent
CREATE INDEX IF NOT EXISTS api_writes_lanes ON backmarket.api_writes (organization_id, lane, id);
CREATE INDEX IF NOT EXISTS api_writes_open ON backmarket.api_writes (organization_id, lane, id)
WHERE state IN ('pending', 'sending', 'unknown');
CREATE INDEX IF NOT EXISTS api_writes_objects ON backmarket.api_writes (object_key) WHERE object_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS api_writes_settled ON backmarket.api_writes (settled_at) WHERE settled_at IS NOT NULL;
COMMENT ON TABLE backmarket.api_writes IS 'Every change requested at Back Market, and its outcome';

------------------------------------------------------------------------------
-- The limiter of requests counts in Redis; this tells a Redis that is new from one that was emptied
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.first_request (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    began_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE backmarket.first_request IS
    'One row, written before the first request of all: from then on a Redis without a count has lost it';

------------------------------------------------------------------------------
-- The quota of SKU lines: at most 2,000 an hour for each account, single updates and bulk files together
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.sku_quota (
    -- as `connections.account`; organizations with the same key share its quota
    account text NOT NULL,
    -- until when the lines count
    free_at timestamptz NOT NULL,
    -- null: the API refused a line; nothing is granted until then
    lines integer CHECK (lines >= 0),
    PRIMARY KEY (account, free_at)
);
COMMENT ON TABLE backmarket.sku_quota IS 'SKU lines that each account has reserved, by the moment at which they come free again';

------------------------------------------------------------------------------
-- Bulk jobs: CSV files of listings, cut into parts. The files are in the bucket; a part is a range of one of them.
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.bulk_jobs (
    organization_id text NOT NULL,
    -- taken from the sequence before the files are stored, as their names contain it
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending',              -- nothing was sent yet
        'running',              -- parts are being sent, or processed by Back Market
        'waiting_for_quota',    -- the next part waits until lines of the account's quota are free
        'done',                 -- every line to be sent is done
        'done_with_errors',     -- it ended, and the report names lines that are not done
        'failed',               -- it ended, and no part of it was done: `error` says why
        'cancelled'             -- unsent lines are never sent
    )),
    -- prefix of its files in the bucket; ends in a slash
    object_prefix text COLLATE "C" NOT NULL,
    -- name of the seller's file, if known
    file_name text,
    locale text NOT NULL,
    -- the market it was meant for; nothing is sent if the connection has left that market
    environment text NOT NULL,
    region text NOT NULL,
    base_url text,
    -- the first line of lines.csv, with its line end; each part is sent under it
    header text NOT NULL,
    -- lines with listings in the seller's file, and those of them that are in no part
    lines integer NOT NULL,
    bad_lines integer NOT NULL DEFAULT 0,
    unchanged_lines integer NOT NULL DEFAULT 0,
    -- the caller's own name for this job: repeating the call gives this row, if the file and the request are the same
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    -- hexadecimal SHA-256 of the file and of the request
    fingerprint text NOT NULL,
    -- deadline: lines not sent by then are out of date
    expires_at timestamptz,
    cancelled_at timestamptz,
    -- while it waits for the quota: the expected end of the wait
    waits_until timestamptz,
    error_code text,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    -- of a job that ended: when its report is due; null: it is written
    report_due_at timestamptz,
    reported_at timestamptz,
    report_tries integer NOT NULL DEFAULT 0,
    -- why its report could not be written so far; null: it is written, or was not tried
    report_error text,
    -- as `api_writes.asked_by`
    asked_by text,
    PRIMARY KEY (organization_id, id),
    CHECK ((ended_at IS NULL) = (state IN ('pending', 'running', 'waiting_for_quota')))
);
CREATE UNIQUE INDEX IF NOT EXISTS bulk_jobs_idempotency ON backmarket.bulk_jobs (organization_id, idempotency_key)
WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS bulk_jobs_open ON backmarket.bulk_jobs (organization_id, id)
WHERE ended_at IS NULL OR report_due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS bulk_jobs_objects ON backmarket.bulk_jobs (object_prefix);
CREATE INDEX IF NOT EXISTS bulk_jobs_ended ON backmarket.bulk_jobs (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON TABLE backmarket.bulk_jobs IS 'Each CSV file of listings that was submitted, and how far it is';

-- The key by which SKUs are compared, and the same as a number, by which parts are: equal for texts that differ only in
-- the case of A-Z or in spaces around them, whatever the collation (`backmarket/bulk/csv_file/skus.py` has the same).
CREATE OR REPLACE FUNCTION backmarket.sku_key(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower(btrim($1) COLLATE "C")
$$;
CREATE OR REPLACE FUNCTION backmarket.sku_hash(text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(encode(sha256(convert_to(backmarket.sku_key($1), 'UTF8')), 'hex'), 16))::bit(64)::bigint
$$;

CREATE TABLE IF NOT EXISTS backmarket.bulk_parts (
    organization_id text NOT NULL,
    job_id bigint NOT NULL,
    number integer NOT NULL,            -- from 1
    state text NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending',          -- not sent, or certainly not arrived
        'submitting',       -- perhaps sent: a worker that finds this after `due_at` reads back
        'submitted',        -- Back Market has it as the task `task_id`
        'done',             -- it was processed; `outcomes` names lines that failed
        'failed',           -- it was refused or broke off: `error` says why; `outcomes` names lines that are done
        'unknown',          -- it may have happened: read back when due, or (due at infinity) a person decides
        'cancelled'         -- never sent: `error` says why
    )),
    -- position of its lines in lines.csv, in bytes; and their line numbers in the seller's file
    byte_offset bigint NOT NULL,
    byte_length bigint NOT NULL,
    lines integer NOT NULL CHECK (lines > 0),
    line_numbers integer[] NOT NULL CHECK (cardinality(line_numbers) = lines),
    -- when it may be sent, is to be polled, or read back
    due_at timestamptz NOT NULL DEFAULT now(),
    -- how often it was sent, and tries in a row that did not settle it
    sent integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    sent_at timestamptz,
    -- an answer has proved that it arrived
    arrived boolean NOT NULL DEFAULT false,
    task_id text,
    submitted_at timestamptz,
    -- the task's status (action_status) when it was last polled, and since when that status is unexplained
    task_status integer,
    unexplained_since timestamptz,
    -- since when the API does not know the task
    missing_since timestamptz,
    -- its listings before it was sent, by line number: the members that the line sets; null: no such listing
    prior jsonb,
    -- lines to be read back, and the results so far, by line number
    unread integer[],
    readings jsonb,
    looks integer NOT NULL DEFAULT 0,
    -- lines with another outcome than the state says, by line number: [outcome, text]
    outcomes jsonb NOT NULL DEFAULT '{}',
    lines_done integer NOT NULL DEFAULT 0,
    lines_failed integer NOT NULL DEFAULT 0,
    lines_unknown integer NOT NULL DEFAULT 0,
    error_code text,
    error text,
    error_status integer,
    error_request_id text,
    error_cf_ray text,
    ended_at timestamptz,
    -- the SKUs of its lines (`sku_hash`), by which it is known which other parts and writes set the same; null: not known
    sku_hashes bigint[],
    -- while its listings are read back by pages: the next page; null: they are read one by one
    read_page integer,
    -- as `api_writes.recorded_on`
    recorded_on text NOT NULL DEFAULT backmarket.server_history(),
    PRIMARY KEY (organization_id, job_id, number),
    FOREIGN KEY (organization_id, job_id) REFERENCES backmarket.bulk_jobs ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS bulk_parts_due ON backmarket.bulk_parts (organization_id, due_at)
WHERE state IN ('pending', 'submitting', 'submitted', 'unknown');
COMMENT ON TABLE backmarket.bulk_parts IS 'The parts in which a bulk job is sent, and the outcome of each';

CREATE TABLE IF NOT EXISTS backmarket.bulk_formats (
    organization_id text PRIMARY KEY REFERENCES backmarket.connections ON DELETE CASCADE,
    encoding text CHECK (length(encoding) <= 40),           -- null: detected
    decimal text CHECK (length(decimal) = 1),               -- null: a point
    thousands text CHECK (length(thousands) = 1),           -- null: nothing is between the thousands
    -- by the names of columns in the files, in lower case: the name under which each is sent; empty: it is left out
    columns jsonb NOT NULL
);
COMMENT ON TABLE backmarket.bulk_formats IS 'How the files of an organization are written, as a person chose it last';

------------------------------------------------------------------------------
-- The bucket: objects to be deleted, and the progress of the daily comparison with the rows
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.bucket_deletions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- an object's key, or a prefix of keys, which ends in a slash
    object_key text COLLATE "C" NOT NULL,
    -- done at once, and a second time when every upload that was running then has ended
    requested_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    -- of a prefix: where to go on, if the time limit ended a slice
    step text NOT NULL DEFAULT 'objects' CHECK (step IN ('objects', 'rows')),
    position text COLLATE "C" NOT NULL DEFAULT '',
    -- the second time is in progress
    last boolean NOT NULL DEFAULT false,
    -- failed tries in a row, and the last error
    tries integer NOT NULL DEFAULT 0,
    error text
);
CREATE INDEX IF NOT EXISTS bucket_deletions_due ON backmarket.bucket_deletions (due_at);
COMMENT ON TABLE backmarket.bucket_deletions IS 'Objects to be deleted, unless a row refers to them; written in the transaction that makes them garbage';

CREATE TABLE IF NOT EXISTS backmarket.bucket_sweep (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- when a sweep should begin or go on; the worker that moves it runs the sweep
    due_at timestamptz NOT NULL,
    -- position of the running sweep; null: no sweep is running
    prefix text CHECK (prefix IN ('labels/', 'invoices/', 'bulk/')),
    step text NOT NULL DEFAULT 'objects' CHECK (step IN (
        'objects',          -- through the objects: those without a row are deleted
        'rows'              -- through the rows: labels that are not in the bucket are wanted again
    )),
    position text COLLATE "C" NOT NULL DEFAULT '',
    -- an operator has accepted that many objects have no row: they may be deleted
    accept_garbage boolean NOT NULL DEFAULT false,
    tries integer NOT NULL DEFAULT 0,
    error text,
    finished_at timestamptz
);
COMMENT ON TABLE backmarket.bucket_sweep IS 'One row: how far the daily sweep of the bucket is, and when it is due';

------------------------------------------------------------------------------
-- Changes: the feed that other applications read
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.changes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- sequence numbers commit out of order: a reader stops below the oldest running transaction
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    organization_id text NOT NULL,
    resource text NOT NULL,
    external_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('created', 'updated', 'removed')),
    -- the API's names of the fields that differ
    fields text[] NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- found by the organization's first walk of this resource
    initial boolean NOT NULL DEFAULT false,
    -- of an updated row: [old, new] of each field that differs and is a short, not personal column; null: none is told
    field_values jsonb,
    -- of a listing: the further market in which it changed; empty: the connection's locale, and all else
    market text NOT NULL DEFAULT '',
    -- the order in which the feed is read
    PRIMARY KEY (transaction_id, id, recorded_at)
) PARTITION BY RANGE (recorded_at);
COMMENT ON TABLE backmarket.changes IS 'Append-only: what was created, updated or removed, written in the transaction that did it';
CREATE INDEX IF NOT EXISTS changes_organization ON backmarket.changes (organization_id, transaction_id, id);
-- the history of one row
CREATE INDEX IF NOT EXISTS changes_row ON backmarket.changes (organization_id, external_id);

CREATE TABLE IF NOT EXISTS backmarket.inbox_recorded (
    organization_id text NOT NULL REFERENCES backmarket.connections ON DELETE CASCADE,
    -- kind and id of the entry, such as `write/7`
    item text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, item)
);
COMMENT ON TABLE backmarket.inbox_recorded IS 'Entries of the inbox that an event told of: none is told twice while it waits';

CREATE TABLE IF NOT EXISTS backmarket.feed_marks (
    mark text PRIMARY KEY CHECK (mark IN (
        'announced',        -- listeners were told up to here
        'dropped'           -- up to here events may have been dropped: they were older than the retention
    )),
    transaction_id xid8 NOT NULL,
    id bigint NOT NULL
);
COMMENT ON TABLE backmarket.feed_marks IS 'Positions in the change feed';

------------------------------------------------------------------------------
-- Calls for events: who is called, up to where, and what has to be sent again (docs/decisions/0020)
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.event_endpoints (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN (
        'webhook',          -- an URL that is called
        'task'              -- the host's Celery task, which a setting of the workers names; at most one row
    )),
    -- events of this organization; null: of all
    organization_id text REFERENCES backmarket.connections ON DELETE CASCADE,
    -- of a webhook
    url text CHECK (length(url) <= 2000),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 200),
    -- encrypted as the API keys; the previous secret signs, too, until its time is over
    secret bytea,
    previous_secret bytea,
    previous_until timestamptz,
    -- which events; null: all
    resources text[],
    kinds text[],
    -- updated events that changed one of these fields
    fields text[],
    -- also those of an organization's first walk
    initial boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT 'enabled' CHECK (state IN (
        'enabled',
        'disabled'          -- nothing is sent: `disabled_reason` says why
    )),
    disabled_reason text CHECK (disabled_reason IN (
        'person',           -- a person or an application disabled it
        'failing',          -- nothing succeeded for the days after which an event is given up
        'gone'              -- it answered 410
    )),
    -- events up to here were sent, or are in `event_retries`; and the server and timeline where that was so
    transaction_id xid8 NOT NULL,
    change_id bigint NOT NULL,
    history text NOT NULL,
    -- there may be events for it up to here
    news_transaction_id xid8 NOT NULL DEFAULT '0',
    news_id bigint NOT NULL DEFAULT 0,
    -- it has read all that the router has seen: no event for it lies between its position and the router's
    idle boolean NOT NULL DEFAULT false,
    -- when a worker should look; infinity: there is nothing to do
    due_at timestamptz NOT NULL DEFAULT now(),
    -- after a failure: nothing is sent before this time
    paused_until timestamptz NOT NULL DEFAULT '-infinity',
    -- the lease: only the holder of the newest number may write, whatever its clock says
    lease_number bigint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    -- failed attempts in a row, since when, and the last error; it says nothing of what the receiver answered
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    error_code text,
    error text,
    last_success_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((url IS NULL) = (kind = 'task')),
    CHECK ((disabled_reason IS NULL) = (state = 'enabled'))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX IF NOT EXISTS event_endpoints_task ON backmarket.event_endpoints (kind) WHERE kind = 'task';
CREATE INDEX IF NOT EXISTS event_endpoints_organization ON backmarket.event_endpoints (organization_id);
CREATE INDEX IF NOT EXISTS event_endpoints_due ON backmarket.event_endpoints (due_at) WHERE state = 'enabled';
COMMENT ON TABLE backmarket.event_endpoints IS 'Who is called at events: webhooks and the host''s Celery task, each with its position in the feed';

CREATE TABLE IF NOT EXISTS backmarket.event_router (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    transaction_id xid8 NOT NULL DEFAULT '0',
    id bigint NOT NULL DEFAULT 0,
    -- the server and timeline of that position
    history text NOT NULL DEFAULT ''
);
COMMENT ON TABLE backmarket.event_router IS 'One row: up to where in the feed endpoints were made due';
INSERT INTO backmarket.event_router DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS backmarket.event_retries (
    endpoint_id bigint NOT NULL REFERENCES backmarket.event_endpoints ON DELETE CASCADE,
    -- the event's position; of what was missed: where the endpoint goes on
    transaction_id xid8 NOT NULL,
    change_id bigint NOT NULL,
    reason text NOT NULL CHECK (reason IN (
        'failed',           -- sent before, without success
        'asked',            -- a person wants it again
        'missed'            -- no event: it says that events after the cursor `missed_after` cannot be sent
    )),
    missed_after text,
    -- the server and timeline of the position: on another, it may be another event's
    history text NOT NULL,
    organization_id text,
    due_at timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    -- tries end some days later
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, transaction_id, change_id),
    CHECK ((missed_after IS NULL) = (reason <> 'missed'))
);
CREATE INDEX IF NOT EXISTS event_retries_due ON backmarket.event_retries (endpoint_id, due_at);
CREATE INDEX IF NOT EXISTS event_retries_organization ON backmarket.event_retries (organization_id);
COMMENT ON TABLE backmarket.event_retries IS 'Events that an endpoint gets again, and what it missed';

CREATE TABLE IF NOT EXISTS backmarket.event_attempts (
    endpoint_id bigint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- the event's position in the feed
    transaction_id xid8 NOT NULL,
    change_id bigint NOT NULL,
    -- number of this attempt, from 1
    attempt integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN (
        'delivered',
        'failed',           -- it is tried again
        'given_up'          -- the last attempt failed, too
    )),
    -- that the receiver answered; null: it did not
    status integer,
    error_code text,
    milliseconds integer NOT NULL,
    attempted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, id, attempted_at)
) PARTITION BY RANGE (attempted_at);
COMMENT ON TABLE backmarket.event_attempts IS 'The log of webhooks: each attempt to deliver an event; ids and outcomes only';

CREATE TABLE IF NOT EXISTS backmarket.clocks (
    process text PRIMARY KEY,
    ahead_seconds double precision NOT NULL,
    reported_at timestamptz NOT NULL
);
COMMENT ON TABLE backmarket.clocks IS
    'How far the clock of each worker''s host is ahead of PostgreSQL''s, as the worker reports each minute';

------------------------------------------------------------------------------
-- The console
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.console_sessions (
    -- SHA-256 of the browser's token, which is in its cookie alone
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    person text NOT NULL CHECK (length(person) BETWEEN 1 AND 200),
    role text NOT NULL CHECK (role IN ('viewer', 'operator')),
    proved_by text NOT NULL CHECK (proved_by IN (
        'password',
        'oidc'              -- an OpenID provider
    )),
    -- keyed hash of what gave the role: password and role, or the provider and its groups; another one ends the session
    credential text NOT NULL,
    client_address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- by the minute; what an open page refreshes by itself does not count
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    -- moves on with `last_seen_at`, up to the hours after `created_at` that a session lasts
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE backmarket.console_sessions IS 'Who is logged in to the console; a session has ended when its row is gone';

CREATE TABLE IF NOT EXISTS backmarket.console_views (
    person text NOT NULL CHECK (length(person) BETWEEN 1 AND 200),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    -- the filters, as in the address of the page
    query text NOT NULL CHECK (length(query) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (person, name)
);
COMMENT ON TABLE backmarket.console_views IS 'Filters of the page "To ship" that a person has saved under a name';

------------------------------------------------------------------------------
-- The audit trail: every act of a person or an application that changes something, in the transaction of the change.
-- The roles of the processes insert and read; `drop_partition` below is the one way to remove rows. With one login for
-- all processes, that login owns the table, and the trail is not protected from it.
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.audit (
    id bigint GENERATED ALWAYS AS IDENTITY,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- the name of who acted; null: the actor was not named
    actor text CHECK (length(actor) BETWEEN 1 AND 200),
    proved_by text NOT NULL CHECK (proved_by IN (
        'console login',        -- logged in to the console; of a refused login nothing is proved, and `actor` is null
        'console proxy',        -- named by the proxy before the console
        'cli',                  -- the operating system's user of a command
        'application',          -- named by the host application in its own process: not verified
        'unverified (broker)'   -- came by a Celery message: anyone who reaches the broker can send one
    )),
    -- the client's address (console), the host of the process (cli, application), or the sender as the message names it
    origin text CHECK (length(origin) <= 200),
    -- what was done, such as `connection.remove`: `backmarket/audit/actions.py` has them all
    action text NOT NULL,
    -- null: no single organization is concerned. Rows outlive their organization
    organization_id text,
    object_kind text,
    object_id text,
    outcome text NOT NULL CHECK (outcome IN (
        'done',                 -- committed with this row
        'asked',                -- queued or begun; the object tells how it ended
        'refused',              -- not allowed or not valid, and nothing was changed: `code` says why
        'failed'                -- broken off: `code` says why; what was done before stays
    )),
    code text,
    -- names of fields, numbers and ids; never a secret, nor a value that may be personal
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
COMMENT ON TABLE backmarket.audit IS 'Append-only: who did what, proved by what, from where, when, and with which outcome';
CREATE INDEX IF NOT EXISTS audit_organization ON backmarket.audit (organization_id, recorded_at, id);

------------------------------------------------------------------------------
-- Upkeep: growing tables have weekly partitions (by UTC, from Monday), and old ones are dropped
-- (docs/decisions/0010)
------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS backmarket.upkeep (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    due_at timestamptz NOT NULL
);
COMMENT ON TABLE backmarket.upkeep IS 'One row: when the hourly upkeep is due next; the worker that moves it does the upkeep';

-- Creates the partitions of this week and of `ahead`, and those of rows in the default partition; returns their number.
-- Two callers take turns; a caller waits at most for the lock timeout.
CREATE OR REPLACE FUNCTION backmarket.make_partitions(ahead interval DEFAULT '28 days') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s' SET timezone = 'UTC' AS $$
DECLARE
    made integer := 0;
    parent text;
    moment text;
    week timestamptz;
    new text;
BEGIN
    PERFORM FROM backmarket.locks WHERE kind = 'partitions' AND slot = 0 FOR UPDATE;
    FOR parent, moment IN VALUES ('sync_runs', 'finished_at'), ('changes', 'recorded_at'), ('audit', 'recorded_at'),
        ('event_attempts', 'attempted_at')
    LOOP
        IF to_regclass(format('backmarket.%I', parent || '_default')) IS NULL THEN
            EXECUTE format('CREATE TABLE backmarket.%1$I PARTITION OF backmarket.%2$I DEFAULT',
                parent || '_default', parent);
        END IF;
        FOR week IN EXECUTE format(
            'SELECT generate_series(date_trunc(''week'', now()), now() + $1, ''7 days'')'
            ' UNION SELECT date_trunc(''week'', %1$I) FROM backmarket.%2$I ORDER BY 1', moment, parent || '_default'
        ) USING ahead LOOP
            new := parent || to_char(week, '_YYYY_MM_DD');
            CONTINUE WHEN to_regclass(format('backmarket.%I', new)) IS NOT NULL;
            EXECUTE format('CREATE TABLE backmarket.%I (LIKE backmarket.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                new, parent);
            EXECUTE format('ALTER TABLE backmarket.%I OWNER TO %I', new, (
                SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = format('backmarket.%I', parent)::regclass
            ));
            EXECUTE format('LOCK TABLE backmarket.%I', parent || '_default');
            EXECUTE format('WITH moved AS (DELETE FROM backmarket.%1$I WHERE %2$I >= $1 AND %2$I < $2 RETURNING *)'
                ' INSERT INTO backmarket.%3$I SELECT * FROM moved', parent || '_default', moment, new)
                USING week, week + interval '7 days';
            EXECUTE format('ALTER TABLE backmarket.%I ATTACH PARTITION backmarket.%I FOR VALUES FROM (%L) TO (%L)',
                parent, new, week, week + interval '7 days');
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
SELECT backmarket.make_partitions();

-- Drops a partition whose rows are all older than `days`; false: it is not there (any more), or is younger. For the
-- feed, notes the position at which it ends. Runs with the owner's rights, and refuses to drop rows of the audit trail
-- that are younger than 30 days.
CREATE OR REPLACE FUNCTION backmarket.drop_partition(parent text, partition text, days integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s' SET timezone = 'UTC' AS $$
DECLARE
    ends timestamptz;
BEGIN
    IF parent NOT IN ('sync_runs', 'changes', 'audit', 'event_attempts') OR days < 1 OR parent = 'audit' AND days < 30 THEN
        RAISE EXCEPTION 'Rows of % that are % days old are not dropped.', parent, days
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('LOCK TABLE backmarket.%I IN ACCESS EXCLUSIVE MODE', parent);
    SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM $bound$TO \('([^']+)'\)$bound$)::timestamptz INTO ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = format('backmarket.%I', parent)::regclass
      AND c.relname = partition AND c.relnamespace = 'backmarket'::regnamespace;
    IF ends IS NULL OR ends > now() - make_interval(days => days) THEN
        RETURN false;
    END IF;
    IF parent = 'changes' THEN
        EXECUTE format('INSERT INTO backmarket.feed_marks AS m (mark, transaction_id, id)'
            ' SELECT ''dropped'', transaction_id, id FROM backmarket.%I ORDER BY transaction_id DESC, id DESC LIMIT 1'
            ' ON CONFLICT (mark) DO UPDATE SET transaction_id = excluded.transaction_id, id = excluded.id'
            ' WHERE (m.transaction_id, m.id) < (excluded.transaction_id, excluded.id)', partition);
    END IF;
    EXECUTE format('DROP TABLE backmarket.%I', partition);
    RETURN true;
END
$$;
-- for the owner and the workers
REVOKE ALL ON FUNCTION backmarket.make_partitions(interval), backmarket.drop_partition(text, text, integer) FROM PUBLIC;

------------------------------------------------------------------------------
-- Row-level security: a guard against mistakes (docs/decisions/0009).
-- A host application's logins are members of `backmarket_reader`. They see one organization, set by each transaction:
--     SELECT set_config('backmarket.organization_id', '...', true)
-- The owner of the tables and the processes are bound as well, except in transactions that are marked as a worker's:
--     SET LOCAL backmarket.worker = 'on'
------------------------------------------------------------------------------

DO $$
BEGIN
    IF to_regrole('backmarket_reader') IS NULL THEN
        CREATE ROLE backmarket_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;               -- roles belong to the whole server: another database's schema has just created it
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'The role backmarket_reader is missing, and % may not make it: let an administrator run'
            ' `CREATE ROLE backmarket_reader NOLOGIN`, then repeat `backmarket db init`.', current_user;
END
$$;

GRANT USAGE ON SCHEMA backmarket TO backmarket_reader;
-- on the partitioned table, not on its partitions: rows read through the table are guarded
GRANT SELECT ON
    backmarket.orders, backmarket.orderlines, backmarket.listings, backmarket.listing_markets, backmarket.deliveries,
    backmarket.returns, backmarket.labels, backmarket.api_writes, backmarket.bulk_jobs, backmarket.bulk_parts,
    backmarket.work,
    backmarket.sync_state, backmarket.sync_runs, backmarket.changes
TO backmarket_reader;
-- all columns but the key and the account's hash
GRANT SELECT (
    organization_id, generation, enabled, environment, region, locale, base_url, unauthorized_at,
    last_error_at, last_error_code, last_error, last_error_request_id, last_error_cf_ray, created_at, updated_at,
    refused_at, next_probe_at, probed_at, markets
) ON backmarket.connections TO backmarket_reader;

------------------------------------------------------------------------------
-- Rights of the processes. A login that is a member of one of these roles runs that process; the owner migrates.
-- Where no administrator has created the roles and the owner may not, all processes connect as the owner.
------------------------------------------------------------------------------

DO $$
DECLARE
    process text;
    rights text;
    objects text;
BEGIN
    FOREACH process IN ARRAY ARRAY['backmarket_worker', 'backmarket_console', 'backmarket_metrics'] LOOP
        BEGIN
            IF to_regrole(process) IS NULL THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', process);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;       -- roles belong to the whole server: another database's schema has just created it
            WHEN insufficient_privilege THEN
                NULL;       -- `backmarket doctor` says what an administrator has to run
        END;
    END LOOP;
    FOR process, rights, objects IN VALUES
        -- workers, the `backmarket` command and host applications with the BackMarket object
        ('backmarket_worker', 'USAGE', 'SCHEMA backmarket'),
        ('backmarket_worker', 'SELECT', 'backmarket.schema_version'),
        ('backmarket_worker', 'SELECT, UPDATE', 'backmarket.locks, backmarket.schedule'),
        ('backmarket_worker', 'SELECT, INSERT', 'backmarket.audit, backmarket.first_request'),
        ('backmarket_worker', 'SELECT, INSERT, UPDATE',
            'backmarket.walk_seen, backmarket.work, backmarket.bulk_parts,'
            ' backmarket.bulk_formats, backmarket.bucket_sweep, backmarket.upkeep'),
        ('backmarket_worker', 'SELECT, INSERT, DELETE',
            'backmarket.inbox_recorded, backmarket.sync_runs, backmarket.changes, backmarket.event_attempts'),
        ('backmarket_worker', 'SELECT, UPDATE', 'backmarket.event_router'),
        ('backmarket_worker', 'SELECT, INSERT, UPDATE, DELETE',
            'backmarket.connections, backmarket.sync_state, backmarket.walks, backmarket.orders,'
            ' backmarket.orderlines, backmarket.listings,'
            ' backmarket.listing_markets, backmarket.deliveries, backmarket.returns, backmarket.labels,'
            ' backmarket.api_writes,'
            ' backmarket.bulk_jobs, backmarket.sku_quota, backmarket.bucket_deletions, backmarket.feed_marks,'
            ' backmarket.clocks, backmarket.event_endpoints, backmarket.event_retries'),
        ('backmarket_worker', 'SELECT (expires_at), DELETE', 'backmarket.console_sessions'),    -- old ones are dropped
        ('backmarket_worker', 'USAGE', 'SEQUENCE backmarket.bulk_jobs_id_seq'),
        ('backmarket_worker', 'EXECUTE',
            'FUNCTION backmarket.make_partitions(interval), backmarket.drop_partition(text, text, integer)'),
        -- the console: what its pages show, what an operator does there, and its sessions
        ('backmarket_console', 'USAGE', 'SCHEMA backmarket'),
        ('backmarket_console', 'SELECT',
            'backmarket.schema_version, backmarket.schedule, backmarket.feed_marks, backmarket.sku_quota'),
        ('backmarket_console', 'SELECT, UPDATE', 'backmarket.locks'),
        ('backmarket_console', 'SELECT, INSERT',
            'backmarket.audit, backmarket.bucket_deletions, backmarket.first_request'),
        ('backmarket_console', 'SELECT, DELETE',
            'backmarket.walks, backmarket.sync_runs, backmarket.listings, backmarket.listing_markets,'
            ' backmarket.deliveries, backmarket.returns'),
        ('backmarket_console', 'SELECT, UPDATE, DELETE', 'backmarket.labels, backmarket.sync_state'),
        ('backmarket_console', 'INSERT', 'backmarket.sync_state'),
        ('backmarket_console', 'SELECT, INSERT, UPDATE',
            'backmarket.work, backmarket.bulk_parts, backmarket.bulk_formats'),
        ('backmarket_console', 'SELECT, INSERT, DELETE', 'backmarket.changes'),
        ('backmarket_console', 'SELECT, INSERT, UPDATE, DELETE',
            'backmarket.connections, backmarket.orders, backmarket.orderlines, backmarket.api_writes,'
            ' backmarket.bulk_jobs, backmarket.console_sessions, backmarket.console_views'),
        ('backmarket_console', 'USAGE', 'SEQUENCE backmarket.bulk_jobs_id_seq'),
        ('backmarket_console', 'SELECT (id, kind, organization_id, url, description, resources, kinds, fields,'
            ' initial, state, disabled_reason, transaction_id, change_id, history, news_transaction_id, news_id, idle,'
            ' due_at, paused_until, lease_number, failures, failing_since, error_code, error, last_success_at,'
            ' created_at),'
            ' UPDATE (state, disabled_reason, transaction_id, change_id, history, idle, due_at, paused_until,'
            ' lease_number, lease_owner, lease_until, failures, failing_since, error_code, error)', 'backmarket.event_endpoints'),
        ('backmarket_console', 'SELECT, INSERT, UPDATE, DELETE', 'backmarket.event_retries'),
        ('backmarket_console', 'SELECT, DELETE', 'backmarket.event_attempts'),
        ('backmarket_console', 'SELECT, UPDATE', 'backmarket.event_router'),
        -- the exporter of the metrics: the columns that it counts, none with a key or personal data
        ('backmarket_metrics', 'USAGE', 'SCHEMA backmarket'),
        ('backmarket_metrics', 'SELECT',
            'backmarket.schema_version, backmarket.schedule, backmarket.upkeep, backmarket.clocks'),
        ('backmarket_metrics', 'SELECT (organization_id, enabled, account, unauthorized_at, created_at)',
            'backmarket.connections'),
        ('backmarket_metrics', 'SELECT (organization_id, resource, enabled, interval_seconds, next_due_at,'
            ' nudged_until, lease_until, last_success_at, failing_since, error_code, availability, rows_missing,'
            ' rows_rejected)', 'backmarket.sync_state'),
        ('backmarket_metrics', 'SELECT (state, noted_at)', 'backmarket.labels'),
        ('backmarket_metrics', 'SELECT (state, created_at, due_at)', 'backmarket.api_writes'),
        ('backmarket_metrics', 'SELECT (state, created_at, ended_at)', 'backmarket.bulk_jobs'),
        ('backmarket_metrics', 'SELECT (state, due_at, lines)', 'backmarket.bulk_parts'),
        ('backmarket_metrics', 'SELECT (id)', 'backmarket.bucket_deletions'),
        ('backmarket_metrics', 'SELECT (state, disabled_reason, due_at, failing_since, lease_until)',
            'backmarket.event_endpoints'),
        ('backmarket_metrics', 'SELECT (reason)', 'backmarket.event_retries')
    LOOP
        IF to_regrole(process) IS NOT NULL THEN
            EXECUTE format('GRANT %s ON %s TO %I', rights, objects, process);
        END IF;
    END LOOP;
END
$$;

-- Every table with an organization, including those of later versions.
DO $$
DECLARE
    guarded record;
    process name;
    -- the subqueries run once per statement, not once per row; the planner takes IS NOT NULL as true for nearly all
    -- rows, so its estimates stay as they are without the policy
    marked constant text := $policy$USING (
        (SELECT true WHERE current_setting('backmarket.worker', true) = 'on') IS NOT NULL
        OR organization_id = (SELECT NULLIF(current_setting('backmarket.organization_id', true), ''))
    )$policy$;
BEGIN
    FOR guarded IN
        SELECT c.oid, c.oid::regclass AS name, c.relowner, c.relowner::regrole AS owner,
            c.relrowsecurity AND c.relforcerowsecurity AS forced
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'
        WHERE c.relnamespace = 'backmarket'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY c.oid
    LOOP
        IF NOT guarded.forced THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', guarded.name);
        END IF;
        -- the plain comparison, so that an index serves a query without a WHERE
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded.oid AND polname = 'reader') THEN
            EXECUTE format($policy$
                CREATE POLICY reader ON %s FOR SELECT TO backmarket_reader USING (
                    organization_id = NULLIF(current_setting('backmarket.organization_id', true), '')
                )
            $policy$, guarded.name);
        END IF;
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded.oid AND polname = 'owner') THEN
            EXECUTE format('CREATE POLICY owner ON %s TO %s ', guarded.name, guarded.owner) || marked;
        ELSIF NOT EXISTS (
            SELECT FROM pg_policy
            WHERE polrelid = guarded.oid AND polname = 'owner' AND polroles = ARRAY[guarded.relowner]
        ) THEN
            EXECUTE format('ALTER POLICY owner ON %s TO %s', guarded.name, guarded.owner);
        END IF;
        FOR process IN
            SELECT rolname FROM pg_roles
            WHERE rolname IN ('backmarket_worker', 'backmarket_console', 'backmarket_metrics')
              AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded.oid AND polname = rolname)
        LOOP
            EXECUTE format('CREATE POLICY %1$I ON %2$s TO %1$I ', process, guarded.name) || marked;
        END LOOP;
    END LOOP;
END
$$;

INSERT INTO backmarket.schema_version (version) VALUES (8) ON CONFLICT DO NOTHING;
