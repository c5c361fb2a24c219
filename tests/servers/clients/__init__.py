"""Foreign clients of the broker: what they send, our workers run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers.run import CACHE, run_pytest
from tests.servers.table import Row

TESTS = ("tests/servers/clients",)
NODE = ("celery-node", "0.5.9")
CELERY = "5.3.6"


def rows() -> Iterator[Row]:
    """What each client's messages came to."""
    try:
        modules = _node_modules()
    except (OSError, subprocess.SubprocessError) as error:
        yield Row(NODE[0], NODE[1], "messages", f"npm or node: {type(error).__name__}", passed=None)
    else:
        yield run_pytest(*NODE, "messages", TESTS, {"TEST_NODE_MODULES": str(modules)}, "node")
    try:
        python = _old_celery()
    except (OSError, subprocess.SubprocessError) as error:
        yield Row("Celery", CELERY, "messages", f"pip: {type(error).__name__}", passed=None)
    else:
        yield run_pytest("Celery", CELERY, "messages", TESTS, {"TEST_OLD_CELERY": str(python)}, "older")
    yield run_pytest("Rust's celery", "0.5 (its message)", "refused", TESTS, {}, "rust")


def _node_modules() -> Path:
    home = CACHE / "celery-node"
    if not (home / "node_modules" / NODE[0]).is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(home), "@".join(NODE)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return home / "node_modules"


def _old_celery() -> Path:
    home = CACHE / f"celery-{CELERY}"
    python = home / "bin" / "python"
    if not (home / "bin" / "celery").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, stdout=sys.stderr)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", f"celery=={CELERY}", "kombu<5.4", "redis<5.1"], check=True
        )
    return python
