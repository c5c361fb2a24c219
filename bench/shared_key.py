"""Two organizations with one key, 10,000 orders each, 200 requests in 10 seconds, 150 ms latency, two workers.

    python -m bench.shared_key [--runs 3]

The server counts violations in any sliding window. Seconds are from the first request's arrival to the last one's.
"""

from __future__ import annotations

import argparse

from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from bench.setting import setting, workers

TOKEN = "token-of-the-bench"


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    for number in range(1, parser.parse_args().runs + 1):
        sandbox = SandboxServer([SellerSpec(name="seller", token=TOKEN, orders=10_000)], latency=0.15)
        with setting(sandbox) as here, workers(here.environment, "one", "two"):
            here.only("orders")
            sandbox.control.truth("seller")
            for organization in ("a", "b"):
                here.market.upsert_connection(organization, TOKEN, base_url=sandbox.url)
            here.synced(2)
            arrivals = [entry.arrival for entry in sandbox.control.requests() if entry.operation == "orders.list"]
            stored = here.execute("SELECT count(*) FROM backmarket.orders")[0][0]
            print(
                f"run {number}: {len(arrivals)} requests in {arrivals[-1] - arrivals[0]:.2f} s (goal: 13),"
                f" {sandbox.control.stats().violations} violations, {stored} orders stored"
            )


if __name__ == "__main__":
    main()
