"""A user who may use one bucket: by that bucket's policy, or as MinIO has it, by `deploy/bucket.py`."""

from __future__ import annotations

import json
import os
import runpy
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import MinioException
from minio.minioadmin import MinioAdmin

from tests.servers.run import CHECKOUT
from tests.servers.s3.place import Place, User

DEPLOY: dict[str, Any] = runpy.run_path(str(CHECKOUT / "deploy" / "bucket.py"))


def http_of(place: Place) -> urllib3.PoolManager:
    """Connections that trust the server's authority."""
    trusted = str(place.authority) if place.authority else None
    return urllib3.PoolManager(timeout=30.0, retries=False, ca_certs=trusted)


def root_of(place: Place) -> Minio:
    """One who may do everything there."""
    url = urlsplit(place.endpoint_url)
    secure = url.scheme == "https"
    keys = (place.access_key, place.secret_key)
    return Minio(url.netloc, *keys, secure=secure, region=place.region, http_client=http_of(place))


def allow_one_bucket(place: Place, user: User) -> None:
    """Make a user's bucket, whose policy allows them what `deploy/bucket.py` does."""
    policy = DEPLOY["policy"](user.bucket)
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": [user.access_key]}
    root = root_of(place)
    root.make_bucket(user.bucket)
    root.set_bucket_policy(user.bucket, json.dumps(policy))


def is_minio(place: Place) -> bool:
    """Whether the server has MinIO's administration, as far as its health can tell."""
    with suppress(urllib3.exceptions.HTTPError), http_of(place) as http:
        return http.request("GET", f"{place.endpoint_url}/minio/health/live").status == 200
    return False


def deploy_bucket(place: Place, user: User, **changes: str) -> str | None:
    """What `deploy/bucket.py` says is wrong, when it makes a bucket and its user on a MinIO."""
    told = {
        "MINIO_ROOT_USER": place.access_key,
        "MINIO_ROOT_PASSWORD": place.secret_key,
        "BACKMARKET_S3_ENDPOINT_URL": place.endpoint_url,
        "BACKMARKET_S3_REGION": place.region,
        "BACKMARKET_S3_ACCESS_KEY": user.access_key,
        "BACKMARKET_S3_SECRET_KEY": user.secret_key,
        "BACKMARKET_S3_BUCKET": user.bucket,
    }
    with _trusted(place):
        wrong: str | None = DEPLOY["main"](told | changes)
    return wrong


@contextmanager
def deployed(place: Place) -> Iterator[User]:
    """A bucket and its user, made by `deploy/bucket.py`; both are gone afterwards."""
    tag = secrets.token_hex(4)
    user = User(f"backmarket-test-{tag}", secrets.token_hex(20), f"backmarket-test-user-{tag}")
    if wrong := deploy_bucket(place, user):
        raise RuntimeError(wrong)
    try:
        yield user
    finally:
        admin = admin_of(place)
        admin.user_remove(user.access_key)
        admin.policy_remove(f"backmarket-{user.bucket}")
        with suppress(MinioException):
            root_of(place).remove_bucket(user.bucket)


def admin_of(place: Place) -> MinioAdmin:
    url = urlsplit(place.endpoint_url)
    root = StaticProvider(place.access_key, place.secret_key)
    secure = url.scheme == "https"
    return MinioAdmin(
        endpoint=url.netloc, credentials=root, region=place.region, secure=secure, http_client=http_of(place)
    )


@contextmanager
def _trusted(place: Place) -> Iterator[None]:
    before = os.environ.get("SSL_CERT_FILE")
    if place.authority:
        os.environ["SSL_CERT_FILE"] = str(place.authority)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SSL_CERT_FILE", None)
        else:
            os.environ["SSL_CERT_FILE"] = before
