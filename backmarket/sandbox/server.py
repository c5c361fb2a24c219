"""The sandbox as a process: serving, and being started and stopped by another process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Final

import msgspec
import uvicorn

from backmarket.sandbox.api.app import create_app
from backmarket.sandbox.api.wire import SandboxProtocol
from backmarket.sandbox.control.client import SandboxControl
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.sandbox.world.world import World

HOST: Final = "127.0.0.1"
_STOP_SECONDS: Final = 5.0


class _Server(uvicorn.Server):
    """Reports when it is ready, and its port; ends when its standard input ends, if requested."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], *, watch_input: bool) -> None:
        super().__init__(config)
        self._ready = ready
        self._watch_input = watch_input

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._watch_input:
            asyncio.get_running_loop().add_reader(0, self._input)
        self._ready()

    def _input(self) -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            self.should_exit = True


def run(
    world: World,
    *,
    host: str = HOST,
    port: int = 0,
    on_ready: Callable[[str], None] | None = None,
    stop_on_eof: bool = False,
) -> None:
    """Serve a world until SIGINT or SIGTERM.

    Args:
        world: the world to serve.
        host: the IPv4 address to listen on; loopback by default.
        port: the TCP port; 0 for any free one.
        on_ready: called with the address, such as `http://127.0.0.1:8000`, once requests are answered.
        stop_on_eof: stop when standard input ends, as it does when the parent process ends.

    Raises:
        OSError: if the port is taken, or the address is not this machine's.
    """
    listener = socket.create_server((host, port), backlog=2048)
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        create_app(world),
        http=SandboxProtocol,
        loop="uvloop",
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="error",
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, lambda: on_ready(url) if on_ready else None, watch_input=stop_on_eof)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
        server.run(sockets=[listener])


class SandboxServer:
    """A sandbox in its own process, for as long as the `with` block, and never longer than this process.

    Args:
        sellers: accounts to open at once.
        seed: everything invented follows from it.
        start: end of the half year in which invented times lie; None: the present.
        settings: fields of `Settings`, such as `latency=0.15`.
    """

    def __init__(
        self, sellers: Iterable[SellerSpec] = (), *, seed: int = 0, start: datetime | None = None, **settings: Any
    ) -> None:
        self._sellers = tuple(sellers)
        self._options = ["--seed", str(seed)] + (["--start", start.isoformat()] if start else [])
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._control: SandboxControl | None = None

    @property
    def url(self) -> str:
        """The address to use instead of Back Market's, such as `http://127.0.0.1:8000`."""
        return self.control.url

    @property
    def control(self) -> SandboxControl:
        """The control client of the running sandbox."""
        if self._control is None:
            raise RuntimeError("the sandbox is not running; use it in a with statement")
        return self._control

    @property
    def pid(self) -> int:
        """The process id of the running sandbox."""
        if self._process is None:
            raise RuntimeError("the sandbox is not running; use it in a with statement")
        return self._process.pid

    def __enter__(self) -> SandboxServer:
        command = [sys.executable, "-m", "backmarket.sandbox", "--sellers", "0", "--child", *self._options]
        # Its own session: Ctrl-C is for the parent, whose exit, however it comes, closes the child's input.
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            self._control = SandboxControl(self._announced_url(self._process))
            if self._settings:
                self._control.settings(**self._settings)
            for spec in self._sellers:
                self._control.add_seller(**msgspec.structs.asdict(spec))
        except BaseException:  # Ctrl-C too: what was started is stopped
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the process; harmless when it is not running."""
        if self._control is not None:
            self._control.close()
            self._control = None
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

    @staticmethod
    def _announced_url(process: subprocess.Popen[bytes]) -> str:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError(f"the sandbox did not start; it ended with {process.wait()}")
        url: str = msgspec.json.decode(line, type=dict[str, str])["url"]
        return url
