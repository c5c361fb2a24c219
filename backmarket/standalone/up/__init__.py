"""`backmarket up`: everything on this machine until Ctrl-C.

PostgreSQL, Valkey and an S3 server of its own, or those that the settings name; a sandbox with three connected
sellers, as sample data; workers, beat, Flower and the console. A process that dies is reported and restarted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from backmarket.facade import BackMarket
from backmarket.services import Services
from backmarket.settings import Settings, load_settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_port
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.up import banner
from backmarket.standalone.up.console import Console
from backmarket.standalone.up.environment import build_environment, settings_of, write_script
from backmarket.standalone.up.interrupts import Interrupted, interruptible
from backmarket.standalone.up.sellers import Sandbox, connect, disconnect
from backmarket.standalone.up.state_file import StateFile
from backmarket.standalone.up.supervisor import Supervised, Supervisor, members_of, servers_of

CHECK_SECONDS = 0.5
"""Seconds between two checks whether all processes run."""


def run_up(
    *, sandbox: bool = True, directory: Path | None = None, flower_port: int = 5555, console_port: int = 8600
) -> int:
    """Run everything until Ctrl-C, SIGTERM or the end of the terminal; a second one ends it without waiting.

    Args:
        sandbox: whether to start a sandbox and its sellers; never where `DATABASE_URL` names a database of yours.
        directory: the directory of the servers' files and the generated secrets; None: `.stack` in the current one.
        flower_port: Flower's port on loopback; if it is in use, another one is taken.
        console_port: the console's port, likewise.

    Returns:
        The exit code: 0 when it was running and was told to end, 130 (or 128 and the signal) when it was still
        starting.

    Raises:
        BackMarketError: if it cannot be started; the text says why.
    """
    up = _Up((directory or Path(".stack")).absolute(), load_settings())
    try:
        with interruptible(), ExitStack() as ending:
            supervisor = up.start(ending, sandbox=sandbox, flower_port=flower_port, console_port=console_port)
            up.running = True
            while True:
                supervisor.check()
                time.sleep(CHECK_SECONDS)
    except Interrupted as interruption:
        say("Stopped." if up.running else "Stopped before it was up.")
        return 0 if up.running else 128 + interruption.number


class _Up:
    def __init__(self, directory: Path, given: Settings) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.given = given
        self.running = False
        self.embedded = not given.database_url

    def start(self, ending: ExitStack, *, sandbox: bool, flower_port: int, console_port: int) -> Supervisor:
        """Start one after the other; `ending` stops them in the opposite order."""
        say("Starting PostgreSQL, Valkey and an S3 server, unless the settings name one ...")
        idle = not self.given.redis_url and not (self.directory / "valkey").exists()
        stack = ending.enter_context(Stack(self.directory, settings=self.given))
        state = StateFile.of(self.directory, self.given)
        wanted = Sandbox(state.sandbox_port, self.logs) if sandbox and self.embedded else None
        environment = build_environment(stack, self.given, state, wanted.url if wanted else None)
        settings = settings_of(environment)
        self._prepare(settings, idle=idle)
        processes = servers_of(stack)
        if wanted:
            say("Starting a sandbox of the Back Market API with three sellers ...")
            ending.enter_context(wanted)
            processes.append(wanted.supervised)
        with BackMarket(settings) as market:
            connect(market, wanted) if wanted else disconnect(market)
        write_script(self.directory / "env", environment)
        port = free_port(flower_port)
        console = Console(environment, state.console_password, free_port(console_port), self.logs)
        ending.enter_context(console)
        processes.append(console.supervised)
        processes += self._start_fleet(ending, {**environment, "FLOWER_BASIC_AUTH": state.flower_login}, port)
        say(
            banner.render(
                self.directory, environment, console, f"http://127.0.0.1:{port}   {state.flower_hint}", wanted
            )
        )
        return Supervisor(processes, say)

    def _prepare(self, settings: Settings, *, idle: bool) -> None:
        self.logs.mkdir(mode=0o700, exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.unlink()
        with BackMarket(settings) as market:
            market.apply_schema()
        services = Services(settings)
        services.bucket.ensure()
        if idle:  # this limiter was not used before
            services.limiter.skip_recovery()
        services.close()

    def _start_fleet(self, ending: ExitStack, environment: Mapping[str, str], flower_port: int) -> list[Supervised]:
        say("Starting workers, beat and Flower ...")
        fleet = Fleet(environment, directory=self.logs, flower_port=flower_port)
        ending.callback(self._stop_fleet, fleet)
        fleet.start()
        fleet.wait_ready()
        return members_of(fleet)

    def _stop_fleet(self, fleet: Fleet) -> None:
        if self.running:
            say("\nStopping: beat, then the workers, whose slices hand on, then the servers. Ctrl-C again: at once.")
        for name in fleet.stop():
            say(f"{name} did not end in time and was killed.")


def say(text: str) -> None:
    """Print a message, if the terminal still exists."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
