"""Processes that tell their figures: a worker, beat, and the exporter of the deployment's."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.programs import CHECKOUT
from tests.support.databases import as_process
from tests.support.waiting import PATIENCE_SECONDS, wait_until

NAMES = ("worker", "beat", "metrics")
QUEUES = ("dispatch", "orders", "listings", "deliveries", "returns", "labels", "writes", "bulk")


@contextmanager
def telling_fleet(variables: dict[str, str], directory: Path) -> Iterator[dict[str, int]]:
    """Runs them; gives the port of each.

    Args:
        variables: their settings.
        directory: for their logs.
    """
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    health = {name: {"BACKMARKET_HEALTH_PORT": str(port)} for name, port in ports.items()}
    with Fleet(variables, directory=directory, workers=(), beat=False) as fleet:
        fleet.start_worker(QUEUES, "worker", environment=health["worker"])
        fleet.start_beat(environment=health["beat"])
        own = {name: value for name, value in os.environ.items() if not name.startswith("BACKMARKET_")}
        with (directory / "metrics.log").open("wb") as log:
            command = [sys.executable, "-m", "workers.metrics"]
            login = {"BACKMARKET_DATABASE_URL": as_process(variables["BACKMARKET_DATABASE_URL"], "metrics")}
            env = own | variables | login | health["metrics"]
            exporter = subprocess.Popen(command, cwd=CHECKOUT, env=env, stderr=log)
        try:
            fleet.wait_ready()
            wait_until(lambda: answers(ports["metrics"]), "the exporter answers")
            yield ports
        finally:
            exporter.terminate()
            assert exporter.wait(PATIENCE_SECONDS) == 0


def answers(port: int, path: str = "/livez") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def scrape(port: int) -> str:
    """The figures of a process, as Prometheus reads them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read(), "utf-8")


def values(text: str) -> dict[tuple[str, str], float]:
    """By the name of the series, and the values of its labels in the order of their names."""
    return {
        (sample.name, " ".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
