"""A file of listings: checked, submitted, waited for, and the outcome of each line that is not done.

    python examples/bulk_job.py shop-1 listings.csv --max-hours 6

Takes the `BACKMARKET_*` settings from the environment, and needs workers that run; the seller is connected already.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from backmarket import BackMarket, BackMarketError, BulkHandle


def main() -> int:
    """Do all of it; an error's text says what to do."""
    parser = argparse.ArgumentParser(description="Create or update listings by a CSV file.")
    parser.add_argument("organization_id", help="your own name for the seller")
    parser.add_argument("file", type=Path, help="its first line names the columns; one is sku")
    parser.add_argument("--max-hours", type=float, default=24.0, help="a file that takes longer is left alone")
    parser.add_argument("--seconds", type=float, default=600.0, help="wait for so long")
    arguments = parser.parse_args()
    try:
        with BackMarket() as bm:
            handle = submit(bm, arguments)
            return 1 if handle is None else follow(handle, arguments.seconds)
    except BackMarketError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1


def submit(bm: BackMarket, arguments: argparse.Namespace) -> BulkHandle | None:
    """Look at what the check found before anything is stored; None: the file is not submitted."""
    with bm.prepare_listings_file(arguments.organization_id, arguments.file) as prepared:
        check = prepared.check
        for fault in check.faults:
            print("fault:", fault)
        print(f"lines: {check.lines}, to send: {check.lines_to_send}, at least: {check.expected_duration}")
        if check.is_refused or check.expected_duration > timedelta(hours=arguments.max_hours):
            print("not submitted:", check.reason or "it takes too long")
            return None
        handle = prepared.submit()
        print("submitted: job", handle.id)
        return handle


def follow(handle: BulkHandle, seconds: float) -> int:
    """Wait for the end; another process could do so as well, by the job's id."""
    job = handle.wait(seconds)
    print(f"{job.state}: {job.lines_done} done, {job.lines_failed} failed, {job.lines_unknown} unknown")
    for line in handle.report():
        if line.outcome != "done":
            print(f"line {line.line}, {line.sku}: {line.outcome}: {line.message}")
    return 0 if job.state == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
