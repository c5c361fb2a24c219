"""The console as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

from backmarket.console import http_protocol
from backmarket.console.app import create_app
from backmarket.errors import SettingsError
from backmarket.facade import BackMarket
from backmarket.settings import Settings

HOST = "127.0.0.1"
PORT = 8600


class _Server(uvicorn.Server):
    """Reports when it is ready; ends when its standard input ends, if requested."""

    def __init__(self, config: uvicorn.Config, app: Starlette, ready: Callable[[], None], *, watch_input: bool) -> None:
        super().__init__(config)
        self._console = app
        self._ready = ready
        self._watch_input = watch_input

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._watch_input:
            asyncio.get_running_loop().add_reader(0, self._input)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._console.state.events.end()  # otherwise uvicorn would wait for browsers with an open stream
        await super().shutdown(sockets)

    def _input(self) -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            self.should_exit = True


def run(
    settings: Settings,
    *,
    host: str = HOST,
    port: int = PORT,
    on_ready: Callable[[str], None] | None = None,
    stop_on_eof: bool = False,
) -> None:
    """Serve the console until SIGINT or SIGTERM.

    Args:
        settings: the addresses of the services, and the users.
        host: the address to listen on.
        port: the TCP port; 0: any free one.
        on_ready: called with the console's address, once it answers.
        stop_on_eof: stop when standard input ends, as it does when the parent process ends.

    Raises:
        SettingsError: if these settings do not allow a start; the text says what to set.
        OSError: if the port is taken.
    """
    settings.need("database_url")
    check_reach(settings, host)
    with BackMarket(settings) as bm:
        app = create_app(bm, settings)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
        shown = f"[{host}]" if ":" in host else host
        url = settings.console_url or f"http://{shown}:{listener.getsockname()[1]}"
        server = _Server(config_of(app), app, lambda: on_ready(url) if on_ready else None, watch_input=stop_on_eof)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
            server.run(sockets=[listener])


def config_of(app: Starlette) -> uvicorn.Config:
    """How the console is served."""
    return uvicorn.Config(
        app,
        http=http_protocol.BoundedProtocol,
        h11_max_incomplete_event_size=http_protocol.MAX_HEAD_BYTES,
        ws="none",
        access_log=False,
        log_level="error",
        log_config=None,
        proxy_headers=False,  # `Auth` decides which proxies are trusted
        server_header=False,
        timeout_keep_alive=http_protocol.IDLE_SECONDS,
        timeout_graceful_shutdown=5,
    )


def check_reach(settings: Settings, host: str) -> None:
    """Check that passwords and sessions travel encrypted.

    Raises:
        SettingsError: if other hosts could reach it by plain http, or its public address is not set.
    """
    reached_at = urlsplit(settings.console_url or "")
    if not _is_here(host) and not settings.console_url:
        raise SettingsError(
            f"Other machines reach the console on {host}. Set BACKMARKET_CONSOLE_URL to the origin that they use,"
            " such as https://console.example."
        )
    if reached_at.scheme == "http" and not _is_here(reached_at.hostname or ""):
        raise SettingsError(
            "BACKMARKET_CONSOLE_URL must be https: plain http exposes passwords and sessions."
            " Put a proxy with TLS before the console."
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
