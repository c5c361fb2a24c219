"""The tests of a host application, run as its developer runs them: by pytest in a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backmarket.standalone.programs import CHECKOUT

EXAMPLE = CHECKOUT / "examples" / "host_tests"


@pytest.mark.slow
def test_they_pass_with_the_fixtures_of_the_package(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "host", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-v"]
    outside = os.environ | {"BACKMARKET_DATABASE_URL": "postgresql://a-real-one/production"}
    run = subprocess.run(command, cwd=tmp_path / "host", env=outside, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b2 passed\b", run.stdout)


def test_the_page_shows_what_is_run() -> None:
    page = (CHECKOUT / "docs" / "testing.md").read_text()
    files = [path.read_text() for path in EXAMPLE.glob("*.py")]
    shown = re.findall(r"(?s)```python\n(.*?)```", page)
    assert len(shown) == 3
    assert [block for block in shown if not any(block in text for text in files)] == []
