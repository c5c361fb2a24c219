"""The SQL of leases: how a row of `sync_state` is read, taken, put off and released."""

from __future__ import annotations

from backmarket.connections import ENCRYPTED_COLUMNS, MAY_SEND
from backmarket.work.backoff import SYNC_SECONDS

LEASE_COLUMNS = (
    "number", "generation", "taken_at", "requested", "kind", "watermark", "failures", "failing_for", "worked",
    "labels", "accept_missing", "has_error",
)  # fmt: skip
CREDENTIAL_COLUMNS = ("api_key", "account", "environment", "region", "locale", "base_url", "markets")
WALK_COLUMNS = (
    "since", "started_at", "began_at", "serving", "pass_", "pass_began_at", "next_page", "page_size",
    "expected", "highest", "saves", "counted", "steady",
)  # fmt: skip

# While a full walk is unfinished, due syncs go before its next slice.
# `IS TRUE` rules out the index of due rows: while statistics say that nothing is due, that index looks as cheap as
# the key, and after an outage each probe would read all due rows (10,000 rows: 4 ms instead of 0.2).
PROBE = f"""
SELECT s.lease_number AS number, c.generation, now() AS taken_at, s.requested, p.kind, s.watermark, s.failures,
    COALESCE(extract(epoch FROM now() - s.failing_since), 0)::float8 AS failing_for,
    s.last_success_at IS NOT NULL AS worked,
    s.download_labels AND NOT s.without_labels AS labels, s.accept_missing, c.last_error_at IS NOT NULL AS has_error,
    w.since, w.started_at, w.began_at, w.serving, w.pass AS pass_, w.pass_began_at, w.next_page, w.page_size,
    w.expected, w.highest, w.saves, w.counted, w.steady, {ENCRYPTED_COLUMNS}
FROM backmarket.sync_state s
JOIN backmarket.connections c USING (organization_id)
JOIN backmarket.schedule d USING (resource)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN NOT %(incremental)s OR s.watermark IS NULL THEN 'full'
        WHEN EXISTS (
            SELECT FROM backmarket.walks w
            WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market
              AND w.kind = 'full'
        ) THEN CASE WHEN s.sync_due_at <= now() THEN 'incremental' ELSE 'full' END
        WHEN s.full_requested AND s.failing_since IS NULL OR s.full_walk_due_at <= now() THEN 'full'
        ELSE 'incremental' END AS kind
) p
LEFT JOIN backmarket.walks w
    ON w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market AND w.kind = p.kind
WHERE s.organization_id = %(organization)s AND s.resource = %(resource)s AND s.market = %(market)s
  AND (s.next_due_at <= now()) IS TRUE AND (s.lease_until IS NULL OR s.lease_until < now())
  AND (d.enabled AND s.enabled OR s.requested > s.served)
  AND {MAY_SEND}
"""

# Everything that voids a lease increases the number, so comparing it is enough.
CLAIM = """
UPDATE backmarket.sync_state
SET lease_number = lease_number + 1, lease_owner = %(owner)s, nudged_until = NULL,
    lease_until = now() + make_interval(secs => %(seconds)s), last_started_at = now()
WHERE organization_id = %(organization)s AND resource = %(resource)s AND market = %(market)s
  AND lease_number = %(number)s AND (lease_until IS NULL OR lease_until < now())
RETURNING lease_number
"""

# The number grows at the end of a slice, too: that invalidates earlier probes, which saw another walk.
OVER = "lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL"

PAUSED = "next_due_at = now() + make_interval(secs => %(pause)s)"
PUT_OFF = f"""full_walk_due_at = now() + make_interval(secs => %(pause)s), next_due_at = LEAST(
    now() + make_interval(secs => %(pause)s), GREATEST(sync_due_at, now() + make_interval(secs => {SYNC_SECONDS}))
)"""

# A full walk that failed, is put off, and continues from its checkpoint.
BEHIND = """NOT %(full)s AND error_code IS NOT NULL AND full_walk_due_at > now() AND EXISTS (
    SELECT FROM backmarket.walks w
    WHERE w.organization_id = s.organization_id AND w.resource = s.resource AND w.market = s.market AND w.kind = 'full'
)"""

# Problems found by a full walk stay noted until the next full walk.
# A sync that goes before an unfinished full walk answers no request for a full one; and it leaves that walk due. The
# schedule may have changed since it began.
FINISH = f"""
{OVER}, nudged_until = NULL,
last_started_at = %(started)s, watermark = GREATEST(watermark, %(watermark)s),
served = CASE WHEN full_requested AND NOT %(full)s THEN served ELSE GREATEST(served, %(served)s) END,
full_requested = full_requested AND NOT (%(full)s AND requested = %(served)s),
without_labels = without_labels AND requested > %(served)s,
accept_missing = accept_missing AND NOT (%(full)s AND requested = %(served)s),
(sync_due_at, full_walk_due_at, next_due_at) = (
    SELECT sync, full_walk, CASE WHEN requested > %(served)s OR full_requested AND NOT %(full)s AND NOT ({BEHIND})
            THEN now()
        WHEN %(incremental)s THEN LEAST(sync, full_walk) ELSE sync END
    FROM (
        SELECT backmarket.next_in_phase(s.organization_id || '/' || s.resource || s.market, every) AS sync,
            CASE WHEN %(full)s THEN backmarket.next_in_phase(
                s.organization_id || '/' || s.resource || s.market || '/full', full_every, full_every / 2
            ) ELSE s.full_walk_due_at END AS full_walk
        FROM backmarket.schedule d, LATERAL (
            SELECT COALESCE(s.interval_seconds, d.interval_seconds) AS every,
                COALESCE(s.full_interval_seconds, d.full_interval_seconds) AS full_every
        ) AS rhythm
        WHERE d.resource = s.resource
    ) AS due
),
last_full_walk_at = CASE WHEN %(full)s THEN now() ELSE last_full_walk_at END,
last_walk_started_at = %(started)s,
last_success_at = now(), availability = 'available',
failures = CASE WHEN {BEHIND} THEN failures ELSE 0 END,
(failing_since, error_code, error, error_request_id, error_cf_ray) = (
    SELECT s.failing_since, s.error_code, s.error, s.error_request_id, s.error_cf_ray WHERE {BEHIND}
),
rows_missing = CASE WHEN %(full)s THEN %(missing)s ELSE rows_missing END,
rows_rejected = CASE WHEN %(full)s THEN %(rejected)s ELSE GREATEST(rows_rejected, %(rejected)s) END,
runs = runs + 1, quiet_runs = quiet_runs + %(quiet)s
"""
