"""What tests of every tier may ask for: one embedded stack for the session, and a clean corner of it each.

Nothing here is ever skipped: a machine on which the stack can't run fails the tests that need it.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest
import redis
from minio import Minio
from minio.deleteobjects import DeleteObject

from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.processes import Server
from tests.support import sandboxes
from tests.support.databases import (
    PROCESS,
    as_process,
    as_superuser,
    make_roles,
    new_database,
    open_connection,
    own_redis,
    revive_postgres,
    running_stack,
)
from tests.support.logs import logging_restored
from tests.support.recycled import DatabaseRecycler
from tests.support.settings import fresh_settings
from tests.support.strict_s3 import StrictS3

# how long an example takes says something of the machine only
hypothesis.settings.register_profile(
    "unhurried", hypothesis.settings.default, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

SCHEMA = Path(__file__).resolve().parents[1] / "schema.sql"
TEMPLATE = "backmarket_template"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Bucket:
    """A bucket of one test; it exists, and is empty."""

    endpoint_url: str
    access_key: str
    secret_key: str
    name: str
    region: str = "us-east-1"

    def client(self) -> Minio:
        address = urlsplit(self.endpoint_url)
        secure = address.scheme == "https"
        return Minio(address.netloc, self.access_key, self.secret_key, secure=secure, region=self.region)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell lets what it runs with `&` ignore SIGINT, and every process that is started there inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """A developer's own settings neither change a test nor lead it to a real database."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    with logging_restored():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_sandbox_left() -> Iterator[None]:
    yield
    sandboxes.stop_all()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL, Valkey and S3, started when the first test asks; for tests that stop and kill them, too."""
    with running_stack() as running:
        make_roles(running)
        yield running


@pytest.fixture(scope="session")
def _template(stack: Stack) -> Iterator[str]:
    """The database that every test's own is a copy of: the schema, as its file makes it alone, and nothing else."""
    with new_database(stack, TEMPLATE) as url:
        with open_connection(url, autocommit=True) as connection:
            connection.execute(SCHEMA.read_bytes())
        yield TEMPLATE


@pytest.fixture(scope="session")
def _recycler(stack: Stack, _template: str) -> Iterator[DatabaseRecycler]:
    recycler = DatabaseRecycler(stack, _template)
    yield recycler
    recycler.close()


@pytest.fixture
def database_url(stack: Stack, _recycler: DatabaseRecycler) -> Iterator[str]:
    """A database of this test alone, with the schema; its role is an ordinary one, of odd settings."""
    revive_postgres(stack)
    with _recycler.lend(f"test_{next(_numbers)}") as url:
        yield url
        revive_postgres(stack)


@pytest.fixture
def admin_url(database_url: str) -> str:
    """The same database for a superuser: for roles, settings of the server, and what its own role may not see."""
    return as_superuser(database_url)


@pytest.fixture
def redis_url(stack: Stack) -> Iterator[str]:
    """A Valkey database of this test alone."""
    _revive(stack.valkey)
    url = own_redis(stack)
    with redis.Redis.from_url(url) as client:
        yield url
        _revive(stack.valkey)
        client.flushdb()


@pytest.fixture(scope="session")
def s3_url(stack: Stack) -> Iterator[str]:
    """The embedded S3 server, seen through a proxy that refuses what MinIO and AWS refuse."""
    with StrictS3(stack.addresses.s3_endpoint_url) as strict:
        yield strict.url


@pytest.fixture
def s3(stack: Stack, s3_url: str) -> Iterator[Bucket]:
    """A bucket of this test alone, on the embedded server or on the one that `TEST_S3_*` names (CONTRIBUTING)."""
    _revive(stack.s3)
    bucket = _bucket_elsewhere() or _bucket_of(stack, s3_url)
    client = bucket.client()
    client.make_bucket(bucket.name)
    yield bucket
    _revive(stack.s3)
    found = client.list_objects(bucket.name, recursive=True)
    errors = client.remove_objects(bucket.name, (DeleteObject(str(each.object_name)) for each in found))
    assert not list(errors)
    client.remove_bucket(bucket.name)


@pytest.fixture
def settings(database_url: str, redis_url: str, s3: Bucket) -> Settings:
    """Complete settings for this test's own corner of the stack."""
    return fresh_settings(
        database_url=as_process(database_url, PROCESS),
        redis_url=redis_url,
        s3_endpoint_url=s3.endpoint_url,
        s3_access_key=s3.access_key,
        s3_secret_key=s3.secret_key,
        s3_bucket=s3.name,
        s3_region=s3.region,
    )


def _bucket_of(stack: Stack, url: str) -> Bucket:
    at = stack.addresses
    return Bucket(url, at.s3_access_key, at.s3_secret_key, f"test-{next(_numbers)}")


def _bucket_elsewhere() -> Bucket | None:
    endpoint = os.environ.get("TEST_S3_ENDPOINT_URL")
    if not endpoint:
        return None
    access, secret = os.environ["TEST_S3_ACCESS_KEY"], os.environ["TEST_S3_SECRET_KEY"]
    region = os.environ.get("TEST_S3_REGION", "us-east-1")
    return Bucket(endpoint, access, secret, f"backmarket-test-{secrets.token_hex(8)}", region)


def _revive(server: Server) -> None:
    """Whatever the last test did to a server, the next one finds it running."""
    server.resume()
    if server.pid is None:
        server.start()


def _with_path(url: str, path: str) -> str:
    return urlsplit(url)._replace(path=f"/{path}").geturl()
