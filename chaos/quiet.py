"""When a round is over: nothing is due, sent, waited for or behind."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

from backmarket.errors import DatabaseUnavailable
from chaos.flows import Flows
from chaos.grounds import QUICK, Grounds
from chaos.lasting import Broken
from chaos.sellers import LIED_TO
from chaos.strikes import Strikes


@dataclass
class Deeds:
    """What a person had to do, since the API asked for it: a refused key, a label that must not be fetched.

    Attributes:
        reconnected: organizations whose key the API had refused, each as often as it was.
        labels_wanted: organizations whose labels had been given up.
        waited_for: what was not over at once, and the seconds until it was.
    """

    reconnected: list[str]
    labels_wanted: list[str]
    waited_for: dict[str, float]


class NotQuiet(Exception):
    """Something is still going on; the text says what."""


def wait_until_quiet(grounds: Grounds, flows: Flows, strikes: Strikes, lasting: Broken, timeout: float) -> Deeds:
    """Wait until everything has come to its end since now, but for what is broken for ever: that must be named.

    Args:
        grounds: whole again, but for what goes on.
        flows: nothing changes any more; the application may ask for something still.
        strikes: whose last fault may go on.
        lasting: what is broken for ever.
        timeout: seconds.

    Raises:
        NotQuiet: it has not.
    """
    ((since,),) = grounds.ask("SELECT now()")
    grounds.ask("UPDATE backmarket.schedule SET interval_seconds = 3600")
    grounds.ask(_IN_FULL, list(flows.sellers.group(LIED_TO)))
    deeds = Deeds([], [], {})
    began = monotonic()
    values = lasting.exempt() | {"since": since, "overlap": QUICK["watermark_overlap"]}
    while True:
        strikes.tend()
        with suppress(DatabaseUnavailable):  # a pooled connection of before PostgreSQL was restarted; next time
            _act(grounds, deeds)
        grounds.ask(_DUE_ONCE_MORE, **values)
        open_ones = {"faults": len(strikes.going_on), "asks": flows.asking, **dict(grounds.ask(_LEFT, **values))}
        left = {name: number for name, number in open_ones.items() if number}
        if not left and not lasting.named():
            left = {"lasting faults without a name": 1}
        took = monotonic() - began
        deeds.waited_for |= dict.fromkeys(left, round(took, 1))
        if not left:
            return deeds
        if took > timeout:
            raise NotQuiet(", ".join(f"{number} {name}" for name, number in left.items()))
        sleep(0.15)


def _act(grounds: Grounds, deeds: Deeds) -> None:
    """Do what only a person can, where the API's own answers demand one."""
    grounds.ask(_PROBED_NOW)
    for (name,) in grounds.ask("SELECT organization_id FROM backmarket.connections WHERE unauthorized_at IS NOT NULL"):
        grounds.market.enable_connection(name)
        deeds.reconnected.append(name)
    for (name,) in grounds.ask("SELECT DISTINCT organization_id FROM backmarket.labels WHERE state = 'unavailable'"):
        grounds.market.fetch_labels(name)
        deeds.labels_wanted.append(name)


# After a single 401 beat has the key probed, and nobody need act; a round can't wait the half minute until then.
_PROBED_NOW = """
UPDATE backmarket.connections SET refused_at = refused_at - interval '30 s', next_probe_at = now()
WHERE refused_at IS NOT NULL AND unauthorized_at IS NULL AND next_probe_at > now() AND probed_at IS NULL
"""

# What is broken for ever need not come to an end: see `Broken.exempt`.
_LATELY = """
WITH lately AS (
    SELECT organization_id, GREATEST(%(since)s, (
        SELECT max(settled_at) FROM backmarket.api_writes w WHERE w.organization_id = c.organization_id
    ), (
        SELECT max(ended_at) FROM backmarket.bulk_parts p WHERE p.organization_id = c.organization_id
    )) AS at FROM backmarket.connections c WHERE organization_id <> ALL(%(broken)s)
), behind AS (
    SELECT organization_id, resource FROM backmarket.sync_state s JOIN lately l USING (organization_id)
    WHERE CASE WHEN organization_id = ANY(%(walks)s) AND resource = 'orders'
        THEN (watermark + make_interval(secs => %(overlap)s) > l.at) IS NOT TRUE
        ELSE (last_started_at > l.at) IS NOT TRUE END
)
"""

