"""A real browser before the console, with real workers behind it and the sandbox for Back Market."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from backmarket import BackMarket
from backmarket.console.access import passwords
from backmarket.resources import RESOURCE_NAMES
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_port
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.programs import CHECKOUT
from backmarket.standalone.up.console import Console
from tests.support.databases import own_redis, shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import environment
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
TIMEOUT_MILLISECONDS = 300_000
"""Milliseconds that a page may take, on a machine with much to do."""
PASSWORD = "a long password"


@dataclass(frozen=True)
class Place:
    """Everything that runs.

    Attributes:
        url: of the console.
        bm: what it shows.
        sandbox: what it is compared with.
        console: the process.
    """

    url: str
    bm: BackMarket
    sandbox: SandboxControl
    console: Console

    def sell(self, organization: str, **spec: Any) -> None:
        """A seller that is connected and synced by the workers."""
        self.add(organization, **spec)
        self.bm.upsert_connection(organization, f"token-of-{organization}", base_url=self.sandbox.url)
        for handle in [self.bm.sync(organization, each, full=True) for each in RESOURCE_NAMES]:
            handle.wait(PATIENCE_SECONDS)

    def add(self, organization: str, **spec: Any) -> None:
        """A seller account of the sandbox, which nobody is connected to yet."""
        spec = {"orders": 20, "listings": 12, "deliveries": 4, "returns": 2} | spec
        self.sandbox.add_seller(organization, f"token-of-{organization}", **spec)


@dataclass
class Person:
    """Somebody at a browser; what goes wrong in it is noted.

    Attributes:
        page: that is looked at.
        place: where.
        faults: errors of scripts, what the policy refused, and requests to elsewhere.
    """

    page: Page
    place: Place
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """A page by its address."""
        self.page.goto(f"{self.place.url}{path}")
        return self.page

    def log_in(self, name: str = "anna") -> None:
        """As people do."""
        self.open("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Overview").wait_for()

    def assert_accessible(self) -> None:
        """No serious finding of axe."""
        found = Axe().run(self.page).response["violations"]
        serious = [
            f"{each['id']} ({each['impact']}): {node['html'][:160]}"
            for each in found
            for node in each["nodes"]
            if each["impact"] in {"serious", "critical"}
        ]
        assert serious == [], f"{self.page.url}: {serious}"

    def assert_fits(self) -> None:
        """Nothing of the page is beyond its right edge; on a phone nothing within it scrolls sideways, but the tabs."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{self.page.url} is {wide} px too wide"
        parts = (
            "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth + 1).length"
        )
        assert not self.page.evaluate(f"innerWidth < 600 && {parts}"), f"{self.page.url} has a part that scrolls"


@pytest.fixture(scope="session")
def place(stack: Stack, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The embedded stack, a sandbox, workers and beat, and the console, each a process of its own."""
    at, logs = stack.addresses, tmp_path_factory.mktemp("logs")
    kept = passwords.hashed(PASSWORD, cost=2**10)
    with ExitStack() as ending:
        sandbox = ending.enter_context(fresh_sandbox(limit=100_000)).control
        settings = fresh_settings(
            database_url=ending.enter_context(shared_database(stack, "browser")),
            redis_url=own_redis(stack),
            s3_endpoint_url=s3_url,
            s3_access_key=at.s3_access_key,
            s3_secret_key=at.s3_secret_key,
            s3_bucket="browser",
            allowed_base_urls=(sandbox.url,),
            sku_lines_limit=6,
            bulk_poll_initial_seconds=0.2,
            console_users=(f"anna:operator:{kept}", f"otto:viewer:{kept}"),
        )
        bm = ending.enter_context(BackMarket(settings))
        services = Services(settings)
        services.bucket.ensure()
        services.limiter.skip_recovery()
        services.close()
        fleet = ending.enter_context(Fleet(environment(settings), directory=logs))
        console = ending.enter_context(Console(environment(settings), "", free_port(0), logs))
        fleet.wait_ready()
        assert isinstance(console, Console)
        yield Place(console.url, bm, sandbox, console)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of the system's packages, headless."""
    path = (
        os.environ.get("CHROMIUM")
        or subprocess.run(
            [CHECKOUT / "scripts" / "chromium"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=ARGUMENTS, timeout=PATIENCE_SECONDS * 1000
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(place: Place, browser: Browser) -> Iterator[Callable[..., Person]]:
    """Opens browsers, each of a person; at the end nothing may have gone wrong in them."""
    opened: list[tuple[BrowserContext, Person]] = []

    def open_browser(**options: Any) -> Person:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        person = Person(context.new_page(), place)
        _note_faults(person)
        opened.append((context, person))
        return person

    yield open_browser
    for context, _ in opened:
        context.close()
    assert [fault for _, person in opened for fault in person.faults] == []


@pytest.fixture
def anna(visit: Callable[..., Person]) -> Person:
    """Somebody who may act, logged in."""
    person = visit()
    person.log_in()
    return person


@pytest.fixture(scope="session")
def seller(place: Place) -> str:
    """A seller that several tests look at, and each changes other things of."""
    place.sell("shop-1")
    wait_until(lambda: all(each.state == "ok" for each in place.bm.get_status()), "everything is synced")
    return "shop-1"


def csv_file(directory: Path, *lines: str) -> Path:
    """A file of listings."""
    path = directory / "stock.csv"
    path.write_text("\n".join(["sku,quantity", *lines]) + "\n")
    return path


def _note_faults(person: Person) -> None:
    page, url = person.page, person.place.url
    refused = "Failed to load resource"  # a 4xx that a test provokes; the page says it to the person
    page.on("pageerror", lambda error: person.faults.append(f"script: {error}"))
    page.on(
        "console",
        lambda line: (
            person.faults.append(f"console: {line.text}")
            if line.type == "error" and not line.text.startswith((refused, "htmx:"))
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            person.faults.append(f"elsewhere: {request.url}")
            if not request.url.startswith((f"{url}/", "data:", "blob:"))
            else None
        ),
    )
