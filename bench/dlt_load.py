"""The same work by dlt: its REST API source into PostgreSQL. Runs in a virtual environment of its own.

    .tmp/dlt/bin/python bench/dlt_load.py < commands

Each line of its input is a job in JSON, and each line of its output what a run cost, in seconds without the imports:

    {"base_url", "database_url", "directory", "name", "resource": "orders", "tokens": {organization: token}}

What dlt is given: a paginator that follows `next` with 50 rows a page, its own incremental cursor for orders, all
organizations as parallelized resources of one source, workers for extracting and loading, and CSV files, which it loads
with COPY. The pages of one list it asks for one after the other.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "CRITICAL",
        "EXTRACT__WORKERS": "16",
        "EXTRACT__MAX_PARALLEL_ITEMS": "50",
        "NORMALIZE__WORKERS": "1",  # a second process costs more than it saves on these loads
        "LOAD__WORKERS": "8",
    }
)

import dlt
from dlt.destinations import postgres
from dlt.sources.rest_api import rest_api_resources

AGENT = "BM-Bench-Dlt;dev@bench.example"
LISTS: dict[str, dict[str, Any]] = {
    "orders": {
        "path": "/ws/orders",
        "key": "order_id",
        "incremental": {
            "cursor_path": "date_modification",
            "start_param": "date_modification",
            "initial_value": "2000-01-01T00:00:00Z",
            "on_cursor_value_missing": "include",
        },
    },
    "listings": {"path": "/ws/listings", "key": "id", "incremental": None},
}


def resource_of(job: dict[str, Any], organization: str, token: str) -> Any:
    """One list of one organization."""
    about = LISTS[job["resource"]]
    endpoint: dict[str, Any] = {
        "path": about["path"],
        "params": {"page-size": 50},
        "paginator": {"type": "json_link", "next_url_path": "next"},
        "data_selector": "results",
    }
    if about["incremental"]:
        endpoint["incremental"] = about["incremental"]
    config = {
        "client": {"base_url": job["base_url"], "headers": {"Authorization": f"Basic {token}", "User-Agent": AGENT}},
        "resources": [{"name": job["resource"], "endpoint": endpoint}],
    }
    (found,) = rest_api_resources(config)

    def owned(row: dict[str, Any]) -> dict[str, Any]:
        row["organization_id"] = organization
        return row

    named = found.with_name(f"{job['resource']}_{organization}".replace("-", "_"))
    return (
        named.add_map(owned)
        .apply_hints(
            table_name=job["resource"], write_disposition="merge", primary_key=["organization_id", about["key"]]
        )
        .parallelize()
    )


def run(job: dict[str, Any]) -> None:
    """One run of a pipeline; what it read before is in its directory."""

    @dlt.source(name=job["name"], max_table_nesting=1)
    def everything() -> Any:
        return [resource_of(job, organization, token) for organization, token in job["tokens"].items()]

    pipeline = dlt.pipeline(
        job["name"],
        pipelines_dir=job["directory"],
        destination=postgres(job["database_url"]),
        dataset_name=job["name"],
    )
    pipeline.run(everything(), loader_file_format="csv")


def cpu() -> float:
    """User and system time of this process and of those that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Do each job, and say what it cost."""
    print("{}", flush=True)
    for line in sys.stdin:
        began, used = time.monotonic(), cpu()
        error = None
        try:
            run(json.loads(line))
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is said
            error = f"{type(failure).__name__}: {failure}"[:1000]
        cost = {"wall": time.monotonic() - began, "cpu": cpu() - used, "memory": peak(), "error": error}
        print(json.dumps(cost), flush=True)


if __name__ == "__main__":
    main()
