"""The sandbox of `backmarket up`: a process at an address that stays, and three sellers connected to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from backmarket.embedded.ports import LOOPBACK
from backmarket.errors import BackMarketError, ConnectionNotFound
from backmarket.facade import BackMarket
from backmarket.fleet import CHECKOUT
from backmarket.resources import RESOURCES
from backmarket.sandbox.__main__ import sample_token
from backmarket.up.supervisor import Ward

SEED = 0
ORDERS = 300
SELLERS = {f"seller-{number}": sample_token(SEED, number) for number in (1, 2, 3)}
"""Organization ids and tokens, as the sandbox's command line names them."""
_STOP_SECONDS = 5.0


class Sandbox:
    """A sandbox process, for as long as the `with` block and never longer than this process.

    Args:
        port: on loopback.
        logs: the directory of its log.
    """

    def __init__(self, port: int, logs: Path) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self._port = port
        self._log = logs / "sandbox.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        try:
            self.start()
        except BaseException:  # Ctrl-C too: what was started is stopped
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ward(self) -> Ward:
        """For a supervisor."""
        return Ward("The sandbox", self._alive, self._last_words, self.start)

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            BackMarketError: it ended instead.
        """
        self.stop()
        command = [sys.executable, "-m", "backmarket.sandbox", "--child"]
        command += ["--port", str(self._port), "--seed", str(SEED)]
        command += ["--sellers", str(len(SELLERS)), "--orders", str(ORDERS)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,  # it ends when this end is closed, by us or by the system
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        if not (self._process.stdout and self._process.stdout.readline()):
            self._process.wait()
            raise BackMarketError(self._last_words())

    def stop(self) -> None:
        """Stop it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _last_words(self) -> str:
        code = self._process.returncode if self._process else None
        return f"The sandbox ended with code {code}. The end of {self._log}:\n{self._log.read_text()[-2000:]}".strip()


def connect(market: BackMarket, sandbox: Sandbox) -> None:
    """Connect the sellers, and ask for everything: a new sandbox does not remember how the last one had changed."""
    for name, token in SELLERS.items():
        market.upsert_connection(name, token, base_url=sandbox.url)
        for resource in RESOURCES:
            market.sync(name, resource, full=True)


def disconnect(market: BackMarket) -> None:
    """Ask sellers of an earlier sandbox nothing any more; their rows stay."""
    for name in SELLERS:
        try:
            connection = market.get_connection_status(name).connection
        except ConnectionNotFound:
            continue
        if connection.enabled and (connection.base_url or "").startswith(f"http://{LOOPBACK}:"):
            market.disconnect(name)
