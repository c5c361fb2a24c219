"""Whether all is as it must be after a round: each check gives what is wrong, in words."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from backmarket.bucket.keys import label_key
from backmarket.resources import RESOURCES
from backmarket.resources.signed_links import unsigned
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.sandbox.world.traffic import Entry
from chaos.flows import LINES, Flows
from chaos.grounds import LABEL_BYTES, LEASE, Grounds, connections_of_the_dead
from chaos.lasting import Broken
from chaos.quiet import Deeds
from chaos.schedule import LABELS, OF_S3
from chaos.sellers import BULK, Sellers
from chaos.strikes import Struck

WRITES_MOST_SENT, PART_MOST_SENT = 3, 2
"""Times that the product sends something whose answer was lost, before it is a person's to decide."""

IN_VAIN = OF_S3 | {"clock_jump"}
"""Faults while which a label that came cannot be stored."""

UNEXPLAINED = {2, 7}
"""Status of a task that hangs, and one that Back Market does not explain: each is a person's in the end."""

_SHOWN = 3


@dataclass
class Round:
    """What a verdict is about.

    Attributes:
        grounds: where it was.
        sellers: whose rows.
        flows: what was asked for.
        struck: the faults that took place.
        began: by the monotonic clock.
        task_fault: whether a bulk task was let fail.
        lasting: what is broken for ever.
        cost: requests that met it since all else was whole, and how many are allowed.
        deeds: of the person.
        logs: the lines that were logged since it began.
    """

    grounds: Grounds
    sellers: Sellers
    flows: Flows
    struck: Sequence[Struck]
    began: float
    task_fault: bool
    lasting: Broken
    cost: tuple[int, int]
    deeds: Deeds
    logs: Sequence[str]

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database something."""
        return self.grounds.ask(statement, *values)


def verdict(round_: Round) -> list[str]:
    """Everything that is wrong; empty: the round is green."""
    checks = (
        rows_differ, lines_differ, events_missing, events_untold, trespasses, writes_wrong, files_wrong, labels_wrong,
        labels_fetched, limits_exceeded, too_costly, left_behind, crashes,
    )  # fmt: skip
    return [f"{check.__name__.replace('_', ' ')}: {fault}" for check in checks for fault in check(round_)]


def rows_differ(round_: Round) -> Iterator[str]:
    """Every row that the API lists is stored as it is there, and none that it does not know; but for what is broken."""
    for name, resource in RESOURCES.items():
        stored: dict[str, dict[str, Any]] = defaultdict(dict)
        key = resource.key.name
        for seller, number, raw in round_.ask(
            f"SELECT organization_id, {key}::text, raw FROM backmarket.{name} WHERE removed_at IS NULL"
        ):
            stored[seller][number] = raw
        for seller in _whole(round_):
            excused = {number for owner, place, number in round_.lasting.rows if (owner, place) == (seller, name)}
            truth = {str(row[resource.key.source]): row for row in _truth(round_, seller, name)}
            listed = {number for number, row in truth.items() if name != "orders" or row["state"] not in {0, 8}}
            ours = stored[seller]
            yield from _told(f"{name} of {seller} missing", listed - ours.keys())
            yield from _told(f"{name} of {seller} that are gone", ours.keys() - truth.keys() - excused)
            differing = {
                number for number in ours.keys() & truth.keys() if unsigned(ours[number]) != unsigned(truth[number])
            }
            yield from _told(f"{name} of {seller} not the same", differing)


def lines_differ(round_: Round) -> Iterator[str]:
    """The lines of stored orders are those of the stored orders."""
    found = round_.ask(
        "SELECT organization_id, order_id, (SELECT COALESCE(jsonb_agg(l.raw ORDER BY l.orderline_id), '[]')"
        "   FROM backmarket.orderlines l WHERE l.organization_id = o.organization_id AND l.order_id = o.order_id"
        "   AND l.removed_at IS NULL)"
        " = (SELECT COALESCE(jsonb_agg(line ORDER BY (line->>'id')::bigint), '[]')"
        "   FROM jsonb_array_elements(CASE jsonb_typeof(o.raw->'orderlines') WHEN 'array'"
        "   THEN o.raw->'orderlines' ELSE '[]' END) AS line)"
        " FROM backmarket.orders o WHERE removed_at IS NULL"
    )
    yield from _told("orders with other lines", {f"{seller} {order}" for seller, order, same in found if not same})


def events_missing(round_: Round) -> Iterator[str]:
    """Every row's last write has its event, and every row was created once more than it was removed, at most.

    That a row is gone is confirmed by a later walk, which is no event.
    """
    for name, resource in RESOURCES.items():
        silent = round_.ask(
            f"SELECT organization_id || ' ' || {resource.key.name} FROM backmarket.{name} r WHERE NOT EXISTS ("
            " SELECT FROM backmarket.changes c WHERE c.organization_id = r.organization_id AND c.resource = %s"
            f" AND c.external_id = r.{resource.key.name}::text"
            " AND c.recorded_at >= LEAST(r.last_synced_at, r.removed_at))",
            name,
        )
        yield from _told(f"{name} without the event of their last write", {row for (row,) in silent})
    twice = round_.ask(
        "SELECT organization_id || ' ' || resource || ' ' || external_id FROM backmarket.changes"
        " GROUP BY organization_id, resource, external_id"
        " HAVING count(*) FILTER (WHERE kind = 'created') > 1 + count(*) FILTER (WHERE kind = 'removed')"
    )
    yield from _told("rows created twice", {row for (row,) in twice})


def events_untold(round_: Round) -> Iterator[str]:
    """The host's webhook and task got each event of the feed, and first in its order; the webhook no initial one."""
    host = round_.grounds.host
    host.settle()
    feed = list(round_.grounds.market.changes(host.begin_after, limit=10_000))
    place = {change.cursor: number for number, change in enumerate(feed)}
    wanted = {"webhook": {change.cursor for change in feed if not change.initial}, "task": place.keys()}
    for by, got in host.got.items():
        yield from _told(f"events that the {by} did not get", wanted[by] - set(got))
        places = [place[cursor] for cursor in got if cursor in place]
        if places != sorted(places):
            yield f"the {by} first got events out of their order"
    yield from _told("events that the webhook must not get", set(host.got["webhook"]) - wanted["webhook"])


