"""The bucket: what is stored comes back, links work from outside until they expire, and errors say what to do."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import re
import socket
import traceback
import tracemalloc
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from structlog.testing import capture_logs

from backmarket.bucket import client as module
from backmarket.bucket.client import RETRIES, Bucket
from backmarket.bucket.keys import label_key
from backmarket.errors import (
    BackMarketError,
    BucketRefused,
    BucketUnavailable,
    InvalidArgument,
    NotDeleted,
    ObjectNotFound,
    SettingsError,
)
from backmarket.services import Services
from backmarket.settings import Settings
from tests.conftest import Bucket as Given
from tests.support.certificates import Authority
from tests.support.gate import QuietServer
from tests.support.names import resolve_here
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PDF = b"%PDF-1.7 a label"
SECRET = "the-secret-of-the-bucket"
ACCESS = "the-name-of-the-key"
ORGANIZATIONS = ("shop-1", "auth0|1", "..", "a/../b", "%2E", "é \U0001f600 & +?#", "\U0001f600" * 200)


EMPTY_LIST = b"<ListBucketResult><Name>backmarket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def settings_of(s3: Given, **changes: Any) -> Settings:
    return Settings(
        **{
            "s3_endpoint_url": s3.endpoint_url,
            "s3_access_key": s3.access_key,
            "s3_secret_key": s3.secret_key,
            "s3_bucket": s3.name,
            "s3_region": s3.region,
            **changes,
        }
    )


@pytest.fixture
def bucket(s3: Given) -> Iterator[Bucket]:
    bucket = Bucket(settings_of(s3))
    yield bucket
    bucket.close()


def put(bucket: Bucket, key: str, content: bytes = PDF) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return bucket.put(key, io.BytesIO(content), size=len(content), content_type="application/pdf", sha256=digest)


def read(bucket: Bucket, key: str) -> bytes:
    with bucket.get(key) as content:
        return b"".join(content.chunks)


def keys(bucket: Bucket, prefix: str, **options: Any) -> list[str]:
    return [each.key for each in bucket.list(prefix, **options)]


class TestObjects:
    @pytest.mark.parametrize("organization", ORGANIZATIONS)
    def test_what_is_stored_comes_back_for_any_organization_id(self, bucket: Bucket, organization: str) -> None:
        key = label_key(organization, "deliveries", 7)
        etag = put(bucket, key)
        found = bucket.stat(key)
        assert (found.key, found.size, found.etag, found.content_type) == (key, len(PDF), etag, "application/pdf")
        assert found.sha256 == hashlib.sha256(PDF).hexdigest()
        assert abs((found.modified - datetime.datetime.now(datetime.UTC)).total_seconds()) < PATIENCE_SECONDS
        with bucket.get(key) as content:
            assert content.stored == found
            assert b"".join(content.chunks) == PDF
        (listed,) = bucket.list("labels/")
        assert (listed.key, listed.size, listed.etag) == (key, len(PDF), etag)
        assert listed.modified.replace(microsecond=0) == found.modified, (
            "MinIO lists milliseconds, and its headers do not"
        )
        assert urllib.request.urlopen(bucket.presigned_url(key, expires=60)).read() == PDF
        bucket.delete([key])
        assert keys(bucket, "labels/") == []

    def test_a_second_one_takes_the_first_one_s_place(self, bucket: Bucket) -> None:
        assert put(bucket, "labels/a", b"one") != put(bucket, "labels/a", b"another")
        assert read(bucket, "labels/a") == b"another"
        assert bucket.stat("labels/a").sha256 == hashlib.sha256(b"another").hexdigest()

    def test_an_empty_one(self, bucket: Bucket) -> None:
        put(bucket, "labels/empty", b"")
        assert read(bucket, "labels/empty") == b""

    def test_a_file_of_another_size_than_was_said_is_not_sent(self, bucket: Bucket) -> None:
        with pytest.raises(InvalidArgument, match="size"):
            bucket.put("labels/a", io.BytesIO(PDF), size=3, content_type="application/pdf", sha256="0" * 64)
        assert keys(bucket, "") == []

    def test_the_whole_file_is_stored_wherever_it_was_read_to(self, bucket: Bucket) -> None:
        file = io.BytesIO(PDF)
        file.read(4)
        digest = hashlib.sha256(PDF).hexdigest()
        bucket.put("labels/a", file, size=len(PDF), content_type="application/pdf", sha256=digest)
        assert read(bucket, "labels/a") == PDF

    def test_a_large_one_never_lies_in_memory(self, bucket: Bucket, tmp_path: Path) -> None:
        size = 48 * 2**20
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(size)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        put(bucket, "labels/small")  # what is imported and opened at first
        tracemalloc.start()
        try:
            with path.open("rb") as file:
                bucket.put("labels/large", file, size=size, content_type="application/pdf", sha256=digest)
            got = hashlib.sha256()
            with bucket.get("labels/large") as content:
                for chunk in content.chunks:
                    got.update(chunk)
            assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
        finally:
            tracemalloc.stop()
        assert got.hexdigest() == digest

    @pytest.mark.parametrize("ask", [read, Bucket.stat])
    def test_what_is_not_there_is_told_apart(self, bucket: Bucket, ask: Callable[[Bucket, str], object]) -> None:
        with pytest.raises(ObjectNotFound, match="labels/none"):
            ask(bucket, "labels/none")

    def test_deleting_takes_any_number_and_what_is_not_there(self, bucket: Bucket) -> None:
        for key in ("labels/a", "labels/b", "labels/c"):
            put(bucket, key)
        bucket.delete(["labels/a", *(f"labels/none/{number}" for number in range(1500)), "labels/c"])
        assert keys(bucket, "") == ["labels/b"]
        bucket.delete([])

    def test_a_list_goes_on_after_a_key_even_one_that_is_gone(self, bucket: Bucket) -> None:
        names = [f"labels/a/deliveries/{number}.pdf" for number in (1, 10, 100, 2, 3)]
        for key in (*names, "labels/a/returns/1.pdf", "labels/a-b/deliveries/1.pdf", "invoices/a/1"):
            put(bucket, key)
        assert keys(bucket, "labels/a/deliveries/") == names
        assert keys(bucket, "labels/a/deliveries/", limit=2) == names[:2]
        bucket.delete([names[1]])
        assert keys(bucket, "labels/a/deliveries/", after=names[1], limit=2) == names[2:4]
        seen: list[str] = []
        while page := keys(bucket, "labels/", after=seen[-1] if seen else "", limit=1):
            seen += page
        assert sorted(seen) == [*keys(bucket, "labels/a-b/"), names[0], *names[2:], "labels/a/returns/1.pdf"]


class TestMaking:
    def test_processes_that_make_it_at_once_share_it_and_strangers_may_not_read_it(self, s3: Given) -> None:
        """SeaweedFS may tell several that they made it, as AWS does in us-east-1; then each says so, once."""
        name = f"{s3.name}-new"
        buckets = [Bucket(settings_of(s3, s3_bucket=name)) for _ in range(4)]
        try:
            with capture_logs() as logs, ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda number: put(buckets[number % 4], f"labels/{number}"), range(16)))
            assert 1 <= [each["event"] for each in logs].count("bucket.made") <= len(buckets)
            assert len(keys(buckets[0], "labels/")) == 16
            for path in ("", "/labels/1"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(f"{s3.endpoint_url}/{name}{path}")
        finally:
            buckets[0].delete(keys(buckets[0], ""))
            s3.client().remove_bucket(name)

    def test_one_that_is_removed_is_made_again(self, s3: Given) -> None:
        name = f"{s3.name}-again"
        bucket = Bucket(settings_of(s3, s3_bucket=name))
        bucket.ensure()
        s3.client().remove_bucket(name)
        with pytest.raises(BucketUnavailable, match="removed"):
            put(bucket, "labels/a")
        put(bucket, "labels/a")
        bucket.delete(["labels/a"])
        s3.client().remove_bucket(name)

    @pytest.mark.parametrize(
        ("principal", "more", "public"),
        [
            ("*", {}, True),
            ({"AWS": ["*"]}, {}, True),
            ("*", {"Effect": "Deny", "Action": ["s3:DeleteBucket"], "Resource": ["arn:aws:s3:::BUCKET"]}, False),
            ("*", {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}, False),
        ],
    )
    def test_one_that_lets_everybody_in_is_reported(
        self, s3: Given, principal: object, more: dict[str, Any], public: bool
    ) -> None:
        statement = {"Effect": "Allow", "Principal": principal, "Action": ["s3:GetObject"]}
        statement |= {"Resource": ["arn:aws:s3:::BUCKET/*"], **more}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).replace("BUCKET", s3.name)
        s3.client().set_bucket_policy(s3.name, policy)
        with capture_logs() as logs:
            Bucket(settings_of(s3)).ensure()
        s3.client().delete_bucket_policy(s3.name)
        assert [each["log_level"] for each in logs if each["event"] == "bucket.public"] == ["error"] * public
        with capture_logs() as logs:
            Bucket(settings_of(s3)).ensure()
        assert logs == []


class TestLinks:
    def test_they_work_from_outside_by_the_public_address(self, s3: Given, bucket: Bucket) -> None:
        put(bucket, "labels/a.pdf")
        outside = s3.endpoint_url.replace("127.0.0.1", "localhost")
        assert outside != s3.endpoint_url
        public = Bucket(settings_of(s3, s3_public_endpoint_url=outside))
        link = public.presigned_url("labels/a.pdf", expires=60, filename='Étiquette "7"; a=b.pdf')
        assert link.startswith(f"{outside}/{s3.name}/labels/a.pdf?")
        with urllib.request.urlopen(link) as answer:
            assert answer.read() == PDF
            assert answer.headers["Content-Type"] == "application/pdf"
            shown, plain, full = answer.headers["Content-Disposition"].split("; ", 2)
        assert shown == "inline"
        assert plain == 'filename="_tiquette _7_'
        assert full.endswith("filename*=UTF-8''%C3%89tiquette%20%227%22%3B%20a%3Db.pdf")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link.replace("localhost", "127.0.0.1"))

    @pytest.mark.parametrize(
        ("pattern", "other"),
        [
            (r"/a\.pdf", "/b.pdf"),
            (r"Expires=60", "Expires=604800"),
            (r"Signature=[0-9a-f]{4}", "Signature=zzzz"),
            (r"inline", "attachment"),
            (r"\?.*", ""),
        ],
    )
    def test_one_that_was_changed_is_refused(self, bucket: Bucket, pattern: str, other: str) -> None:
        for key in ("labels/a.pdf", "labels/b.pdf"):
            put(bucket, key)
        link = bucket.presigned_url("labels/a.pdf", expires=60)
        changed = re.sub(pattern, other, link)
        assert changed != link
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(changed)

    def test_one_expires(self, bucket: Bucket) -> None:
        put(bucket, "labels/a.pdf")
        link = bucket.presigned_url("labels/a.pdf", expires=1)
        assert urllib.request.urlopen(link).read() == PDF

        def refused() -> bool:
            try:
                urllib.request.urlopen(link).close()
            except urllib.error.HTTPError as error:
                return error.code == 403
            return False

        wait_until(refused, "the link has expired")

    @pytest.mark.parametrize("seconds", [0, -1, 604_801])
    def test_a_link_for_too_long_is_refused(self, bucket: Bucket, seconds: int) -> None:
        with pytest.raises(InvalidArgument, match="604800"):
            bucket.presigned_url("labels/a.pdf", expires=seconds)

    def test_the_server_is_not_asked(self) -> None:
        away = Settings(s3_endpoint_url="http://127.0.0.1:1", s3_access_key=ACCESS, s3_secret_key=SECRET)
        link = Bucket(away).presigned_url("labels/a.pdf", expires=604_800)
        assert "X-Amz-Expires=604800" in link
        assert SECRET not in link


class TestSettings:
    @pytest.mark.parametrize("name", ["s3_endpoint_url", "s3_access_key", "s3_secret_key"])
    def test_one_that_is_missing_is_named(self, name: str) -> None:
        complete = Settings(s3_endpoint_url="http://127.0.0.1:1", s3_access_key=ACCESS, s3_secret_key=SECRET)
        services = Services(complete.model_copy(update={name: None}))
        with pytest.raises(SettingsError, match=f"Set BACKMARKET_{name.upper()}"):
            services.bucket.ensure()

    @pytest.mark.parametrize(
        ("name", "value", "named"),
        [
            ("s3_endpoint_url", "minio:9000", "BACKMARKET_S3_ENDPOINT_URL"),
            ("s3_endpoint_url", f"http://{ACCESS}:{SECRET}@minio:9000", "BACKMARKET_S3_ENDPOINT_URL"),
            ("s3_public_endpoint_url", "https://files.example/path", "BACKMARKET_S3_PUBLIC_ENDPOINT_URL"),
            ("s3_bucket", "No Bucket", "BACKMARKET_S3_BUCKET"),
            ("s3_region", "no region", "BACKMARKET_S3_REGION"),
        ],
    )
    def test_one_that_can_not_be_used_is_named(self, name: str, value: str, named: str) -> None:
        given: dict[str, Any] = {
            "s3_endpoint_url": "http://127.0.0.1:1",
            "s3_access_key": ACCESS,
            "s3_secret_key": SECRET,
        }
        with pytest.raises(SettingsError, match=named) as raised:
            Bucket(Settings(**{**given, name: value}))
        assert SECRET not in str(raised.value)

    @pytest.mark.parametrize("name", ["s3_access_key", "s3_secret_key"])
    def test_keys_that_the_server_does_not_know(self, s3: Given, name: str) -> None:
        bucket = Bucket(settings_of(s3, **{name: SECRET}))
        for act in (lambda: put(bucket, "labels/a"), lambda: bucket.list(""), lambda: read(bucket, "labels/a")):
            with pytest.raises(BucketRefused, match="set BACKMARKET_S3_ACCESS_KEY and BACKMARKET_S3_SECRET_KEY") as it:
                act()
            assert SECRET not in f"{it.value}{it.value!r}{bucket!r}"


@dataclass(frozen=True)
class Wrong:
    """A wrong answer.

    Attributes:
        to: requests with this method, but for lists and policies.
        status: of the answer.
        body: of it.
        kind: its content type.
        length: that it claims to have; None: its own.
    """

    to: str
    status: int
    body: bytes = b""
    kind: str = "application/xml"
    length: int | None = None


class Far:
    """The far side: a server that answers like S3 but for one kind of request.

    Args:
        wrong: the answer to those; None: all are answered well.
    """

    def __init__(self, wrong: Wrong | None = None) -> None:
        self.wrong = wrong
        self.asked = 0
        self.paths: list[str] = []
        self.hosts: list[str] = []
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.scheme = "http"

    @property
    def settings(self) -> Settings:
        url = f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"
        return Settings(s3_endpoint_url=url, s3_access_key=ACCESS, s3_secret_key=SECRET)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        far = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                far.paths.append(self.path)
                far.hosts.append(self.headers["Host"].partition(":")[0])
                lists = self.command == "GET" and "list-type" in self.path
                if far.wrong and self.command == far.wrong.to and not lists and "?policy" not in self.path:
                    far.asked += 1
                    self.send(far.wrong)
                else:
                    self.send(Wrong("", 200, EMPTY_LIST if lists else b""))

            def send(self, reply: Wrong) -> None:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815 - the names they have there

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
                pass

        return Handler


@contextmanager
def serving(far: Far) -> Iterator[Bucket]:
    thread = Thread(target=far.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Bucket(far.settings)
    finally:
        far.server.shutdown()
        far.server.server_close()
        thread.join()


def test_no_key_or_prefix_has_an_empty_part() -> None:
    """MinIO answers 400 to any that has one (`XMinioInvalidObjectName`); the first use listed `labels//`."""
    far = Far()
    with serving(far) as bucket:
        bucket.ensure()
        put(bucket, label_key("auth0|1", "deliveries", 7))
        bucket.list("labels/")
    assert len(far.paths) >= 4
    assert [path for path in far.paths if "//" in urllib.parse.unquote(path)] == []


def test_the_bucket_is_named_in_the_host_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_here(monkeypatch, "s3.test")
    far = Far()
    with serving(far):
        url = far.settings.s3_endpoint_url or ""
        settings = far.settings.model_copy(
            update={"s3_endpoint_url": url.replace("127.0.0.1", "s3.test"), "s3_virtual_host": True}
        )
        with closing(Bucket(settings)) as bucket:
            put(bucket, "labels/a")
            bucket.list("labels/")
            bucket.stat("labels/a")
            link = bucket.presigned_url("labels/a", expires=60)
    assert set(far.hosts) == {"backmarket.s3.test"}
    assert "/labels/a" in far.paths
    assert [path for path in far.paths if path.startswith("/backmarket")] == []
    assert link.startswith("http://backmarket.s3.test:")
    assert "/labels/a?" in link


def xml(code: str) -> bytes:
    words = f"the key {ACCESS}, the string to sign, the signature {SECRET}"
    return f"<Error><Code>{code}</Code><Message>{words}</Message><Key>labels/a</Key></Error>".encode()


def not_deleted(code: str) -> bytes:
    return f"<DeleteResult><Error><Key>labels/a</Key><Code>{code}</Code></Error></DeleteResult>".encode()


def delete(bucket: Bucket, key: str) -> None:
    bucket.delete([key])


class TestFailures:
    @pytest.mark.parametrize(
        ("wrong", "act", "error", "asked"),
        [
            (Wrong("PUT", 503, xml("SlowDown")), put, BucketUnavailable, 1 + RETRIES),
            (Wrong("PUT", 500), put, BucketUnavailable, 1 + RETRIES),
            (Wrong("PUT", 502, b"<html>", "text/html"), put, BucketUnavailable, 1 + RETRIES),
            (Wrong("PUT", 400, b"<html>", "text/html"), put, BucketUnavailable, 1),
            (Wrong("PUT", 400, b"no xml"), put, BucketUnavailable, 1),
            (Wrong("PUT", 400, xml("XAmzContentSHA256Mismatch")), put, BucketUnavailable, 1),
            (Wrong("PUT", 403, xml("AccessDenied")), put, BucketRefused, 1),
            (Wrong("PUT", 403, xml("RequestTimeTooSkewed")), put, BucketRefused, 1),
            (Wrong("PUT", 400, xml("SomethingNew")), put, BucketRefused, 1),
            (Wrong("PUT", 307, xml("TemporaryRedirect")), put, BucketRefused, 1),
            (Wrong("GET", 200, b"half", length=8), read, BucketUnavailable, 1),
            (Wrong("GET", 404, xml("NoSuchKey")), read, ObjectNotFound, 1),
            (Wrong("HEAD", 403), Bucket.stat, BucketRefused, 1),
            (Wrong("HEAD", 503), Bucket.stat, BucketUnavailable, 1 + RETRIES),
            (Wrong("POST", 503, xml("SlowDown")), delete, BucketUnavailable, 1 + RETRIES),
            (Wrong("POST", 200, not_deleted("InternalError")), delete, BucketUnavailable, 1),
            (Wrong("POST", 200, not_deleted("AccessDenied")), delete, NotDeleted, 1),
        ],
    )
    def test_what_the_server_says_decides_what_happens_next(
        self, wrong: Wrong, act: Callable[[Bucket, str], object], error: type[BackMarketError], asked: int
    ) -> None:
        far = Far(wrong)
        with serving(far) as bucket, capture_logs() as logs, pytest.raises(error) as raised:
            act(bucket, "labels/a")
        assert far.asked == asked
        told = "".join([*traceback.format_exception(raised.value), repr(raised.value), repr(logs)])
        assert SECRET not in told
        assert ACCESS not in told

    def test_who_only_looks_whether_the_server_answers_tries_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "HASTY_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            settings = Settings(s3_endpoint_url=url, s3_access_key=ACCESS, s3_secret_key=SECRET)
            with closing(Bucket(settings, hasty=True)) as bucket, pytest.raises(BucketUnavailable, match="ReadTimeout"):
                bucket.exists()
            silent.settimeout(0.1)
            silent.accept()[0].close()
            with pytest.raises(TimeoutError):
                silent.accept()

    def test_a_server_that_is_away_and_comes_back(self) -> None:
        far = Far()
        far.server.server_close()
        bucket = Bucket(far.settings)
        with pytest.raises(BucketUnavailable, match="BACKMARKET_S3_ENDPOINT_URL is unreachable"):
            put(bucket, "labels/a")
        far.server = QuietServer(("127.0.0.1", far.server.server_address[1]), far._handler())
        with serving(far):
            put(bucket, "labels/a")

    def test_a_certificate_is_checked_and_another_authority_can_be_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        far = Far()
        far.scheme = "https"
        made = Authority(tmp_path).sign("127.0.0.1", "localhost")
        far.server.socket = made.serving().wrap_socket(far.server.socket, server_side=True)
        with serving(far) as bucket:
            with pytest.raises(BucketRefused, match="SSL_CERT_FILE"):
                put(bucket, "labels/a")
            monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
            put(Bucket(far.settings), "labels/a")


def test_a_forked_child_opens_its_own_connections(s3: Given) -> None:
    services = Services(settings_of(s3))
    put(services.bucket, "labels/parent")
    mine = services.bucket
    child = os.fork()
    if child == 0:
        code = 1
        try:
            put(services.bucket, "labels/child")
            code = 0 if services.bucket is not mine else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert services.bucket is mine
    assert read(mine, "labels/parent") + read(mine, "labels/child") == PDF * 2
    services.close()
