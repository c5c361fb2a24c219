"""The figures of the deployment, asked at every scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from backmarket.status.deployment_metrics import FIGURES, Figure


class DeploymentCollector(Collector):
    """Gauges, one family for each figure.

    Args:
        measure: gives the figures as they are now.
    """

    def __init__(self, measure: Callable[[], list[Figure]]) -> None:
        self._measure = measure

    def collect(self) -> Iterable[Metric]:
        """Measure, and give all families, those without a value included."""
        found = self._measure()
        return [_family(name, text, [each for each in found if each.name == name]) for name, text in FIGURES.items()]

    def describe(self) -> Iterable[Metric]:
        """The families without a value, so that registering asks nobody."""
        return [_family(name, text, []) for name, text in FIGURES.items()]


def _family(name: str, text: str, figures: list[Figure]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"backmarket_{name}", text)
    for figure in figures:
        family.add_sample(family.name, figure.labels, figure.value)
    return family
