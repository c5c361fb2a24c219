"""20,000 orders of one organization at 5 ms latency, through real workers, against the bare script.

    python -m bench.first_load [--runs 5]

CPU is that of the client processes after their start: worker, dispatcher and beat on our side, the script alone on the
other. The two take turns on the same server. The limit is out of the way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from bench.setting import Setting, cpu_seconds, setting, workers

ORDERS = 20_000
TOKEN = "token-of-the-bench"


def main() -> None:
    """Print a line for each pair of runs, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    sandbox = SandboxServer([SellerSpec(name="seller", token=TOKEN, orders=ORDERS)], latency=0.005, limit=1_000_000)
    with setting(sandbox, rate_limit=1_000_000) as here, workers(here.environment, "one") as fleet:
        here.only("orders")
        sandbox.control.truth("seller")
        rows = []
        for number in range(1, runs + 1):
            bare = _bare(here)
            here.empty()
            before = cpu_seconds(fleet)
            here.market.upsert_connection("org", TOKEN, base_url=sandbox.url)
            wall = here.synced(1)
            cpu = cpu_seconds(fleet) - before
            stored = here.execute("SELECT count(*) FROM backmarket.orders")[0][0]
            rows.append((cpu, wall, bare["cpu"], bare["wall"], cpu / bare["cpu"]))
            print(
                f"run {number}: ours {cpu:.2f} s CPU, {wall:.2f} s wall, {stored} orders;"
                f" bare {bare['cpu']:.2f} s CPU, {bare['wall']:.2f} s wall; CPU ratio {cpu / bare['cpu']:.2f}"
            )
        ours, wall, bare_cpu, bare_wall, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"median: ours {ours:.2f} s CPU, {wall:.2f} s wall; bare {bare_cpu:.2f} s CPU, {bare_wall:.2f} s wall;"
            f" CPU ratio {ratio:.2f} (goal: 1.5)"
        )


def _bare(here: Setting) -> dict[str, float]:
    here.empty()
    script = Path(__file__).with_name("bare.py")
    arguments = ["--database-url", here.database_url, "--base-url", here.sandbox.url, f"bare={TOKEN}"]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
