"""`backmarket demo` as a stranger runs it: right, quick, clear when something breaks, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from backmarket.standalone.programs import CHECKOUT
from tests.support.waiting import PATIENCE_SECONDS, wait_until

COMMAND = [sys.executable, "-c", "from backmarket.cli import main; main()", "demo"]
PROCESSES = {
    "a worker": ("-n sync@", "sync ended with code -9"),
    "PostgreSQL": ("postgres -D", "PostgreSQL ended"),
    "the sandbox": ("backmarket.sandbox", "The sandbox died"),
}


class Demo:
    """`backmarket demo` in a process of its own, with a directory for what is temporary."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.output = place / "output"
        self.temporary = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))  # short enough for sockets
        self.temporary.chmod(0o755)
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        # what the user set for a deployment of theirs must not matter
        environment |= {"BACKMARKET_BROKER_URL": "redis://nowhere.invalid/0", "BACKMARKET_RATE_LIMIT": "1"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                COMMAND, cwd=CHECKOUT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.family: set[psutil.Process] = set()

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: self.process.poll() is not None or text in self.said(), text)
        assert text in self.said()
        with suppress(psutil.NoSuchProcess):
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def running(self) -> dict[str, psutil.Process]:
        """What of it runs, by command line."""
        found = {}
        for process in self.family:
            with suppress(psutil.NoSuchProcess):  # a zombie, too
                found[" ".join(process.cmdline())] = process
        return found

    def assert_nothing_is_left(self) -> None:
        wait_until(lambda: not self.running(), "all is gone, the watchers too that end with it")
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    if demo.process.poll() is None:
        demo.process.terminate()
        demo.process.wait(PATIENCE_SECONDS)
    with suppress(OSError):
        demo.temporary.rmdir()


def test_the_whole_job_is_right(demo: Demo) -> None:
    demo.wait_for("Beat, a dispatcher, a sync worker and one for labels run")
    assert demo.process.wait(PATIENCE_SECONDS) == 0, demo.said()
    said = demo.said()
    assert said.count("✓") == 15
    assert "each once" in said
    assert re.search(r"paris-refurb +1,200 +2,\d+ +400 +80 +\d\d +", said)
    refused = r"closed-shop +0 +0 +0 +0 +\d +\d +- +(failing|unauthorized)"  # the API's faults strike it, too
    assert re.search(refused, said)
    demo.assert_nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["Everything starts empty", "an S3 server run", "tables are made", "labels run"],
)
def test_ctrl_c_ends_it_cleanly_at_any_moment(demo: Demo, moment: str) -> None:
    demo.wait_for(moment)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(PATIENCE_SECONDS) == 130
    assert demo.said().splitlines()[-1] == "Stopped."
    demo.assert_nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("which", PROCESSES)
def test_a_process_that_dies_ends_it_with_a_sentence(demo: Demo, which: str) -> None:
    words, sentence = PROCESSES[which]
    demo.wait_for("for labels run")
    (victim,) = [process for command, process in demo.running().items() if words in command]
    victim.kill()
    assert demo.process.wait(PATIENCE_SECONDS) == 1, demo.said()
    assert f"The demo failed. {sentence}" in demo.said()
    demo.assert_nothing_is_left()


@pytest.mark.slow
def test_nothing_is_left_when_it_was_killed(demo: Demo) -> None:
    demo.wait_for("for labels run")
    demo.process.kill()
    demo.process.wait()
    wait_until(lambda: not demo.running() and not list(demo.temporary.iterdir()), "all is gone")