# Nothing falls due by itself any more: each sync does once that has not begun since its organization last changed.
_DUE_ONCE_MORE = f"""
{_LATELY}
UPDATE backmarket.sync_state s SET next_due_at = now(), sync_due_at = now() FROM behind b
WHERE b.organization_id = s.organization_id AND b.resource = s.resource AND last_started_at IS NOT NULL
  AND lease_owner IS NULL AND (failures = 0 OR b.organization_id = ANY(%(walks)s))
  AND next_due_at > now() + interval '1 s'
"""

# The API has lied about their rows, and does no more: only a full walk that begins now is sure to set it right. The
# daily one would; a round can't wait for it.
_IN_FULL = """
UPDATE backmarket.sync_state SET requested = requested + 1, full_requested = true, nudged_until = NULL,
    full_interval_seconds = NULL, next_due_at = now(), sync_due_at = now() WHERE organization_id = ANY(%s)
"""

_LEFT = f"""
{_LATELY}, unread AS (
    SELECT p.organization_id, p.job_id, p.number FROM backmarket.bulk_parts p
    JOIN backmarket.bulk_jobs j ON j.organization_id = p.organization_id AND j.id = p.job_id
    WHERE EXISTS (SELECT FROM unnest(p.line_numbers) AS line
        WHERE p.organization_id || '/' || j.idempotency_key || '/' || line = ANY(%(lines)s))
), whole AS (
    SELECT organization_id FROM lately
)
SELECT 'syncs behind', count(*) FROM backmarket.sync_state s JOIN whole USING (organization_id)
    LEFT JOIN behind b USING (organization_id, resource)
WHERE b.resource IS NOT NULL OR organization_id <> ALL(%(walks)s) AND (
    last_success_at <= last_started_at OR failures > 0 OR served < requested)
UNION ALL SELECT 'refused keys', count(*) FROM backmarket.connections WHERE refused_at IS NOT NULL
UNION ALL SELECT 'unfinished walks', count(*) FROM backmarket.walks JOIN whole USING (organization_id)
    WHERE organization_id <> ALL(%(walks)s)
UNION ALL SELECT 'leases of syncs', count(*) FROM backmarket.sync_state JOIN whole USING (organization_id)
    WHERE lease_owner IS NOT NULL AND organization_id <> ALL(%(walks)s)
UNION ALL SELECT 'leases of work', count(*) FROM backmarket.work JOIN whole USING (organization_id)
    WHERE lease_owner IS NOT NULL AND organization_id || '/' || kind <> ALL(%(works)s)
UNION ALL SELECT 'due work', count(*) FROM backmarket.work w JOIN whole USING (organization_id)
    WHERE due_at < 'infinity' AND organization_id || '/' || kind <> ALL(%(works)s)
UNION ALL SELECT 'labels wanted', count(*) FROM backmarket.labels JOIN whole USING (organization_id)
    WHERE state <> 'stored' AND organization_id || '/' || resource || '/' || shipment_id <> ALL(%(labels)s)
UNION ALL SELECT 'open writes', count(*) FROM backmarket.api_writes JOIN whole USING (organization_id)
    WHERE (state IN ('pending', 'sending') OR (state = 'unknown' AND due_at < 'infinity'))
      AND organization_id || '/' || lane <> ALL(%(lanes)s)
UNION ALL SELECT 'open parts', count(*) FROM backmarket.bulk_parts p JOIN whole USING (organization_id)
    WHERE due_at < 'infinity' AND state IN ('pending', 'submitting', 'submitted', 'unknown')
      AND (organization_id, job_id, number) NOT IN (SELECT * FROM unread)
UNION ALL SELECT 'events to be sent', count(*) FROM backmarket.event_endpoints WHERE due_at < 'infinity' OR NOT idle
UNION ALL SELECT 'events that no endpoint was made due for', count(*)
    FROM backmarket.changes c, backmarket.event_router r
    WHERE (c.transaction_id, c.id) > (r.transaction_id, r.id)
UNION ALL SELECT 'reports to be written', count(*) FROM backmarket.bulk_jobs JOIN whole USING (organization_id)
    WHERE report_due_at IS NOT NULL
"""