def trespasses(round_: Round) -> Iterator[str]:
    """No worker wrote without a lease."""
    for place, what, number in round_.ask(
        "SELECT place, what, count(*) FROM chaos.trespasses GROUP BY 1, 2 ORDER BY 1, 2"
    ):
        yield f"{number} rows of {place} ({what}) were written without a lease"


def writes_wrong(round_: Round) -> Iterator[str]:
    """Every write took place once, in its order; what is broken or a person's to decide may be missing, and is not
    there twice.
    """
    took: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for seller in {name for name, _, _ in round_.flows.wishes.writes}:
        for one in _truth(round_, seller, "writes"):
            if one["operation"] != "listings.bulk":
                fields = {name: value for name, value in one["fields"].items() if name not in {"id", "order_id"}}
                took[seller, one["operation"], one["object"]].append(fields)
    open_ones = {(seller, lane) for seller, lane in round_.ask(_PERSONS_LANES)}
    excused = {seller for seller, _ in [*open_ones, *round_.lasting.lanes]} | {*round_.lasting.organizations}
    for wish, expected in round_.flows.wishes.writes.items():
        happened = took.pop(wish, [])
        if happened != expected and not (wish[0] in excused and _is_part(happened, expected)):
            yield f"{wish}: {happened}, and not {expected}"
    yield from (f"{where} took place, unasked" for where in took)
    exempt = round_.lasting.exempt()
    for state, code, sent, number in round_.ask(
        "SELECT state, error_code, sent, count(*) FROM backmarket.api_writes"
        " WHERE state <> 'succeeded' AND organization_id <> ALL(%s) AND organization_id || '/' || lane <> ALL(%s)"
        " GROUP BY 1, 2, 3",
        exempt["broken"],
        exempt["lanes"],
    ):
        if state != "unknown" or sent < WRITES_MOST_SENT:
            yield f"{number} writes are {state} ({code}) after {sent} requests"


