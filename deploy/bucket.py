"""Make the bucket, and a user who can use it and nothing else: `python deploy/bucket.py`, once, harmless to repeat.

It works with the root keys of MinIO (or its continuation, Silo), which no worker gets. Where the bucket and its user
are made by other means, such as Terraform, this is not needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException
from minio.minioadmin import MinioAdmin

NEEDED = (
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "BACKMARKET_S3_ENDPOINT_URL",
    "BACKMARKET_S3_ACCESS_KEY",
    "BACKMARKET_S3_SECRET_KEY",
)


def main(environment: Mapping[str, str]) -> str | None:
    """Make both.

    Args:
        environment: who is root, where MinIO is, and what the workers are told of bucket and user.

    Returns:
        What is wrong; None: nothing.
    """
    if missing := [name for name in NEEDED if not environment.get(name)]:
        return f"Set {', '.join(missing)}."
    bucket = environment.get("BACKMARKET_S3_BUCKET") or "backmarket"
    try:
        _make_bucket(environment, bucket)
        _make_user(environment, bucket)
    except (MinioException, MinioAdminException, urllib3.exceptions.HTTPError) as error:
        return f"MinIO at {environment['BACKMARKET_S3_ENDPOINT_URL']} did not do it: {_reason(error)}."
    print(f"The bucket {bucket} is there, and its user may read, write and list in it.")
    return None


def policy(bucket: str) -> dict[str, Any]:
    """What the user may do; docs/operations.md says what for."""
    of_bucket = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketPolicy"]
    of_objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    statements = [(of_bucket, f"arn:aws:s3:::{bucket}"), (of_objects, f"arn:aws:s3:::{bucket}/*")]
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": [on]} for actions, on in statements],
    }


def _make_bucket(environment: Mapping[str, str], bucket: str) -> None:
    address, secure, region = _server(environment)
    keys = (environment["MINIO_ROOT_USER"], environment["MINIO_ROOT_PASSWORD"])
    client = Minio(address, *keys, secure=secure, region=region)
    if not client.bucket_exists(bucket):
        client.make_bucket(bucket)


def _make_user(environment: Mapping[str, str], bucket: str) -> None:
    address, secure, region = _server(environment)
    root = StaticProvider(environment["MINIO_ROOT_USER"], environment["MINIO_ROOT_PASSWORD"])
    admin = MinioAdmin(endpoint=address, credentials=root, region=region, secure=secure)
    user = environment["BACKMARKET_S3_ACCESS_KEY"]
    admin.policy_add(bucket, policy=policy(bucket))
    admin.user_add(user, environment["BACKMARKET_S3_SECRET_KEY"])
    admin.policy_set(bucket, user=user)  # sets rather than attaches: attaching twice is an error


def _server(environment: Mapping[str, str]) -> tuple[str, bool, str]:
    url = urlsplit(environment["BACKMARKET_S3_ENDPOINT_URL"])
    return url.netloc, url.scheme == "https", environment.get("BACKMARKET_S3_REGION") or "us-east-1"


def _reason(error: Exception) -> str:
    """The error's code or kind; its text may quote keys."""
    return str(getattr(error, "code", "") or getattr(error, "_code", "") or type(error).__name__)


if __name__ == "__main__":
    sys.exit(main(os.environ))
