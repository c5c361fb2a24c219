"""What many modules here share: a database and a sandbox for each module, and a seller for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.databases import shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop


@pytest.fixture(scope="module")
def shared_url(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database for all tests of a module."""
    with shared_database(stack, request.module.__name__.partition(".")[2].replace(".", "_")) as url:
        yield url


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """The API for all tests of a module, with hardly a limit."""
    with fresh_sandbox(limit=100_000) as server:
        yield server.control


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """One process beside an API of its own, both with hardly a limit."""
    with fresh_sandbox(limit=100_000) as sandbox:
        shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox.control)
        yield shop
        shop.services.close()


@pytest.fixture
def org(request: pytest.FixtureRequest) -> str:
    """A seller of this test's own."""
    return f"auth0|{request.node.name}"[:200]
