"""The bucket: whether it exists and is private, and an object can be put, read and deleted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO

from backmarket.bucket.client import Bucket
from backmarket.doctor.finding import Finding, fault, ok, skipped, warning
from backmarket.doctor.variables import OF_BUCKET
from backmarket.errors import BackMarketError, BucketUnavailable
from backmarket.services import Services


def bucket(services: Services) -> Iterator[Finding]:
    """The S3 server and its bucket."""
    given = [bool(getattr(services.settings, name)) for name in OF_BUCKET]
    if not any(given):
        yield ok(
            "bucket",
            "There is no S3 server, which is optional: labels wait, and bulk files and invoices are refused.",
        )
        return
    if not all(given):
        yield skipped("bucket", "The settings BACKMARKET_S3_* are not complete.")
        return
    try:
        found = Bucket(services.settings, hasty=True)
    except BackMarketError as error:
        yield fault("bucket", error.message, "Correct BACKMARKET_S3_*.")
        return
    with closing(found):
        yield from _of_bucket(found)


def _of_bucket(found: Bucket) -> Iterator[Finding]:
    try:
        if not found.exists():
            yield warning(
                "bucket",
                f"There is no bucket {found.name!r} yet.",
                "It is created at the first use if the keys may; else create it, private, with access for them.",
            )
            return
    except BucketUnavailable as error:
        yield fault(
            "bucket", error.message, "Is the S3 server running, and does BACKMARKET_S3_ENDPOINT_URL lead to it?"
        )
        return
    except BackMarketError as error:
        yield fault("bucket", error.message, "Correct BACKMARKET_S3_*, or the rights of its keys.")
        return
    yield ok("bucket", f"The bucket {found.name!r} exists.")
    yield from _private(found)
    yield _forgetful(found)
    yield _writable(found)


def _private(found: Bucket) -> Iterator[Finding]:
    match found.is_public():
        case True:
            yield fault(
                "bucket privacy",
                "The bucket's policy lets everyone in, and labels carry names and addresses.",
                "Remove that statement from its policy; links that are signed work without it.",
            )
        case False:
            yield ok("bucket privacy", "No policy lets everyone in.")
        case None:
            yield skipped("bucket privacy", "The keys may not see the bucket's policy (s3:GetBucketPolicy).")


def _forgetful(found: Bucket) -> Finding:
    """Whether what is erased is gone."""
    try:
        locked, versioned = found.has_object_lock(), found.keeps_versions()
    except BackMarketError as error:
        return skipped("bucket erasure", error.message)
    if locked:
        return warning(
            "bucket erasure",
            "The bucket has object lock: erased labels and invoices stay in it until their retention ends.",
            "Set BACKMARKET_S3_BUCKET to a bucket without object lock; it cannot be switched off.",
        )
    if versioned:
        return warning(
            "bucket erasure",
            "The bucket keeps old versions: erased labels and invoices can still be read.",
            "Suspend versioning and delete the old versions, or let a lifecycle rule end them within your retention.",
        )
    if locked is None or versioned is None:
        needed = "s3:GetBucketVersioning, s3:GetBucketObjectLockConfiguration"
        return skipped("bucket erasure", f"The keys may not see whether it keeps versions ({needed}).")
    return ok("bucket erasure", "It keeps no old versions, and has no object lock: what is erased is gone.")


def _writable(found: Bucket) -> Finding:
    key, body = f"doctor/{secrets.token_hex(8)}", b"backmarket doctor"
    try:
        sha256 = hashlib.sha256(body).hexdigest()
        found.put(key, BytesIO(body), size=len(body), content_type="text/plain", sha256=sha256)
        with found.get(key) as content:
            same = b"".join(content.chunks) == body
        found.delete([key])
    except BackMarketError as error:
        return fault("bucket access", error.message, "The keys need s3:ListBucket, and Get, Put and Delete of objects.")
    if not same:
        return fault(
            "bucket access",
            "An object was read back with other content.",
            "Check the S3 server and any proxy in front of it.",
        )
    return ok("bucket access", "An object was put, read and deleted.")
