"""The fixtures. What they start, they start when the first test asks, and stop at the end of the session."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from redis import Redis

from backmarket.database import Database
from backmarket.database.encryption import KeyCipher
from backmarket.database.schema import apply_schema
from backmarket.errors import ENV_PREFIX
from backmarket.facade import BackMarket
from backmarket.sandbox.control.client import SandboxControl
from backmarket.sandbox.server import SandboxServer
from backmarket.services import Services
from backmarket.settings import Settings, load_settings
from backmarket.standalone.embedded import Stack
from backmarket.testing.databases import new_database
from backmarket.testing.seller import ConnectedSeller

ORGANIZATION_ID = "shop-1"
"""The organization of `connected_seller`."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def backmarket_stack() -> Iterator[Stack]:
    """PostgreSQL, Valkey and an S3 server of this session, in a temporary directory; their start takes some seconds."""
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def _backmarket_template(backmarket_stack: Stack) -> Iterator[str]:
    """A database with the tables, which is copied for each test."""
    server, name = backmarket_stack.addresses.database_url, f"backmarket_{secrets.token_hex(4)}"
    with new_database(server, name) as url:
        with closing(Database(url)) as database:
            apply_schema(database)
        yield name


@pytest.fixture(scope="session")
def _backmarket_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(_backmarket_sandbox: SandboxServer) -> SandboxControl:
    """A stand-in for the Back Market API, without sellers, faults and requests: its address, and its control."""
    _backmarket_sandbox.control.start_over()
    return _backmarket_sandbox.control


@pytest.fixture
def backmarket_settings(
    backmarket_stack: Stack, _backmarket_template: str, sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings of this test, also in the environment: a migrated database, a Valkey and a bucket that are empty.

    `BACKMARKET_*` variables from outside are removed for the test, so that it never reaches a real account.
    """
    number, addresses = next(_numbers), backmarket_stack.addresses
    name = f"{_backmarket_template}_{number}"
    redis_url = urlsplit(addresses.redis_url)._replace(path=f"/{number}").geturl()
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    with new_database(addresses.database_url, name, template=_backmarket_template) as database_url:
        given = backmarket_stack.environment() | {
            f"{ENV_PREFIX}DATABASE_URL": database_url,
            f"{ENV_PREFIX}REDIS_URL": redis_url,
            f"{ENV_PREFIX}S3_BUCKET": name.replace("_", "-"),
            f"{ENV_PREFIX}SECRET_KEYS": KeyCipher.generate(),
            f"{ENV_PREFIX}LIMITER_KEY": secrets.token_hex(24),
            f"{ENV_PREFIX}USER_AGENT": "BM-Example-Tests;contact@company.example",
            f"{ENV_PREFIX}ALLOWED_BASE_URLS": sandbox.url,
        }
        for variable in [variable for variable in os.environ if variable.startswith(ENV_PREFIX)]:
            monkeypatch.delenv(variable)
        for variable, value in given.items():
            monkeypatch.setenv(variable, value)
        yield load_settings()


@pytest.fixture
def connected_seller(backmarket_settings: Settings, sandbox: SandboxControl) -> Iterator[ConnectedSeller]:
    """A seller of the sandbox with 60 orders up to today, 20 listings, 10 deliveries and 5 returns, and connected."""
    token = secrets.token_urlsafe(24)
    sandbox.add_seller(ORGANIZATION_ID, token, orders=60, listings=20, deliveries=10, returns=5)
    services = Services(backmarket_settings)
    with closing(services), BackMarket(backmarket_settings) as bm:
        services.bucket.ensure()
        bm.upsert_connection(ORGANIZATION_ID, token, base_url=sandbox.url)
        yield ConnectedSeller(ORGANIZATION_ID, bm, backmarket_settings, sandbox, services)
