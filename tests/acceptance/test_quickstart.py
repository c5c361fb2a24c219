"""docs/quickstart.md, done as it says: each block of its second terminal, in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from backmarket.standalone.programs import CHECKOUT
from tests.support.up import Up
from tests.support.waiting import PATIENCE_SECONDS

PAGE = CHECKOUT / "docs" / "quickstart.md"
_BLOCK = re.compile(r"^```(?P<language>sh|python)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"`(\w+\.py)`")


@pytest.mark.slow
def test_a_stranger_gets_through(tmp_path: Path) -> None:
    with closing(Up(tmp_path / "stack")) as up:
        up.wait_for("Everything runs")
        (tmp_path / ".stack").symlink_to(up.directory)
        (tmp_path / ".venv").symlink_to(sys.prefix)
        shown = _follow(PAGE.read_text(), tmp_path)
        assert "synced: " in shown
        assert re.search(r"order \d+ is shipped, confirmed by \w+", shown)
        assert "quickstart" in shown.partition("is shipped")[2], "the audit trail names who acted"
        assert up.end(signal.SIGINT) == 0
        up.assert_gone()


def _follow(page: str, directory: Path) -> str:
    """Save the programs of the page, and run its commands in one shell.

    Returns:
        What the commands printed.
    """
    commands = ["set -e"]
    for block in _BLOCK.finditer(page):
        if block["language"] == "python":
            name = _NAME.findall(page[: block.start()])[-1]
            (directory / name).write_text(block["text"])
        else:
            commands.append(block["text"])
    bare = {name: value for name, value in os.environ.items() if not name.startswith("BACKMARKET_")}
    done = subprocess.run(
        ["sh", "-c", "\n".join(commands)],
        cwd=directory,
        env=bare,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
