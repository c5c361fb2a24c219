"""Every way to the bucket and every kind of bucket, on the server that `TEST_S3_*` names."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, GOVERNANCE
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import VersioningConfig

from backmarket.bucket.client import Bucket
from backmarket.bucket.keys import label_key
from backmarket.errors import BucketRefused
from backmarket.settings import Settings
from tests.servers.s3.place import Place, User, named_by
from tests.servers.s3.restricted import admin_of, deploy_bucket, deployed, is_minio, root_of
from tests.support.names import resolve_here
from tests.support.waiting import PATIENCE_SECONDS

PDF = b"%PDF-1.7 a label"
LARGE = 3 * 2**20
FILENAME = 'Étiquette "7".pdf'


@pytest.fixture(scope="module")
def place() -> Place:
    found = named_by()
    assert found, "TEST_S3_ENDPOINT_URL is not set"
    return found


@pytest.fixture(scope="module")
def root(place: Place) -> Minio:
    return root_of(place)


@pytest.fixture(scope="module")
def user(place: Place) -> Iterator[User]:
    if place.user:
        yield place.user
    elif is_minio(place):
        with deployed(place) as made:
            yield made
    else:
        pytest.skip("no restricted user (TEST_S3_USER_*)")


@pytest.fixture(autouse=True)
def _dates_of_nine_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """VersityGW lists versions with nanoseconds, which minio-py does not read; the product lists none."""
    monkeypatch.setattr("minio.datatypes.from_iso8601utc", lambda text: text and datetime.fromisoformat(text))


@pytest.fixture
def name(root: Minio, _dates_of_nine_digits: None) -> Iterator[str]:
    """The name of a bucket that is emptied and removed afterwards, with all versions and locks."""
    name = f"backmarket-test-{secrets.token_hex(6)}"
    yield name
    with suppress(S3Error):
        found = list(root.list_objects(name, recursive=True, include_version=True))
        doomed = [DeleteObject(str(each.object_name), each.version_id) for each in found]
        assert list(root.remove_objects(name, doomed, bypass_governance_mode=True)) == []
        root.remove_bucket(name)


def settings_of(place: Place, bucket: str, user: User | None = None, **changes: Any) -> Settings:
    keys = user or place
    told = {"s3_endpoint_url": place.endpoint_url, "s3_region": place.region, "s3_bucket": bucket}
    told |= {"s3_access_key": keys.access_key, "s3_secret_key": keys.secret_key}
    return Settings(**told | changes)


def put(bucket: Bucket, key: str, content: bytes = PDF) -> None:
    digest = hashlib.sha256(content).hexdigest()
    bucket.put(key, io.BytesIO(content), size=len(content), content_type="application/pdf", sha256=digest)


def work(bucket: Bucket) -> None:
    """Whatever the product does with a bucket; nothing is left that a list shows."""
    bucket.ensure()
    assert bucket.exists()
    small, large = (label_key("auth0|é/..", "deliveries", number) for number in (1, 2))
    put(bucket, small)
    put(bucket, large, bytes(LARGE))
    found = bucket.stat(large)
    assert (found.size, found.sha256) == (LARGE, hashlib.sha256(bytes(LARGE)).hexdigest())
    assert found.content_type == "application/pdf"
    with bucket.get(large, offset=1, length=3) as piece:
        assert b"".join(piece.chunks) == bytes(3)
    put(bucket, small, PDF * 2)
    with bucket.get(small) as content:
        assert b"".join(content.chunks) == PDF * 2
    with urllib.request.urlopen(bucket.presigned_url(small, expires=60, filename=FILENAME)) as answer:
        assert answer.read() == PDF * 2
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Disposition"].startswith('inline; filename="')
        assert "filename*=UTF-8''%C3%89tiquette%20%227%22.pdf" in answer.headers["Content-Disposition"]
    assert [each.key for each in bucket.list("labels/")] == [small, large]
    time = bucket.server_time()
    assert time
    assert abs((time - datetime.now(UTC)).total_seconds()) < PATIENCE_SECONDS
    bucket.delete([small, large, "labels/none"])
    assert bucket.list("labels/") == []
    assert not bucket.is_public()


def test_a_bucket_is_made_and_all_work_is_done_in_it(place: Place, name: str) -> None:
    with closing(Bucket(settings_of(place, name))) as bucket:
        assert not bucket.exists()
        work(bucket)
        assert not bucket.keeps_versions()
        assert not bucket.has_object_lock()


def test_2500_objects_are_listed_page_by_page_and_deleted(place: Place, name: str) -> None:
    with closing(Bucket(settings_of(place, name))) as bucket, ThreadPoolExecutor(8) as pool:
        keys = sorted(label_key("shop", "deliveries", number) for number in range(2500))
        list(pool.map(lambda key: put(bucket, key), keys))
        seen: list[str] = []
        while page := [each.key for each in bucket.list("labels/shop/", after=seen[-1] if seen else "")]:
            seen += page
        assert seen == keys
        bucket.delete(keys)
        assert bucket.list("") == []


class TestUsers:
    def test_one_who_may_use_a_bucket_alone_can_do_all_work_in_it(self, place: Place, user: User) -> None:
        with closing(Bucket(settings_of(place, user.bucket, user))) as bucket:
            work(bucket)
            assert not bucket.keeps_versions()
            assert not bucket.has_object_lock()

    def test_they_are_refused_in_another_bucket_with_a_reason(
        self, place: Place, user: User, root: Minio, name: str
    ) -> None:
        with closing(Bucket(settings_of(place, name, user))) as bucket:
            with pytest.raises(BucketRefused, match="BACKMARKET_S3_ACCESS_KEY"):
                put(bucket, "labels/a")
            assert not root.bucket_exists(name)
            root.make_bucket(name)
            for act in (bucket.ensure, bucket.exists, lambda: bucket.list(""), lambda: put(bucket, "labels/a")):
                with pytest.raises(BucketRefused, match="BACKMARKET_S3_ACCESS_KEY"):
                    act()

    def test_their_link_can_do_no_more_than_they(self, place: Place, user: User, root: Minio, name: str) -> None:
        root.make_bucket(name)
        root.put_object(name, "labels/a", io.BytesIO(PDF), len(PDF))
        link = Bucket(settings_of(place, name, user)).presigned_url("labels/a", expires=60)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link)


class TestKindsOfBucket:
    def test_one_with_versions_works_and_is_told_of(self, place: Place, root: Minio, name: str) -> None:
        root.make_bucket(name)
        try:
            root.set_bucket_versioning(name, VersioningConfig(ENABLED))
        except S3Error as error:
            pytest.skip(f"no versions ({error.code})")
        with closing(Bucket(settings_of(place, name))) as bucket:
            work(bucket)
            assert bucket.keeps_versions()
        kept = list(root.list_objects(name, recursive=True, include_version=True))
        assert len(kept) >= 5, "three contents and two marks of deletion"

    def test_one_with_object_lock_works_and_is_told_of(self, place: Place, root: Minio, name: str) -> None:
        try:
            root.make_bucket(name, object_lock=True)
            root.set_object_lock_config(name, ObjectLockConfig(GOVERNANCE, 1, DAYS))
        except S3Error as error:
            pytest.skip(f"no object lock ({error.code})")
        with closing(Bucket(settings_of(place, name))) as bucket:
            work(bucket)
            assert bucket.has_object_lock()
        (kept, *_) = root.list_objects(name, recursive=True, include_version=True)
        assert kept.object_name


class TestWays:
    def test_a_wrong_region_is_named_where_the_server_looks_at_it(self, place: Place, name: str) -> None:
        with closing(Bucket(settings_of(place, name, s3_region="eu-nowhere-9"))) as bucket:
            try:
                put(bucket, "labels/a")
            except BucketRefused as error:
                assert "BACKMARKET_S3_REGION" in error.message  # noqa: PT017 - some servers take any region
            else:
                with urllib.request.urlopen(bucket.presigned_url("labels/a", expires=60)) as answer:
                    assert answer.read() == PDF

    def test_the_bucket_may_be_named_in_the_host(
        self, place: Place, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not place.domain:
            pytest.skip("no domain of buckets (TEST_S3_DOMAIN)")
        resolve_here(monkeypatch, place.domain)
        url = urlsplit(place.endpoint_url)
        endpoint = url._replace(netloc=f"{place.domain}:{url.port}").geturl()
        with closing(Bucket(settings_of(place, name, s3_endpoint_url=endpoint, s3_virtual_host=True))) as bucket:
            work(bucket)
            assert bucket.presigned_url("labels/a", expires=60).startswith(f"{url.scheme}://{name}.{place.domain}:")

    def test_an_unknown_authority_is_refused_with_a_reason(
        self, place: Place, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not place.authority:
            pytest.skip("no private CA on this way")
        monkeypatch.delenv("SSL_CERT_FILE")
        with closing(Bucket(settings_of(place, name))) as bucket, pytest.raises(BucketRefused, match="SSL_CERT_FILE"):
            bucket.ensure()


class TestDeployBucket:
    """`deploy/bucket.py` on a server that has MinIO's administration."""

    @pytest.fixture(autouse=True)
    def _on_minio(self, place: Place) -> None:
        if not is_minio(place):
            pytest.skip("no administration like MinIO's")

    def test_it_may_run_again_and_takes_a_new_secret(self, place: Place) -> None:
        with deployed(place) as user:
            assert deploy_bucket(place, user) is None
            changed = User(user.access_key, "another-secret-of-theirs", user.bucket)
            assert deploy_bucket(place, changed) is None
            with closing(Bucket(settings_of(place, user.bucket, changed))) as bucket:
                work(bucket)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"BACKMARKET_S3_SECRET_KEY": "short"}, "8 characters"),
            ({"BACKMARKET_S3_ACCESS_KEY": "ab"}, "3 characters"),
            ({"MINIO_ROOT_PASSWORD": "wrong-password"}, "MINIO_ROOT_PASSWORD"),
            ({"MINIO_ROOT_USER": "nobody-known"}, "MINIO_ROOT_USER"),
            ({"BACKMARKET_S3_REGION": "eu-nowhere-9"}, "BACKMARKET_S3_REGION"),
            ({"BACKMARKET_S3_BUCKET": "No_Bucket"}, "BACKMARKET_S3_BUCKET|invalid"),
        ],
    )
    def test_what_is_wrong_is_said(self, place: Place, changes: dict[str, str], said: str) -> None:
        user = User("backmarket-test-none", "a-secret-of-theirs", "backmarket-test-none")
        wrong = deploy_bucket(place, user, **changes)
        root = root_of(place)
        with suppress(MinioException):
            root.remove_bucket(user.bucket)
        assert wrong
        assert any(each in wrong for each in said.split("|")), wrong

    def test_minio_s_own_policy_of_the_bucket_s_name_stays(self, place: Place) -> None:
        admin = admin_of(place)
        before = json.loads(admin.policy_info("readonly"))
        user = User("backmarket-test-ro", "a-secret-of-theirs", "readonly")
        assert deploy_bucket(place, user) is None
        assert json.loads(admin.policy_info("readonly")) == before
        admin.user_remove(user.access_key)
        admin.policy_remove("backmarket-readonly")
        root_of(place).remove_bucket("readonly")
