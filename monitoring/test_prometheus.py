"""Prometheus itself reads the files here: `make test-monitoring`, with Debian's package `prometheus` (apt-get install).

It scrapes a real worker, beat and exporter at their work; then every query of the dashboard and of the alerts is asked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from backmarket.sandbox.server import SandboxServer
from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from tests.support.exporter import telling_fleet
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
NOTHING_TOLD = ("Failing organizations", "Denied slots", "Labels fetched", "Webhooks")
"""Panels of what need not have happened."""


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it begins
                raise
            raise AssertionError(error.read().decode()) from None

    def query(self, text: str) -> list[Any]:
        return list(self.ask("query", query=text.replace("$__rate_interval", "20s"))["result"])

    def up(self) -> bool:
        try:
            return len(self.query("up == 1")) == 3
        except OSError:
            return False


@contextmanager
def prometheus(ports: dict[str, int], directory: Path) -> Iterator[Prometheus]:
    (port,) = free_ports(1)
    shutil.copy(HERE / "alerts.yml", directory)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {"job_name": "backmarket", "static_configs": [{"targets": [f"127.0.0.1:{at}" for at in ports.values()]}]}
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    data = f"--storage.tsdb.path={directory / 'data'}"
    address = f"--web.listen-address=127.0.0.1:{port}"
    with (directory / "prometheus.log").open("wb") as log:
        command = ["prometheus", "--config.file=prometheus.yml", data, address]
        server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        wait_until(running.up, "all three are scraped")
        yield running
    finally:
        server.terminate()
        server.wait(30)


def test_a_real_prometheus_answers_every_query_of_the_dashboard(settings: Settings, tmp_path: Path) -> None:
    with SandboxServer(limit=100_000) as sandbox:
        shop = Shop(settings, sandbox.control, ("orders", "listings", "deliveries", "returns"))
        shop.every(1)
        shop.sell("shop-1", orders=300)
        with telling_fleet(environment(shop.settings), tmp_path) as ports, prometheus(ports, tmp_path) as server:
            created = 'backmarket_rows_total{resource="orders",outcome="created"}'
            wait_until(lambda: server.query(f"{created} > 0"), "rows were stored")
            shop.sell("shop-2", orders=300)  # between two scrapes a rate is seen
            wait_until(lambda: server.query(f"rate({created}[20s]) > 0"), "more rows were stored")
            panels = [
                panel for panel in json.loads((HERE / "dashboard.json").read_text())["panels"] if "targets" in panel
            ]
            empty = {
                panel["title"] for panel in panels for target in panel["targets"] if not server.query(target["expr"])
            }
            assert empty <= set(NOTHING_TOLD)
            rules = server.ask("rules")["groups"][0]["rules"]
            assert len(rules) == len(yaml.safe_load((HERE / "alerts.yml").read_text())["groups"][0]["rules"])
            wait_until(
                lambda: {rule["health"] for rule in server.ask("rules")["groups"][0]["rules"]} == {"ok"},
                "every rule was evaluated",
            )
            firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
            assert firing == []
        shop.services.close()
