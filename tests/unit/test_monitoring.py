"""The files for Prometheus and Grafana name only what the program tells, and what they refer to is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from backmarket.errors import ServerError
from backmarket.observability import telemetry
from workers.metrics.deployment import DeploymentCollector
from workers.metrics.process import ProcessMetrics

CHECKOUT = Path(__file__).parents[2]
MONITORING = CHECKOUT / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())


def told() -> CollectorRegistry:
    """All that the processes and the exporter tell together."""
    registry = CollectorRegistry()
    ProcessMetrics(registry)
    registry.register(DeploymentCollector(list))
    return registry


def names(registry: CollectorRegistry) -> set[str]:
    """The names of series, as a query writes them."""
    found = set()
    for family in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {f"{family.name}{suffix}" for suffix in suffixes}
    return found


def queries(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from queries(each)


def test_every_metric_in_a_query_is_one_that_the_program_tells() -> None:
    asked = [*queries(RULES), *queries(DASHBOARD)]
    assert len(asked) > 50
    used = {name for query in asked for name in re.findall(r"\b(?:backmarket|process)_\w+", query)}
    assert used - names(told()) - names(REGISTRY) == set()


def test_every_metric_of_ours_is_seen_on_the_dashboard_or_by_an_alert() -> None:
    asked = " ".join([*queries(RULES), *queries(DASHBOARD)])
    families = {family.name for family in told().collect()}
    assert {name for name in families if name not in asked} == set()


def test_every_metrics_help_stands_alone() -> None:
    helps = {family.name: family.documentation for family in told().collect()}
    assert all(helps.values())
    assert {name for name, text in helps.items() if re.search(r"(?i)\b(these|them|their|they|of it)\b", text)} == set()
    assert len(set(helps.values())) == len(helps)


def test_prometheus_finds_every_replica_of_every_process_of_the_compose_file() -> None:
    services = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    jobs = {
        job["job_name"]: job["dns_sd_configs"]
        for job in yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    }
    processes = {name for name in services if name.startswith("worker-")} | {"beat"}
    found = {job: set(each["names"]) for job, (each,) in jobs.items()}
    assert found == {"backmarket": {"metrics"}, "backmarket-processes": processes}
    port = int(services["metrics"]["environment"]["BACKMARKET_HEALTH_PORT"])
    assert {(each["type"], each["port"]) for (each,) in jobs.values()} == {("A", port)}
    assert all("monitoring" in services[name]["networks"] for names in found.values() for name in names)


def test_a_profile_of_the_compose_file_brings_prometheus_with_these_files() -> None:
    service = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]["prometheus"]
    assert service["profiles"] == ["monitoring"]
    assert service["image"].startswith("${PROMETHEUS_IMAGE:-")
    assert service["networks"] == ["monitoring"]
    mounted = dict(volume.split(":")[:2] for volume in service["volumes"] if volume.startswith("./"))
    assert mounted == {f"./monitoring/{name}": f"/etc/prometheus/{name}" for name in ("prometheus.yml", "alerts.yml")}


def test_every_alert_has_a_test_and_a_place_in_the_runbook() -> None:
    tested = (MONITORING / "alerts_test.yml").read_text()
    for rule in RULES:
        assert f"alertname: {rule['alert']}\n        exp_alerts:" in tested, rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"(?m)^#+ (.*)$", (CHECKOUT / page).read_text())
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, rule["alert"]


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries"}
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(DASHBOARD)))
    assert used <= variables
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, "two panels lie over each other"
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_what_a_process_does_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = ProcessMetrics(registry)
    telemetry.subscribe(metrics)
    telemetry.subscribe(metrics)  # harmless to repeat
    try:
        with telemetry.span("task", task="backmarket.upkeep"):
            assert registry.get_sample_value("backmarket_tasks_running") == 1
        with telemetry.span("api_request", method="GET") as span:
            span.attributes["status"] = 429
        try:
            with telemetry.span("api_request", method="GET"):
                raise ServerError("out of order")
        except ServerError:
            pass
        telemetry.emit("slice", work="orders", end="done")
        telemetry.emit("limiter_wait", seconds=0.25)
        telemetry.emit("limiter_denied", by="window")
        telemetry.emit("limiter_block")
        telemetry.emit("rows", resource="orders", outcome="created", count=50)
    finally:
        telemetry.unsubscribe(metrics)
    telemetry.emit("limiter_block")  # nobody listens any more

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"backmarket_{name}", labels)

    assert value("tasks_running") == 0
    assert value("tasks_total", task="backmarket.upkeep", outcome="done") == 1
    assert value("task_seconds_count", task="backmarket.upkeep") == 1
    assert value("api_requests_total", method="GET", status="429") == 1
    assert value("api_requests_total", method="GET", status="server_error") == 1
    assert value("slices_total", work="orders", end="done") == 1
    assert value("limiter_wait_seconds_sum") == 0.25
    assert value("limiter_denied_total", by="window") == 1
    assert value("limiter_blocks_total") == 1
    assert value("rows_total", resource="orders", outcome="created") == 50
