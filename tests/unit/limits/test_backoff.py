"""Pauses before retries."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backmarket.limits import backoff

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("pause", "low", "high"),
    [
        (lambda: backoff.growing(0), 1.5, 2.5),
        (lambda: backoff.growing(3), 12.0, 20.0),
        (lambda: backoff.growing(1_000_000), 2700.0, 4500.0),
        (lambda: backoff.growing(2, 15.0, 30.0), 22.5, 37.5),
        (lambda: backoff.between_tries(1), 0.3, 0.6),
        (lambda: backoff.between_tries(3), 1.2, 2.4),
        (lambda: backoff.between_tries(99, 0.2, 5.0), 2.5, 5.0),
        (lambda: backoff.at_least(8.0), 8.0, 10.0),
    ],
)
def test_pauses_double_up_to_a_maximum_and_are_jittered(pause: Callable[[], float], low: float, high: float) -> None:
    pauses = [pause() for _ in range(200)]
    assert low <= min(pauses) < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < max(pauses) <= high


@pytest.mark.slow
def test_the_chaos_rounds_find_what_they_shorten() -> None:
    """Python only warns when a sitecustomize fails, and the round would go on without what it changes."""
    path = f"{CHECKOUT / 'chaos' / 'inside'}:{CHECKOUT}"
    started = subprocess.run(
        [sys.executable, "-c", ""], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=120
    )
    assert started.stderr == ""
