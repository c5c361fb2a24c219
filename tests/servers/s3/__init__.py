"""S3: SeaweedFS and VersityGW, which are started here, and the server that `TEST_S3_*` names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.servers.run import NotHad, run_pytest
from tests.servers.s3 import seaweedfs, versitygw
from tests.servers.s3.place import DOMAIN, Place, named_by
from tests.servers.s3.restricted import deployed, is_minio
from tests.servers.table import Row
from tests.support.certificates import Authority, Certificates

PATHS = "tests/servers/s3/test_paths.py"
CLIENT = "tests/integration/bucket/test_client.py"
OF_THE_PRODUCT = (
    "tests/integration/labels/test_labels.py",
    "tests/integration/upkeep/test_bucket_sweep.py",
    "tests/integration/upkeep/test_erasure.py",
    "tests/integration/writes/test_invoices.py",
    "tests/integration/bulk/test_jobs.py",
    "tests/integration/bulk/test_reports.py",
    "tests/integration/bulk/test_surface.py",
    "tests/integration/cli/test_labels.py",
)
"""What stores something in the bucket, or takes it away."""

STOP_THE_SERVER = "not TestBucketAway and not bucket_away"
"""Tests that stop the embedded server prove nothing of another."""


def rows() -> Iterator[Row]:
    """What was tried on each server."""
    yield from _of("SeaweedFS", seaweedfs.version, seaweedfs.running)
    yield from _of("VersityGW", lambda: versitygw.VERSION, versitygw.running)
    if place := named_by():
        yield from _named(place)
    else:
        yield Row("another S3 server", "", "all of it", "TEST_S3_* names none", passed=None)


def _of(
    name: str, version: Callable[[], str], running: Callable[[Certificates | None], AbstractContextManager[Place]]
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="backmarket-tls.") as directory:
        certificates = Authority(Path(directory)).sign("127.0.0.1", "localhost", DOMAIN, f"*.{DOMAIN}")
        try:
            with running(None) as place:
                yield from _all(name, version(), place)
            with running(certificates) as place:
                yield _run(name, version(), "TLS with a private CA: bucket, links, every path", (CLIENT, PATHS), place)
        except NotHad as reason:
            yield Row(name, version(), "all of it", str(reason), passed=None)


def _named(place: Place) -> Iterator[Row]:
    name, version = place.title or "TEST_S3_*", place.version
    with ExitStack() as ending:
        if not place.user and is_minio(place):
            place = place.with_user(ending.enter_context(deployed(place)))
        yield from _all(name, version, place)


def _all(name: str, version: str, place: Place) -> Iterator[Row]:
    way = "TLS" if place.endpoint_url.startswith("https:") else "http"
    tried = "restricted user, versions, lock, region, host style, 2,500 objects"
    tried += ", deploy/bucket.py" if is_minio(place) else ""
    yield _run(name, version, f"{way}: {tried}", (PATHS,), place)
    yield _run(name, version, f"{way}: bucket, links, refusals", (CLIENT,), place)
    yield _run(name, version, f"{way}: labels, invoices, bulk files, reports, sweep, erasure", OF_THE_PRODUCT, place)


def _run(name: str, version: str, tried: str, tests: tuple[str, ...], place: Place) -> Row:
    return run_pytest(name, version, tried, tests, place.environment(), STOP_THE_SERVER)
