"""Run tests of the project against a server that runs already."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.servers.table import Row

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECT = "TEST_SERVERS"
"""The variable without which pytest collects nothing of this directory."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backmarket" / "test-servers"
"""Servers that were built or unpacked once; outside the checkout."""


class NotHad(Exception):
    """A server cannot be had here; the text says why."""


def run_pytest(
    server: str,
    version: str,
    tried: str,
    tests: Sequence[str],
    environment: Mapping[str, str],
    select: str = "",
    within: Sequence[str] = (),
) -> Row:
    """Run tests, whose output goes to standard error, and say what came of them.

    Args:
        tests: paths below the checkout, or tests.
        environment: what tells the tests of the server, such as `TEST_S3_ENDPOINT_URL`.
        select: of pytest's `-k`; empty: all.
        within: a command that runs another one, such as `network.OWN`.
    """
    with tempfile.TemporaryDirectory(prefix="backmarket-servers.") as directory:
        report = Path(directory, "report.xml")
        command = [
            *within,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "junit_family=xunit1",
            f"--junit-xml={report}",
            *tests,
        ]
        command += ["-k", select] if select else []
        told = {**os.environ, **environment, COLLECT: "1", "PYTEST_DEBUG_TEMPROOT": directory}
        code = subprocess.run(command, check=False, cwd=CHECKOUT, env=told, stdout=sys.stderr).returncode
        if not report.exists():
            return Row(server, version, tried, f"pytest ended with {code}", passed=False)
        return Row(server, version, tried, *_result(report, code))


def _result(report: Path, code: int) -> tuple[str, bool]:
    """What pytest's report says: a sentence, and whether all passed."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    text = f"{len(cases) - len(failed) - len(skipped)} passed"
    text += "".join(f"; {each.get('name')}: {each.get('value')}" for case in cases for each in case.iter("property"))
    if skipped:
        reasons = sorted({str(case.find("skipped").get("message")) for case in skipped})  # type: ignore[union-attr]
        text += f", {len(skipped)} not there: {'; '.join(reasons)}"
    if failed:
        text += f", {len(failed)} failed: {', '.join(str(case.get('name')) for case in failed)}"
    return text, code == 0 and bool(cases)
