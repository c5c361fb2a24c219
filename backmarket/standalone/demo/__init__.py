"""`backmarket demo`: the whole main job once, on its own temporary stack and sandbox."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import ExitStack

from backmarket.database.encryption import KeyCipher
from backmarket.errors import ENV_PREFIX, BackMarketError
from backmarket.facade import BackMarket
from backmarket.sandbox.server import SandboxServer
from backmarket.services import Services
from backmarket.standalone.demo import checks
from backmarket.standalone.demo.checks import DemoFailed, Shops
from backmarket.standalone.demo.hook import Hook
from backmarket.standalone.demo.screen import Screen
from backmarket.standalone.demo.sellers import ALIVE, DEAD, FAULTS, SELLERS, SHIPS_ALONE
from backmarket.standalone.embedded import Stack
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.up.environment import settings_of
from backmarket.standalone.up.interrupts import Interrupted, interruptible
from backmarket.standalone.up.supervisor import Supervised, members_of, servers_of

FIRST_SYNC_TIMEOUT_SECONDS = 300.0
"""Seconds within which the first syncs must finish; on an idle machine they take 2 to 5."""
GRACE = 1.0
"""Seconds from the effect of a process's death until the system reports the death."""
SELDOM = 30 * 86400.0
"""Seconds between two syncs; the demo requests the second one itself."""


def run_demo() -> int:
    """Connect sellers, let workers sync them, check the result, and report it.

    No process and no file is left behind, however it ends.

    Returns:
        The exit code: 0 if all checks passed, 1 if one failed, 128 plus the signal's number if a signal
        ended it (130 for Ctrl-C).
    """
    screen = Screen()
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # the demo reports each error once
    try:
        with interruptible(), ExitStack() as ending:
            _Demo(screen, ending).run()
    except Interrupted as interruption:
        screen.failed("Stopped.")
        return 128 + interruption.number
    except BackMarketError as error:
        screen.failed(f"The demo failed. {error}")
        return 1
    except Exception as error:  # noqa: BLE001 - a bug: report its place, and one sentence
        screen.crashed(f"The demo failed with an internal error: {type(error).__name__}.")
        return 1
    screen.say("Everything was stopped and removed.")
    return 0


