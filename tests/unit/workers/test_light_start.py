"""What a process loads at its start: memory and seconds that each worker, beat and command costs everybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
UNUSED = {
    "click_repl", "cryptography.fernet", "flower", "httpcore", "httpx", "minio", "prometheus_client", "prompt_toolkit",
    "tornado",
}  # fmt: skip
"""Libraries that a process loads when it first needs them, if it does."""
MAX_MODULES = 330
"""Of a command that only prints its help: 290 and a margin."""


def loaded(statement: str) -> set[str]:
    """The modules that a statement loads, in a process of its own."""
    show = f"{statement}\nimport sys; print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "BACKMARKET_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=CHECKOUT, check=True, capture_output=True, text=True, env=environment
    )
    return set(done.stderr.split())


def test_a_worker_loads_what_it_uses() -> None:
    tasks = "celery_command.app.app.loader.import_default_modules()"
    assert loaded(f"import celery.bin.worker\nfrom workers import celery_command\n{tasks}") & UNUSED == set()


def test_beat_loads_neither_tasks_nor_the_database() -> None:
    modules = loaded("import celery.bin.beat, workers.celery_command")
    assert modules & {"psycopg", "tasks", *UNUSED} == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["status", "--help"], ["orders", "list", "--help"], ["bulk", "submit", "--help"]]
)
def test_a_command_loads_few_modules(arguments: list[str]) -> None:
    quietly = "from contextlib import suppress\nfrom backmarket.cli import main"
    run = f"import sys\nsys.argv = ['backmarket', *{arguments}]\n{quietly}\nwith suppress(SystemExit): main()"
    modules = loaded(run)
    assert len(modules) < MAX_MODULES
    assert modules & {"celery", "kombu", "psycopg", "redis", "rich", "structlog", *UNUSED} == set()