def files_wrong(round_: Round) -> Iterator[str]:
    """No line of a bulk file was accepted twice; those of parts that are done were once, and their listings say so.

    What is broken has no part in its end: its part may be open, or a person's.
    """
    ends: dict[tuple[str, str], str] = {}
    failed: set[tuple[str, str]] = set()
    """Lines of parts whose answer was lost, of the seller one of whose tasks did not apply its lines."""
    broken = {*round_.lasting.lines}
    for seller, file, state, sent, task, numbers, outcomes in round_.ask(_PARTS):
        skus = list(round_.flows.wishes.lines[seller])[int(file.split()[-1]) * LINES :]
        sent_lines = [skus[number - 2] for number in numbers]
        if round_.task_fault and seller == round_.sellers.names[BULK.stop - 1] and sent > 1:
            failed |= {(seller, sku) for sku in sent_lines}
        excused = seller in round_.lasting.organizations or any((seller, file, line) in broken for line in numbers)
        if state == "unknown" and task not in UNEXPLAINED and sent < PART_MOST_SENT and not excused:
            yield f"a part of {seller} was handed to a person after it was sent {sent} times"
        ended = state in {"done", "unknown"} or (state == "failed" and task == 8)
        if not ended and not excused:
            yield f"a part of {seller} is {state}"
        told = {number: outcomes.get(str(number), [state])[0] for number in numbers}
        ends |= {(seller, sku): told[number] for sku, number in zip(sent_lines, numbers, strict=True)}
    for seller, lines in round_.flows.wishes.lines.items():
        times = Counter(
            one["object"] for one in _truth(round_, seller, "writes") if one["operation"] == "listings.bulk"
        )
        twice = {sku for sku, number in times.items() if number > 1 + ((seller, sku) in failed)}
        yield from _told(f"lines of {seller} sent twice", twice)
        listings = {row["sku"]: (row["quantity"], float(row["price"])) for row in _truth(round_, seller, "listings")}
        done = {sku for sku in lines if ends.get((seller, sku)) == "done"}
        yield from _told(f"lines of {seller} done and never sent", done - times.keys())
        yield from _told(
            f"lines of {seller} done and not applied", {sku for sku in done if listings[sku] != lines[sku]}
        )
        yield from _told(f"lines of {seller} in no part", {sku for sku in lines if (seller, sku) not in ends})


def labels_wrong(round_: Round) -> Iterator[str]:
    """Each label that the API names is in the bucket, and is what its row says; but for the broken one."""
    broken = {*round_.lasting.labels}
    stored = {
        (seller, resource, number): (key, digest, etag)
        for seller, resource, number, key, digest, etag in round_.ask(
            "SELECT organization_id, resource, shipment_id, object_key, sha256, etag FROM backmarket.labels"
        )
        if (seller, resource, number) not in broken
    }
    named = {
        (seller, resource, row["shipmentId"])
        for seller in _whole(round_)
        for resource, field in (("deliveries", "labelUrl"), ("returns", "label"))
        for row in _truth(round_, seller, resource)
        if row[field]
    }
    yield from _told("labels not stored", named - stored.keys() - broken)
    grounds = round_.grounds
    objects = {
        each.object_name: str(each.etag).strip('"')
        for each in grounds.bucket().list_objects(grounds.settings.s3_bucket, prefix="labels/", recursive=True)
    }
    for label, (key, digest, etag) in stored.items():
        if objects.get(key) != etag:
            yield f"the object of label {label} is {objects.get(key)}, and not {etag}"
        if digest != sha256(label_pdf(label[2], LABEL_BYTES)).hexdigest():
            yield f"the object of label {label} is another file"
    folders = {label_key(name, "deliveries", 0).split("/")[1] for name in round_.sellers.names}
    ours = {key for key in objects if key and key.split("/")[1] in folders}
    yield from _told("label objects without a row", ours - {key for key, _, _ in stored.values()})


