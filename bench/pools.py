"""How many tasks at once a worker should have, how many messages it should hold, and of which kind its pool should be.

    python -m bench.pools [--organizations 600] [--latency 0.15] [--rounds 2]

Quiet syncs of orders, each organization with an account of its own, all due at once, by one worker process of each kind
in turn. The API takes its time, as the real one does; it, PostgreSQL and Valkey share the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

import psutil

from backmarket.messages import Nudge
from backmarket.producer import Producer
from backmarket.sandbox.server import SandboxServer
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.standalone.fleet import READY_FILE
from backmarket.standalone.programs import CHECKOUT
from bench.setting import Setting, machine, setting, tree_cpu, wait_until


@dataclass(frozen=True)
class Kind:
    """A worker process: Celery's name of its pool (None: ours), tasks at once, messages held for each."""

    concurrency: int
    prefetch: int = 1
    pool: str | None = None

    @property
    def arguments(self) -> list[str]:
        """For `celery worker`."""
        chosen = ["-P", self.pool] if self.pool else []
        return [*chosen, "-c", str(self.concurrency), "--prefetch-multiplier", str(self.prefetch)]

    def __str__(self) -> str:
        return f"{self.concurrency} {'processes' if self.pool else 'threads'}, prefetch {self.prefetch}"


KINDS = (
    *(Kind(threads) for threads in (4, 8, 16, 32, 64)),
    Kind(16, prefetch=4),
    Kind(8, pool="processes"),
    Kind(16, pool="processes"),
)


def main() -> None:
    """Print a row for each kind of worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.15, help="seconds of each answer")
    parser.add_argument("--rounds", type=int, default=2, help="with each kind")
    options = parser.parse_args()
    tokens = {f"shop-{number}": f"token-of-{number}" for number in range(options.organizations)}
    sellers = [SellerSpec(name=name, token=token, orders=3) for name, token in tokens.items()]
    print(f"{options.organizations} quiet syncs, {options.latency * 1000:.0f} ms an answer, on {machine()}\n")
    print("| worker | syncs a second | CPU a sync | memory |\n| --- | --- | --- | --- |")
    with setting(SandboxServer(sellers, latency=options.latency), rate_limit=1_000_000) as here:
        here.connect(tokens)
        here.only("orders")
        found = {kind: [measure(here, kind, list(tokens)) for _ in range(options.rounds)] for kind in KINDS}
        for kind, rounds in found.items():
            rate, cpu, memory = (median(figures) for figures in zip(*rounds, strict=True))
            print(f"| {kind} | {rate:.0f} | {cpu * 1000:.1f} ms | {memory:.0f} MiB |")


def measure(here: Setting, kind: Kind, names: list[str]) -> tuple[float, float, float]:
    """Syncs a second, CPU seconds of a sync, and MiB of the process with its children, shared pages counted once."""
    with worker(here, kind) as process, closing(Producer(here.settings.broker)) as producer:
        sync_all(here, producer, names[:50])  # what is made at the first use is made
        began, cpu = monotonic(), tree_cpu(process)
        sync_all(here, producer, names)
        seconds = monotonic() - began
        members = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
        memory = sum(member.memory_full_info().pss for member in members) / 2**20
        return len(names) / seconds, (tree_cpu(process) - cpu) / len(names), memory


def sync_all(here: Setting, producer: Producer, names: list[str]) -> None:
    """Make them due, nudge, and wait until all were synced."""
    here.execute(_DUE, names)
    producer.nudge(Nudge("orders", name) for name in names)
    wait_until(lambda: here.execute(_LEFT, names)[0][0] == 0, 120, "all are synced")


@contextmanager
def worker(here: Setting, kind: Kind) -> Iterator[int]:
    """A worker of this kind, ready; its process id."""
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory) / "ready"
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "worker", "--without-gossip"]
        command += ["--without-mingle", "-Q", "orders", *kind.arguments]
        environment = dict(os.environ) | here.environment | {READY_FILE: str(ready)}
        with (Path(directory) / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
        try:
            wait_until(ready.exists, 60, "the worker is ready")
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


_DUE = (
    "UPDATE backmarket.sync_state SET next_due_at = now(), nudged_until = NULL, last_success_at = NULL"
    " WHERE resource = 'orders' AND organization_id = ANY(%s)"
)
_LEFT = (
    "SELECT count(*) FROM backmarket.sync_state"
    " WHERE resource = 'orders' AND last_success_at IS NULL AND organization_id = ANY(%s)"
)

if __name__ == "__main__":
    main()