class _Demo:
    def __init__(self, screen: Screen, ending: ExitStack) -> None:
        self.screen = screen
        self.ending = ending
        self.processes: list[Supervised] = []

    def run(self) -> None:
        """The whole job.

        Raises:
            BackMarketError: if a check failed.
        """
        try:
            self._steps()
        except Exception:  # any: it is raised again below
            self._look(GRACE)  # a dead process explains the failures after it
            raise
        self._look()

    def _steps(self) -> None:
        screen = self.screen
        screen.say("Everything starts empty, in a temporary directory, and is removed in the end.\n")
        with screen.step("PostgreSQL, Valkey and an S3 server run"):
            stack = self.ending.enter_context(Stack())
            self.processes = servers_of(stack)
        self.hook = self.ending.enter_context(Hook())
        with screen.step(f"A sandbox stands for Back Market: {len(SELLERS)} sellers, slow, 2% of its answers faulty"):
            sandbox = self._sandbox()
        with screen.step(f"The tables are made, the sellers connected, {DEAD} among them, whose token was revoked"):
            shops = self._connect(stack, sandbox)
        with screen.step("Beat, a dispatcher, a sync worker and one for labels run"):
            self._start_workers(stack, sandbox)
        with screen.step("Every seller was found due and synced", spinner=False):
            self._wait_for_the_first_syncs(shops)
        self.hook.register(shops.market)
        table = checks.first_syncs(shops)
        for sentence, check in (
            (
                "Every order, line, listing and shipment is stored as the sandbox has it",
                checks.equal_to_the_truth,
            ),
            (f"{SHIPS_ALONE} ships by itself: no deliveries and returns there, all else is well", checks.no_backship),
            (
                f"All {checks.labels_given(shops)} shipping labels are in the bucket, each as the sandbox has it",
                checks.labels_stored,
            ),
            (f"{DEAD} is refused and soon no longer asked, and all others went on", checks.dead_token_is_told),
            ("Synced again: one request each, and nothing was written", checks.quiet_sync),
            ("5 orders changed: exactly those 5 arrived, with 5 events", checks.five_changes),
            ("3 listings were taken away: those 3 are marked as gone", checks.three_listings_gone),
            ("A webhook was called for each of these changes, signed, once and in their order", self._webhook_called),
            (
                f"A file with a bad line is refused, and the line named; corrected, its {checks.BULK_LINES} lines are"
                " done, each once",
                checks.bulk_files,
            ),
            ("No rate limit was exceeded: at most 200 requests in any 10 s", checks.limit_kept),
        ):
            with screen.step(sentence):
                check(shops)
        screen.table(table)

    def _sandbox(self) -> SandboxServer:
        try:
            server = self.ending.enter_context(SandboxServer(SELLERS, latency=0.1, jitter=0.1))
        except RuntimeError as error:
            raise DemoFailed(f"{error}.") from None
        for name in ALIVE:  # what the closed shop may cost is counted
            for kind, share in FAULTS.items():
                server.control.add_fault(kind, seller=name, probability=share, status=502)
        server.control.add_fault("status", status=502, seller=SELLERS[0].name, page=3, count=1)  # at least one fault
        server.control.patch_seller(DEAD, revoked=True)
        return server

    def _connect(self, stack: Stack, sandbox: SandboxServer) -> Shops:
        self.environment = stack.environment() | {
            f"{ENV_PREFIX}SECRET_KEYS": KeyCipher.generate(),
            f"{ENV_PREFIX}LIMITER_KEY": secrets.token_hex(24),
            f"{ENV_PREFIX}USER_AGENT": "BM-Example-Demo;contact@company.example",
            f"{ENV_PREFIX}ALLOWED_BASE_URLS": sandbox.url,
            f"{ENV_PREFIX}EVENT_PRIVATE_ORIGINS": self.hook.origin,
            f"{ENV_PREFIX}BULK_POLL_INITIAL_SECONDS": "0.5",  # the sandbox needs a second for a file
        }
        settings = settings_of(self.environment)
        services = Services(settings)
        self.ending.callback(services.close)
        market = self.ending.enter_context(BackMarket(settings))
        market.apply_schema()
        for resource, entry in market.get_schedule().items():
            market.update_schedule(resource, interval=SELDOM, full_interval=entry.full_interval and SELDOM)
        services.limiter.skip_recovery()  # no requests were sent to this sandbox yet
        for seller in SELLERS:
            market.upsert_connection(seller.name, seller.token, base_url=sandbox.url)
        return Shops(market, services.database, sandbox.control)

    def _start_workers(self, stack: Stack, sandbox: SandboxServer) -> None:
        fleet = self.ending.enter_context(Fleet(self.environment, directory=stack.directory / "logs"))
        fleet.wait_ready()
        self.processes += members_of(fleet)
        self.processes.append(
            Supervised("sandbox", lambda: checks.answers(sandbox.control), lambda: "The sandbox died.", str)
        )

    def _wait_for_the_first_syncs(self, shops: Shops) -> None:
        totals = {seller.name: checks.rows_of(seller) for seller in SELLERS if seller.name != DEAD}
        until = time.monotonic() + FIRST_SYNC_TIMEOUT_SECONDS
        with self.screen.progress(totals) as show:
            while not shops.all_settled():
                self._look()
                if time.monotonic() > until:
                    raise DemoFailed(f"Not every seller was synced within {FIRST_SYNC_TIMEOUT_SECONDS:g} s.")
                show(shops.stored())
                time.sleep(0.1)
            show(shops.stored())

    def _webhook_called(self, shops: Shops) -> None:
        self.hook.check(shops.market)

    def _look(self, seconds: float = 0.0) -> None:
        until = time.monotonic() + seconds
        while True:
            for supervised in self.processes:
                if not supervised.alive():
                    raise DemoFailed(supervised.exit_report())
            if time.monotonic() >= until:
                return
            time.sleep(0.05)
