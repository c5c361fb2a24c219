"""The strict S3 proxy before SeaweedFS: what is in order passes, what is not leaves nothing, and both go together."""

from __future__ import annotations

import hashlib
import io
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow

from backmarket.bucket.client import Bucket
from backmarket.errors import BucketUnavailable
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.conftest import Bucket as Given
from tests.support.strict_s3 import HELD, StrictS3


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """One connection, and no second try."""
    with urllib3.PoolManager(retries=False, timeout=10) as http:
        yield http


def put(http: urllib3.PoolManager, s3: Given, key: str, body: bytes, *, told: bytes) -> urllib3.BaseHTTPResponse:
    """Store a body with the hash of what is told to be it, and a signature that holds for that."""
    url, date, sha256 = urlsplit(f"{s3.endpoint_url}/{s3.name}/{key}"), utcnow(), hashlib.sha256(told).hexdigest()
    headers: dict[str, Any] = {"Host": url.netloc, "x-amz-content-sha256": sha256, "x-amz-date": to_amz_date(date)}
    credentials = Credentials(s3.access_key, s3.secret_key)
    signed: dict[str, Any] = sign_v4_s3(
        method="PUT",
        url=url,
        region=s3.region,
        headers=headers,
        credentials=credentials,
        content_sha256=sha256,
        date=date,
    )
    return http.request("PUT", url.geturl(), body=body, headers=signed)


def test_what_is_in_order_passes(s3: Given) -> None:
    client, name = s3.client(), "labels/a b/é.pdf"
    for size in (0, 1, HELD, HELD + 1, 3 * 2**20):
        content = bytes(size)
        client.put_object(s3.name, name, io.BytesIO(content), size)
        assert client.get_object(s3.name, name).read() == content
        assert client.stat_object(s3.name, name).size == size
    assert [each.object_name for each in client.list_objects(s3.name, "labels/", recursive=True)] == [name]
    link = client.presigned_get_object(s3.name, name, expires=timedelta(minutes=1))
    assert len(urllib.request.urlopen(link).read()) == size
    assert not list(client.remove_objects(s3.name, [DeleteObject(name)]))
    assert not list(client.list_objects(s3.name, recursive=True))


def test_the_server_s_own_refusals_pass_too(s3: Given) -> None:
    client = Minio(urlsplit(s3.endpoint_url).netloc, s3.access_key, "wrong", secure=False, region=s3.region)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        client.put_object(s3.name, "a", io.BytesIO(b"a"), 1)


@pytest.mark.parametrize("size", [1, HELD, 40 * HELD])
def test_a_body_that_is_not_what_was_told_is_not_stored(http: urllib3.PoolManager, s3: Given, size: int) -> None:
    answer = put(http, s3, "a", b"x" * size, told=b"y" * size)
    assert (answer.status, b"<Code>XAmzContentSHA256Mismatch</Code>" in answer.data) == (400, True)
    assert put(http, s3, "b", b"x" * size, told=b"x" * size).status == 200
    assert [each.object_name for each in s3.client().list_objects(s3.name)] == ["b"]


@pytest.mark.parametrize("size", [0, 1, 40 * HELD])
def test_a_refusal_is_read_by_a_client_that_still_sends(http: urllib3.PoolManager, s3: Given, size: int) -> None:
    answer = put(http, s3, "labels//a", b"x" * size, told=b"x" * size)
    assert (answer.status, b"<Code>XMinioInvalidObjectName</Code>" in answer.data) == (400, True)
    assert answer.headers["Connection"] == "close"
    assert list(s3.client().list_objects(s3.name, recursive=True)) == []


def test_the_bucket_is_found_through_it(s3: Given, settings: Settings) -> None:
    """The probe of `ensure` listed a prefix with an empty part, which MinIO refuses."""
    bucket = Bucket(settings)
    bucket.ensure()
    assert bucket.exists()
    with pytest.raises(S3Error, match="XMinioInvalidObjectName"):
        list(s3.client().list_objects(s3.name, "labels//"))


@pytest.mark.slow
def test_a_server_that_is_away_takes_the_proxy_with_it(
    http: urllib3.PoolManager, s3: Given, stack: Stack, settings: Settings
) -> None:
    assert put(http, s3, "a", b"a", told=b"a").status == 200
    stack.s3.kill()
    for _ in range(2):  # on the connection that was open, and on a new one
        with pytest.raises(urllib3.exceptions.HTTPError):
            put(http, s3, "a", b"a", told=b"a")
    with pytest.raises(BucketUnavailable, match="is unreachable"):
        Bucket(settings).ensure()
    stack.s3.start()
    assert put(http, s3, "a", b"a", told=b"a").status == 200


def test_a_server_that_says_nothing_has_a_silent_proxy(s3: Given, stack: Stack) -> None:
    stack.s3.pause()
    with socket.create_connection(_address(s3.endpoint_url), timeout=0.5) as asking:
        asking.sendall(f"GET /{s3.name} HTTP/1.1\r\nHost: s3\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            asking.recv(1)
    stack.s3.resume()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{s3.endpoint_url}/{s3.name}")


def test_what_is_no_http_is_cut_off(s3: Given) -> None:
    with socket.create_connection(_address(s3.endpoint_url), timeout=10) as strange:
        strange.sendall(b"\x16\x03\x01\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            strange.recv(1)


def test_it_ends_with_its_owner() -> None:
    with StrictS3("http://127.0.0.1:1") as strict, pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", strict.url, retries=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(_address(strict.url))


def _address(url: str) -> tuple[str, int]:
    host, _, port = urlsplit(url).netloc.partition(":")
    return host, int(port)
