-- Sessions of the console outlive its process, and end for good.
CREATE TABLE backmarket.console_sessions (
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
    -- by the minute
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE backmarket.console_sessions IS 'Who is logged in to the console; a session has ended when its row is gone';

-- Writes and jobs name who asked for them. The table of the audit trail and its partitions are made by `schema.sql`.
ALTER TABLE backmarket.api_writes ADD asked_by text;
ALTER TABLE backmarket.bulk_jobs ADD asked_by text;

-- Locks became rows of a new table, `locks`, which `schema.sql` makes: a worker of version 4, which takes advisory locks,
-- must not run beside one of version 5.
