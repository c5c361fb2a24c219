"""Labels a second: one worker process of ours against the bare script, with the same libraries and concurrency.

    python -m bench.labels [--runs 3]

First 2,000 labels of one organization, 8 at once; then 20 organizations with 50 each, 32 at once. The two take turns on
the same sandbox and S3 server. Ours checks each file, writes its row, and asks the limiter, which is out of the way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from backmarket.messages import FETCH_LABELS, QUEUES, Nudge
from backmarket.producer import Producer
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.services import Services
from backmarket.standalone.fleet import Fleet
from bench.setting import Setting, cpu_seconds, machine, setting, tree_cpu, wait_until, workers

SHAPES = ((1, 2000, 8), (20, 50, 32))
"""Organizations, labels of each, and how many are in flight at once."""

Labels = dict[str, list[tuple[int, str]]]


def main() -> None:
    """Print a line for each pair of runs, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(machine())
    for organizations, count, at_once in SHAPES:
        _shape(runs, organizations, count, at_once)


def _shape(runs: int, organizations: int, count: int, at_once: int) -> None:
    sellers = [
        # nine in ten shipments have a label
        SellerSpec(name=f"org-{number}", token=f"token-{number}", orders=100, deliveries=count * 5 // 4 + 20)
        for number in range(organizations)
    ]
    sandbox = SandboxServer(sellers, limit=1_000_000)
    tokens = {seller.name: seller.token for seller in sellers}
    with setting(sandbox, servers=("postgres", "valkey", "s3"), rate_limit=1_000_000) as here:
        labels = {name: _labels(here, name)[:count] for name in tokens}
        queues = (QUEUES[FETCH_LABELS],)
        with workers(here.environment, "labels", dispatcher=False, queues=queues, concurrency=at_once // 8) as fleet:
            services = Services(here.settings)
            services.bucket.ensure()
            services.close()
            here.connect(tokens)
            ratios = [_pair(here, fleet, tokens, labels, at_once) for _ in range(runs)]
    print(f"{organizations} x {count}: median ratio {statistics.median(ratios):.2f} (goal: 0.60)")


def _pair(here: Setting, fleet: Fleet, tokens: dict[str, str], labels: Labels, at_once: int) -> float:
    """The script, then ours; how much of the script's speed ours has."""
    total = sum(map(len, labels.values()))
    bare = _bare(here, tokens, labels, at_once)
    _note(here, labels)
    cpu, servers = cpu_seconds(fleet), _servers_cpu(here)
    wall = _ours(here, labels)
    cpu, servers = cpu_seconds(fleet) - cpu, _servers_cpu(here) - servers
    ratio = bare["wall"] / wall
    print(
        f"{len(labels)} x {total // len(labels)}: ours {total / wall:.0f} labels/s ({1000 * cpu / total:.2f} ms of CPU"
        f" each, the servers {1000 * servers / total:.2f}), bare {total / bare['wall']:.0f}"
        f" ({1000 * bare['cpu'] / total:.2f} ms); ratio {ratio:.2f}"
    )
    return ratio


def _labels(here: Setting, name: str) -> list[tuple[int, str]]:
    rows = here.sandbox.control.truth(name, "deliveries")
    return [(row["shipmentId"], row["labelUrl"]) for row in rows if row["labelUrl"]]


def _servers_cpu(here: Setting) -> float:
    stack = here.stack
    pids = (stack.postgres.pid, stack.valkey.pid, stack.s3.pid, here.sandbox.pid)
    return sum(map(tree_cpu, pids))


def _note(here: Setting, labels: Labels) -> None:
    here.execute("TRUNCATE backmarket.labels, backmarket.work")
    for name, known in labels.items():
        here.execute(
            "INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)"
            " SELECT %s, 'deliveries', id, url, 'wanted' FROM unnest(%s::bigint[], %s::text[]) AS l (id, url)",
            name,
            *map(list, zip(*known, strict=True)),
        )
    here.execute("ANALYZE backmarket.labels")
    here.execute(
        "INSERT INTO backmarket.work (organization_id, kind, due_at)"
        " SELECT organization_id, 'labels', now() FROM backmarket.connections"
    )


def _ours(here: Setting, labels: Labels) -> float:
    producer = Producer(here.settings.broker)
    began = monotonic()
    producer.nudge([Nudge("labels", name) for name in labels])
    wait_until(
        lambda: not here.execute("SELECT 1 FROM backmarket.labels WHERE state <> 'stored' LIMIT 1"),
        120,
        "all are stored",
    )
    producer.close()
    return monotonic() - began


def _bare(here: Setting, tokens: dict[str, str], labels: Labels, threads: int) -> dict[str, float]:
    at = here.stack.addresses
    task = {
        "base_url": here.sandbox.url,
        "endpoint": urlsplit(at.s3_endpoint_url).netloc,
        "access_key": at.s3_access_key,
        "secret_key": at.s3_secret_key,
        "bucket": here.settings.s3_bucket,
        "threads": threads,
        "labels": [[tokens[name], url] for name, known in labels.items() for _, url in known],
    }
    script = Path(__file__).with_name("bare_labels.py")
    ran = subprocess.run(
        [sys.executable, script], input=json.dumps(task), check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, float] = json.loads(ran.stdout)
    return result


if __name__ == "__main__":
    main()
