-- What a round watches inside PostgreSQL, beside the product's own tables: writes by a process without the lease, and
-- leases that were taken over from a worker that did not end its slice.

CREATE SCHEMA chaos;

CREATE TABLE chaos.trespasses (
    at timestamptz NOT NULL DEFAULT now(),
    process text NOT NULL,
    organization_id text NOT NULL,
    place text NOT NULL,
    what text NOT NULL
);
COMMENT ON TABLE chaos.trespasses IS 'Rows that a worker wrote without holding a lease of their organization';

CREATE TABLE chaos.takeovers (
    at timestamptz NOT NULL DEFAULT now(),
    organization_id text NOT NULL,
    kind text NOT NULL
);
COMMENT ON TABLE chaos.takeovers IS 'Leases that ran out, each as it was taken by another: the slice under it was struck';

-- The worker's connections are called `chaos-<pid>`, its leases `<host>:<pid>:<thread>`.
CREATE FUNCTION chaos.check_lease() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    pid text := substring(current_setting('application_name') FROM '^chaos-(\d+)$');
    organization text := COALESCE(NEW.organization_id, OLD.organization_id);
BEGIN
    IF pid IS NOT NULL AND NOT EXISTS (
        SELECT FROM backmarket.sync_state
        WHERE organization_id = organization AND split_part(lease_owner, ':', 2) = pid
          AND resource = COALESCE(TG_ARGV[0], COALESCE(to_jsonb(NEW), to_jsonb(OLD))->>'resource')
    ) AND NOT EXISTS (
        SELECT FROM backmarket.work
        WHERE organization_id = organization AND split_part(lease_owner, ':', 2) = pid AND kind = 'writes'
    ) AND EXISTS (SELECT FROM backmarket.connections WHERE organization_id = organization)
    THEN
        INSERT INTO chaos.trespasses (process, organization_id, place, what)
        VALUES (pid, organization, TG_TABLE_NAME, TG_OP);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION chaos.note_takeover() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.takeovers (organization_id, kind) VALUES (NEW.organization_id, to_jsonb(NEW)->>TG_ARGV[0]);
    RETURN NULL;
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['orders', 'listings', 'deliveries', 'returns'] LOOP
        EXECUTE format('CREATE TRIGGER chaos_lease AFTER INSERT OR UPDATE OR DELETE ON backmarket.%I'
            ' FOR EACH ROW EXECUTE FUNCTION chaos.check_lease(%L)', one, one);
    END LOOP;
    FOREACH one IN ARRAY ARRAY['walks', 'walk_seen'] LOOP
        EXECUTE format('CREATE TRIGGER chaos_lease AFTER INSERT OR UPDATE ON backmarket.%I'
            ' FOR EACH ROW EXECUTE FUNCTION chaos.check_lease()', one);
    END LOOP;
END
$$;

CREATE TRIGGER chaos_takeover AFTER UPDATE ON backmarket.work FOR EACH ROW
WHEN (OLD.lease_owner IS NOT NULL AND NEW.lease_owner IS NOT NULL AND OLD.lease_number <> NEW.lease_number)
EXECUTE FUNCTION chaos.note_takeover('kind');
CREATE TRIGGER chaos_takeover AFTER UPDATE ON backmarket.sync_state FOR EACH ROW
WHEN (OLD.lease_owner IS NOT NULL AND NEW.lease_owner IS NOT NULL AND OLD.lease_number <> NEW.lease_number)
EXECUTE FUNCTION chaos.note_takeover('resource');
