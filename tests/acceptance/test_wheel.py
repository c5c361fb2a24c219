"""The wheel in an empty environment, among a host's own packages `tasks` and `workers`: every process runs from it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_ports
from backmarket.standalone.programs import CHECKOUT
from tests.support.exporter import answers
from tests.support.processes import started
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

ORG = "auth0|1"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`backmarket` of an environment that has the wheel and, from ours, its requirements."""
    directory = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", directory / "dist", CHECKOUT)
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)  # an sdist, and the wheel from it
    subprocess.run((sys.executable, "-m", "twine", "check", "--strict", *(directory / "dist").iterdir()), check=True)
    venv.create(directory / "env")
    python = directory / "env" / "bin" / "python"
    (ours,) = (CHECKOUT / ".venv" / "lib").glob("python*/site-packages")
    (theirs,) = (directory / "env" / "lib").glob("python*/site-packages")
    (theirs / "requirements.pth").write_text(f"{ours}\n")  # which does not read what is editable there
    (wheel,) = (directory / "dist").glob("*.whl")
    install = ("pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    subprocess.run([CHECKOUT / ".venv" / "bin" / "uv", *install], check=True)
    return directory / "env" / "bin" / "backmarket"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The directory of an application whose packages have the names of ours."""
    for name in ("tasks", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('the package of the host')\n")
    return tmp_path


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control)
        yield shop
        shop.services.close()


def test_a_seller_is_synced_by_its_workers(shop: Shop, command: Path, host: Path) -> None:
    shop.sell(ORG, orders=60)
    given = environment(shop.settings)
    with ExitStack() as ending:
        worker = started(ending, given, host, command, "worker", "--pool", "all", "-c", "4")
        beat = started(ending, given, host, command, "beat")
        wait_until(lambda: shop.one("SELECT last_success_at IS NOT NULL FROM backmarket.sync_state"), "it is synced")
        assert (worker.poll(), beat.poll()) == (None, None)
        shop.assert_equals_truth(ORG)
        for process in (worker, beat):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0


def test_flower_and_the_metrics_answer(shop: Shop, command: Path, host: Path) -> None:
    port, flower_port = free_ports(2)
    given = environment(shop.settings) | {"BACKMARKET_HEALTH_PORT": str(port), "FLOWER_BASIC_AUTH": "me:secret-of-mine"}
    with ExitStack() as ending:
        started(ending, given, host, command, "metrics")
        started(ending, given, host, command, "flower", f"--port={flower_port}")
        wait_until(lambda: answers(port), "the exporter answers")
        wait_until(lambda: answers(flower_port, "/healthcheck"), "Flower answers")


def test_no_link_of_its_description_needs_a_checkout(command: Path) -> None:
    show = "import importlib.metadata; print(importlib.metadata.metadata('backmarket').get_payload())"
    python = command.with_name("python")
    described = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout
    assert "docs/operations.md" in described
    assert re.findall(r"\]\((?!https?:)[^)]*\)", described) == []


def test_doctor_names_documents_that_are_there(command: Path, host: Path) -> None:
    given = environment(Settings()) | {"BACKMARKET_DATABASE_POOL_SIZE": "many"}
    found = subprocess.run([command, "doctor"], cwd=host, env=given, capture_output=True, text=True, check=False)
    (example,) = re.findall(r"(/\S+/\.env\.example)", found.stdout)
    assert "BACKMARKET_DATABASE_URL" in Path(example).read_text()


def test_the_demo_runs(command: Path, host: Path) -> None:
    shown = subprocess.run([command, "demo"], cwd=host, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
