"""The benchmark of the fan-out, in its short form: it runs, and what does not hang on the machine holds."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from backmarket.messages import SYNC_TASKS
from backmarket.standalone.programs import CHECKOUT


@pytest.mark.slow
def test_a_tick_takes_as_many_statements_for_many_as_for_few() -> None:
    sizes = "--fewer 30 --organizations 300 --rounds 1 --slices 0 --idle 0"
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", *sizes.split()],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"statements of a tick: {len(SYNC_TASKS)} and {len(SYNC_TASKS)} " in done.stdout
    assert f" {300 * len(SYNC_TASKS)} messages of an interval" in done.stdout
    (cpu,) = re.findall(r"finds 1000 due pairs \| ([0-9.]+) s CPU", done.stdout)
    assert float(cpu) < 0.5
