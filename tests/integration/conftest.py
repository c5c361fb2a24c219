"""What many modules here share: a database and a sandbox for each module, and a seller for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backmarket.sandbox.control.client import SandboxControl
from backmarket.standalone.embedded import Stack
from tests.support.databases import shared_database
from tests.support.sandboxes import fresh_sandbox


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
def org(request: pytest.FixtureRequest) -> str:
    """A seller of this test's own."""
    return f"auth0|{request.node.name}"[:200]
