"""Metrics of the deployment, measured at every scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from backmarket.status.deployment_metrics import METRICS, DeploymentMetric


class DeploymentCollector(Collector):
    """Gauges, one family for each metric.

    Args:
        measure: returns the current metrics.
    """

    def __init__(self, measure: Callable[[], list[DeploymentMetric]]) -> None:
        self._measure = measure

    def collect(self) -> Iterable[Metric]:
        """Measure, and return all families, including those without a value."""
        found = self._measure()
        return [_family(name, text, [each for each in found if each.name == name]) for name, text in METRICS.items()]

    def describe(self) -> Iterable[Metric]:
        """The families without values, so that registering does not measure."""
        return [_family(name, text, []) for name, text in METRICS.items()]


def _family(name: str, text: str, metrics: list[DeploymentMetric]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"backmarket_{name}", text)
    for metric in metrics:
        family.add_sample(family.name, metric.labels, metric.value)
    return family
