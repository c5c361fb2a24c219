"""An S3 server that runs, and how tests are told of it: the variables `TEST_S3_*`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

DOMAIN = "s3.test"
"""Under which the servers that are started here know a bucket's host: `bucket.s3.test`."""


@dataclass(frozen=True)
class User:
    """Keys that may use one bucket, which is there, and do nothing else."""

    access_key: str
    secret_key: str
    bucket: str


@dataclass(frozen=True)
class Place:
    """A server that runs.

    Attributes:
        access_key: of one who may do everything.
        domain: under which a bucket has a host of its own; empty: unknown.
        user: None: unknown.
        authority: that a client has to trust; None: the system's.
        title: for the table, with `version`; empty: unknown.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    domain: str = ""
    user: User | None = None
    authority: Path | None = None
    title: str = ""
    version: str = ""

    def with_user(self, user: User) -> Place:
        """The same, with a user who is known."""
        return replace(self, user=user)

    def environment(self) -> dict[str, str]:
        """What tells tests of it."""
        told = {
            "TEST_S3_ENDPOINT_URL": self.endpoint_url,
            "TEST_S3_ACCESS_KEY": self.access_key,
            "TEST_S3_SECRET_KEY": self.secret_key,
            "TEST_S3_REGION": self.region,
            "TEST_S3_DOMAIN": self.domain,
        }
        if self.user:
            told["TEST_S3_USER_ACCESS_KEY"] = self.user.access_key
            told["TEST_S3_USER_SECRET_KEY"] = self.user.secret_key
            told["TEST_S3_USER_BUCKET"] = self.user.bucket
        if self.authority:
            told["TEST_S3_AUTHORITY"] = told["SSL_CERT_FILE"] = str(self.authority)
        return told


def named_by(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The server that `TEST_S3_*` names."""
    if not environment.get("TEST_S3_ENDPOINT_URL"):
        return None
    user = None
    if environment.get("TEST_S3_USER_ACCESS_KEY"):
        user = User(
            environment["TEST_S3_USER_ACCESS_KEY"],
            environment["TEST_S3_USER_SECRET_KEY"],
            environment["TEST_S3_USER_BUCKET"],
        )
    return Place(
        environment["TEST_S3_ENDPOINT_URL"],
        environment["TEST_S3_ACCESS_KEY"],
        environment["TEST_S3_SECRET_KEY"],
        environment.get("TEST_S3_REGION") or "us-east-1",
        environment.get("TEST_S3_DOMAIN", ""),
        user,
        Path(environment["TEST_S3_AUTHORITY"]) if environment.get("TEST_S3_AUTHORITY") else None,
        *environment.get("TEST_S3_SERVER", "").split(" ", 1),
    )
