"""What people get: every setting at its default, from outside, beside the bare script in the same run.

    python -m bench.shipped [--only first,slow,many,limit,quiet,start] [--runs 3]

A worker, a dispatcher and beat, as `backmarket` starts them. Wall is from the call that connects to the last
organization's success; CPU is that of all three after their start. The bare script upserts (`bare.py --upsert`); its
start counts. Only what the API grants is set: out of the way, unless the row is about the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.programs import CHECKOUT
from bench.contestants import peak, peak_of
from bench.setting import SYNC_QUEUES, Setting, cpu_seconds, machine, setting, tree_cpu, workers

RESULTS = CHECKOUT / ".tmp" / "bench" / "shipped.json"
NO_LIMIT = 1_000_000
LATENCY = 0.005
QUIET_SYNCS = 20
TIMEOUT_SECONDS = 300.0
IMPORT = "from backmarket import BackMarket; from pathlib import Path; print(Path('/proc/self/status').read_text())"

Figures = dict[str, float]
"""By name; `wall` and `cpu` in seconds."""


@contextmanager
def shipped(sellers: Mapping[str, int], *, latency: float = LATENCY, limit: int = NO_LIMIT) -> Iterator[Setting]:
    """A stand-in with sellers of so many orders each, and the servers; orders alone fall due by themselves."""
    specs = [SellerSpec(name=name, token=f"token-of-{name}", orders=orders) for name, orders in sellers.items()]
    granted: dict[str, Any] = {"rate_limit": limit} if limit == NO_LIMIT else {}
    with setting(SandboxServer(specs, latency=latency, limit=limit), **granted) as here:
        for name in sellers:
            here.sandbox.control.truth(name)  # made now, and not while it is asked for
        here.only("orders")
        yield here


@contextmanager
def started(here: Setting) -> Iterator[Fleet]:
    """The three processes, ready."""
    with workers(here.environment, "sync", queues=SYNC_QUEUES) as fleet:
        yield fleet


def load(here: Setting, fleet: Fleet, tokens: Mapping[str, str]) -> Figures:
    """Connect organizations, and wait until all of them are synced."""
    here.empty()
    here.sandbox.control.reset()
    used, postgres, began = cpu_seconds(fleet), here.postgres_cpu(), monotonic()
    for organization, token in tokens.items():
        here.market.upsert_connection(organization, token, base_url=here.sandbox.url)
    here.synced(len(tokens), TIMEOUT_SECONDS)
    wall = monotonic() - began
    return {
        "wall": wall,
        "cpu": cpu_seconds(fleet) - used,
        "postgres": here.postgres_cpu() - postgres,
        "rows": stored(here),
        "violations": here.sandbox.control.stats().violations,
        "memory": sum(map(peak, fleet.pids.values())) / 1e6,
    }


def bare(here: Setting, tokens: Mapping[str, str]) -> Figures:
    """The same by the bare script, its start included."""
    here.empty()
    script = [sys.executable, str(Path(__file__).with_name("bare.py")), "--upsert"]
    addresses = ["--database-url", here.database_url, "--base-url", here.sandbox.url]
    postgres, began = here.postgres_cpu(), monotonic()
    process = subprocess.Popen(
        [*script, *addresses, *(f"{name}={token}" for name, token in tokens.items())], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the bare script ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall": wall, "cpu": cpu, "postgres": here.postgres_cpu() - postgres, "rows": stored(here)}


def stored(here: Setting) -> int:
    """Orders in the table."""
    return int(here.execute("SELECT count(*) FROM backmarket.orders")[0][0])


def loads(runs: int, sellers: Mapping[str, int], *, latency: float = LATENCY) -> dict[str, list[Figures]]:
    """Ours and the bare script by turns."""
    tokens = {name: f"token-of-{name}" for name in sellers}
    found: dict[str, list[Figures]] = {"ours": [], "bare": []}
    with shipped(sellers, latency=latency) as here, started(here) as fleet:
        for _ in range(runs):
            found["bare"].append(bare(here, tokens))
            found["ours"].append(load(here, fleet, tokens))
    return found


def first(runs: int) -> dict[str, list[Figures]]:
    """20,000 orders at first."""
    return loads(runs, {"seller": 20_000})


def slow(runs: int) -> dict[str, list[Figures]]:
    """20,000 orders at first, 200 ms an answer."""
    return loads(runs, {"seller": 20_000}, latency=0.2)


def many(runs: int) -> dict[str, list[Figures]]:
    """50 organizations of 300 orders, connected at once."""
    return loads(runs, {f"seller-{number}": 300 for number in range(50)})


def limit(runs: int) -> dict[str, list[Figures]]:
    """Two organizations on one key, 800 pages, 200 requests in 10 s, 150 ms an answer."""
    found = []
    for _ in range(runs):  # with servers of its own: the window is empty
        with shipped({"seller": 20_000}, latency=0.15, limit=200) as here, started(here) as fleet:
            found.append(load(here, fleet, dict.fromkeys(("one", "two"), "token-of-seller")))
    return {"ours": found}


def quiet(runs: int) -> dict[str, list[Figures]]:
    """20 quiet syncs asked one after the other, each."""
    found = []
    with shipped({"seller": 300}) as here, started(here) as fleet:
        here.market.upsert_connection("one", "token-of-seller", base_url=here.sandbox.url)
        here.synced(1)
        here.only("")
        sleep(1.0)
        here.market.sync("one", "orders").wait(TIMEOUT_SECONDS)
        for _ in range(runs):
            used, postgres, began = cpu_seconds(fleet), here.postgres_cpu(), monotonic()
            for _ in range(QUIET_SYNCS):
                here.market.sync("one", "orders").wait(TIMEOUT_SECONDS)
            spent = {"wall": monotonic() - began, "cpu": cpu_seconds(fleet) - used}
            spent["postgres"] = here.postgres_cpu() - postgres
            found.append({name: value / QUIET_SYNCS for name, value in spent.items()})
    return {"ours": found}


def start(runs: int) -> dict[str, list[Figures]]:
    """Until a worker, a dispatcher and beat are ready, together."""
    found: list[Figures] = []
    with shipped({}) as here:
        for _ in range(runs):
            began = monotonic()
            with started(here) as fleet:
                wall = monotonic() - began
                memory = sum(map(peak, fleet.pids.values())) / 1e6
                found.append({"wall": wall, "cpu": sum(map(tree_cpu, fleet.pids.values())), "memory": memory})
    return {"ours": found}


def imported(runs: int) -> dict[str, list[Figures]]:
    """`from backmarket import BackMarket`, in a process of its own."""
    found: list[Figures] = []
    for _ in range(runs):
        began = monotonic()
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        found.append({"wall": monotonic() - began, "memory": peak_of(done.stdout) / 1e6})
    return {"ours": found}


ROWS: dict[str, Callable[[int], dict[str, list[Figures]]]] = {
    "first": first,
    "many": many,
    "slow": slow,
    "limit": limit,
    "quiet": quiet,
    "start": start,
    "import": imported,
}


def main() -> None:
    """Print a line for each row, and keep all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"Measured on {machine()}; PostgreSQL, Valkey and the stand-in share it. Medians of {options.runs}.")
    for name in options.only.split(","):
        row = ROWS[name]
        medians = {who: middle(each) for who, each in row(options.runs).items()}
        keep(name, medians)
        print(f"{name:>6} | {row.__doc__} {said(medians)}", flush=True)


def middle(runs: list[Figures]) -> Figures:
    """The median of each figure."""
    return {figure: median(run[figure] for run in runs) for figure in runs[0]}


def said(medians: Mapping[str, Figures]) -> str:
    """The figures, and the ratios to the bare script's."""
    told = "; ".join(f"{who} " + ", ".join(f"{k} {v:.4g}" for k, v in each.items()) for who, each in medians.items())
    if "bare" not in medians:
        return told
    ratios = ", ".join(f"{k} {medians['ours'][k] / medians['bare'][k]:.2f}" for k in ("wall", "cpu", "postgres"))
    return f"{told}; ratio {ratios}"


def keep(name: str, medians: Mapping[str, Figures]) -> None:
    """Write the figures down, beside those of other rows."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, name: medians}, indent=1))


if __name__ == "__main__":
    main()
