"""What is kept of a red round, for its analysis: the rows that are not as they should be, and the logs."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from time import sleep

from backmarket.resources import RESOURCES
from chaos.grounds import WORKERS, Grounds
from chaos.sellers import Sellers


def keep(grounds: Grounds, sellers: Sellers, directory: Path) -> None:
    """Copy the logs, with what each thread of the workers does now, and the rows of whatever has not come to its end.

    Args:
        grounds: of the red round.
        sellers: of the red round.
        directory: where to; made again.
    """
    for pool in WORKERS:
        grounds.fleet.kill(pool.name, signal.SIGUSR1)  # Celery writes its threads' stacks into the log
    sleep(1.0)
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(grounds.directory, directory, ignore=shutil.ignore_patterns("tmp"))
    for name, statement in _ROWS.items():
        rows = grounds.ask(f"SELECT to_jsonb(r) FROM ({statement}) AS r")
        lines = [json.dumps(row, default=str) for (row,) in rows]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    for name in RESOURCES:
        truth = {seller: grounds.sandbox.truth(seller, name) for seller in sellers.names}
        (directory / f"truth-{name}.json").write_text(json.dumps(truth))
    lines = [json.dumps(_fields(entry)) for entry in grounds.sandbox.requests()]
    (directory / "requests.jsonl").write_text("\n".join(lines))


def _fields(entry: object) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__slots__}  # type: ignore[attr-defined]


_ROWS = {
    "syncs": "SELECT now() AS dumped_at, s.* FROM backmarket.sync_state s",
    "walks": "SELECT * FROM backmarket.walks",
    "work": "SELECT * FROM backmarket.work",
    "runs": "SELECT * FROM backmarket.sync_runs WHERE outcome <> 'done'",
    "writes": "SELECT * FROM backmarket.api_writes",
    "jobs": "SELECT * FROM backmarket.bulk_jobs",
    "parts": "SELECT * FROM backmarket.bulk_parts",
    "labels": "SELECT * FROM backmarket.labels",
    "connections": "SELECT organization_id, enabled, generation, unauthorized_at, last_error_code, last_error"
    " FROM backmarket.connections",
    "takeovers": "SELECT * FROM chaos.takeovers",
    **{
        name: f"SELECT organization_id, {resource.key.name}, raw, removed_at, last_synced_at FROM backmarket.{name}"
        for name, resource in RESOURCES.items()
    },
    "activity": "SELECT application_name, pid, state, wait_event_type, wait_event, xact_start, state_change, query"
    " FROM pg_stat_activity WHERE datname = current_database()",
    "trespasses": "SELECT * FROM chaos.trespasses",
}