def labels_fetched(round_: Round) -> Iterator[str]:
    """No label was fetched more often than once, and once more for each fault or kill that struck its fetch."""
    fetches: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in round_.grounds.sandbox.requests():
        if entry.operation in LABELS:
            fetches[entry.seller, entry.label].append(entry)
    taken = Counter(
        seller for (seller,) in round_.ask("SELECT organization_id FROM chaos.takeovers WHERE kind = 'labels'")
    )
    tries: dict[tuple[str, str], int] = {
        (seller, url.rsplit("/", 1)[-1]): number
        for seller, url, number in round_.ask("SELECT organization_id, url, tries FROM backmarket.labels")
    }
    pauses = [
        (round_.began + one.began - LEASE, round_.began + one.ended + LEASE)
        for one in round_.struck
        if one.kind in IN_VAIN
    ]
    deeds = Counter(round_.deeds.reconnected)
    for (seller, path), entries in fetches.items():
        struck = sum(
            one.fault is not None or one.status != 200 or any(begin <= one.arrival <= end for begin, end in pauses)
            for one in entries
        )
        failed = tries.get((seller, path.rsplit("/", 1)[-1]), 0)
        allowed = 1 + max(struck, failed) + taken[seller] + deeds[seller]
        if len(entries) > allowed:
            yield (
                f"{path} of {seller} was fetched {len(entries)} times: {struck} were struck, {failed} failed,"
                f" {taken[seller]} leases were taken over, {deeds[seller]} made void"
            )


def limits_exceeded(round_: Round) -> Iterator[str]:
    """No window of any account saw more requests than allowed, no hour more lines."""
    for name, seller in round_.grounds.sandbox.stats().sellers.items():
        if seller.violations or seller.sensitive_violations:
            yield f"{seller.violations + seller.sensitive_violations} requests of {name} above the limit"
        if seller.sku_lines_refused:
            yield f"{seller.sku_lines_refused} files or updates of {name} above the lines of an hour"


def too_costly(round_: Round) -> Iterator[str]:
    """What is broken for ever costs no more requests than docs/states.md allows."""
    met, allowed = round_.cost
    if met > allowed:
        yield f"{met} requests met the lasting fault, and not at most {allowed}"


def left_behind(round_: Round) -> Iterator[str]:
    """No temporary file, no connection too many or of a process that is gone, no transaction without its client."""
    yield from _told("temporary files", {path.name for path in round_.grounds.temporary.iterdir()})
    dead = connections_of_the_dead(
        round_.ask("SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^chaos-[0-9]+$'")
    )
    yield from _told("connections of processes that are gone", set(dead))
    held = round_.ask(
        "SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^chaos-[0-9]+$'"
        " GROUP BY 1 HAVING count(*) > %s",
        round_.grounds.settings.database_pool_size,
    )
    yield from _told("processes with more connections than their pool has", {name for (name,) in held})
    idle = round_.ask(
        "SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^chaos-[0-9]+$'"
        " AND state LIKE 'idle in transaction%%' AND state_change < now() - interval '2 s'"
    )
    yield from _told("transactions that wait for their client", {name for (name,) in idle})


def crashes(round_: Round) -> Iterator[str]:
    """No worker logged a fault of ours, no application was refused, no process ended by itself."""
    for line in round_.logs:
        event = _event(line)
        if event.get("event", "").endswith(".crashed") or "Traceback" in line:
            yield line.strip()[:300]
    yield from round_.flows.errors
    yield from (round_.grounds.fleet.exit_report(name)[:300] for name in round_.grounds.fleet.died)


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(round_: Round) -> list[str]:
    """The sellers that are not broken as a whole."""
    return [name for name in round_.sellers.names if name not in round_.lasting.organizations]


def _truth(round_: Round, seller: str, what: str) -> list[dict[str, Any]]:
    return round_.grounds.sandbox.truth(seller, what)


def _told(what: str, found: set[Any] | Any) -> Iterator[str]:
    """A finding with the first few examples, if there are any."""
    if found:
        examples = ", ".join(map(str, sorted(found, key=str)[:_SHOWN]))
        yield f"{len(found)} {what} ({examples})"


def _is_part(happened: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether what happened is in its order, and nothing of it twice."""
    left = iter(expected)
    return all(any(one == other for other in left) for one in happened)


_PERSONS_LANES = "SELECT DISTINCT organization_id, lane FROM backmarket.api_writes WHERE state = 'unknown'"

_PARTS = """
SELECT p.organization_id, j.idempotency_key, p.state, p.sent, p.task_status, p.line_numbers,
    p.outcomes
FROM backmarket.bulk_parts p JOIN backmarket.bulk_jobs j ON j.organization_id = p.organization_id AND j.id = p.job_id
ORDER BY p.organization_id, p.job_id, p.number
"""
