"""The rounds of `make chaos` in their short form: one with a fixed seed, all flows and five faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backmarket.standalone.programs import CHECKOUT

SEED = 39
"""A freeze, a kill, PostgreSQL stopped and late messages: what every machine can do, and strikes something."""


@pytest.mark.slow
def test_a_round_is_green(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "chaos", "--seeds", str(SEED), "--limit", "900"]
    done = subprocess.run(
        [*command, "--results", str(results), "--directory", str(tmp_path / "fleet")],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = map(json.loads, results.read_text().splitlines())
    assert (line["seed"], line["wrong"], line["counts"]) == (SEED, [], True)
    assert line["figures"]["writes"] > 0 < line["figures"]["parts"]
    again = subprocess.run(
        [*command, "--results", str(results)], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert again.stdout.startswith("0 rounds to play, 1 known")
