"""The client of the S3 server. Failures are raised as our own errors, which name the setting to look at."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit, urlunsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow

from backmarket.bucket.errors import BucketGone, StrangeAnswer, error_for, refusals_told
from backmarket.bucket.keys import LABELS
from backmarket.bucket.objects import NEVER_OLD, SHA256, Content, StoredObject, described, etag_of
from backmarket.errors import InvalidArgument, NotDeleted, SettingsError
from backmarket.messages.urls import origin_of
from backmarket.observability.logs import Logger
from backmarket.settings import Settings

PAGE = 1000
"""Objects per list answer, and per delete request: S3's maximum."""

MAX_LINK_SECONDS = 7 * 86400
"""Maximum lifetime of a signed link, by S3's rule."""

CHUNK = 256 * 1024
"""Bytes read or sent at a time."""

CONNECTIONS = 64
"""Idle connections that a process keeps open: one for each thread that may use the bucket."""

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""Seconds without a single byte, after which a request fails."""

RETRIES = 2
"""Retries after the first try; every request here can be repeated."""

HASTY_SECONDS = 5.0
"""The same for a caller that only checks whether the server answers; it does not retry."""

_NO_KEYS = f"{LABELS}%/"
"""A prefix that no key of ours has: each part is percent-encoded, so no key has a lone `%`.

No empty part (`labels//`): MinIO answers 400 `XMinioInvalidObjectName` to a prefix that has one.
"""

_VERSIONED = {"Enabled", "Suspended"}
"""States of versioning in which old versions may exist."""

_NO_LOCK = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}
_NOT_SAID = {"AccessDenied", "NotImplemented", "MethodNotAllowed"}

_NO_OBJECT = "clock"
"""A key that no object has."""

_DATE_ROUNDING = timedelta(seconds=1)
"""The header `Date` leaves out fractions of a second."""

_MADE_MEANWHILE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "OperationAborted"}

log = Logger(__name__)


class Bucket:
    """The bucket of the settings, created at the first use if it is missing. Safe to share between threads.

    Open it after a fork, never before.

    Args:
        settings: `s3_*`.
        hasty: only check whether the server answers: one try, a few seconds.

    Raises:
        SettingsError: if one of them is missing or invalid.
    """

    def __init__(self, settings: Settings, *, hasty: bool = False) -> None:
        self.name = settings.s3_bucket
        self._region = settings.s3_region
        self._virtual_host = settings.s3_virtual_host
        self._keys = Credentials(settings.need("s3_access_key"), settings.need("s3_secret_key"))
        endpoint = _origin("S3_ENDPOINT_URL", settings.need("s3_endpoint_url"))
        public = _origin("S3_PUBLIC_ENDPOINT_URL", settings.s3_public_endpoint_url or endpoint)
        patience = (HASTY_SECONDS, 0) if hasty else (READ_SECONDS, RETRIES)
        self._http = _http(*patience, secure=endpoint.startswith("https:"))
        self._client = self._client_of(endpoint)
        self._signer = self._client_of(public)
        self._ensured = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._http.clear()

    def ensure(self) -> None:
        """Create the bucket if it is missing, private to our keys; checks only at the first use in a process.

        A public bucket is used all the same; an error in the log says what to do.

        Raises:
            BucketUnavailable: if the server cannot be reached.
            BucketRefused: if the keys may not use this bucket, or not create it.
        """
        with self._lock:
            if self._ensured:
                return
            with self._translate_errors():
                if self._exists():
                    self._warn_if_public()
                else:
                    self._make()
            self._ensured = True

    def exists(self) -> bool:
        """Whether the bucket exists; does not create it.

        Raises:
            BucketUnavailable: if the server cannot be reached.
            BucketRefused: if the keys may not use this bucket.
        """
        with self._translate_errors():
            return self._exists()

    def is_public(self) -> bool | None:
        """Whether its policy allows public access; None: the keys may not read the policy.

        Raises:
            BucketUnavailable: if the server cannot be reached.
        """
        with self._translate_errors():
            try:
                policy = json.loads(self._client.get_bucket_policy(self.name))
            except S3Error as error:
                return None if error.code == "AccessDenied" else False
            except ValueError:
                return None
            return any(_for_everybody(statement) for statement in policy.get("Statement", []))

    def keeps_versions(self) -> bool | None:
        """Whether it may keep deleted and replaced objects as old versions; None: the server does not say.

        Raises:
            BucketUnavailable: if the server cannot be reached.
        """
        with self._translate_errors():
            try:
                return self._client.get_bucket_versioning(self.name).status in _VERSIONED
            except S3Error as error:
                if error.code in _NOT_SAID:
                    return None
                raise

    def has_object_lock(self) -> bool | None:
        """Whether objects may be locked against deletion; None: the server does not say.

        Raises:
            BucketUnavailable: if the server cannot be reached.
        """
        with self._translate_errors():
            try:
                self._client.get_object_lock_config(self.name)
            except S3Error as error:
                if error.code in _NO_LOCK:
                    return False
                if error.code in _NOT_SAID:
                    return None
                raise
            return True

    def put(self, key: str, file: BinaryIO, *, size: int, content_type: str, sha256: str) -> str:
        """Store a file under a key, in one request; a stored object is replaced once all of it has arrived.

        The request is signed with the hash, against which most servers check the bytes (SeaweedFS does not). Memory
        holds one chunk of them.

        Args:
            key: see `object_key`.
            file: seekable; all of it is stored.
            size: in bytes, at most 5 GiB.
            content_type: such as `application/pdf`.
            sha256: of its bytes, hexadecimal; kept with it.

        Returns:
            The server's identifier of this content (ETag).

        Raises:
            InvalidArgument: if the file has another size.
            BucketUnavailable: if the server cannot be reached, or received other bytes than were sent.
            BucketRefused: if the keys may not store here.
        """
        if file.seek(0, 2) != size:
            raise InvalidArgument("The file's size differs from the given size.")
        self.ensure()
        with self._translate_errors(key):
            file.seek(0)
            url = urlsplit(self._client.get_presigned_url("PUT", self.name, key))._replace(query="")
            date = utcnow()
            headers = sign_v4_s3(
                method="PUT",
                url=url,
                region=self._region,
                headers={
                    "Host": url.netloc,
                    "Content-Type": content_type,
                    "Content-Length": str(size),
                    "x-amz-content-sha256": sha256,
                    "x-amz-date": to_amz_date(date),
                    SHA256: sha256,
                },
                credentials=self._keys,
                content_sha256=sha256,
                date=date,
            )
            response = self._http.urlopen("PUT", urlunsplit(url), body=file, headers=headers)
            if response.status != 200:
                raise S3Error.fromxml(response) if response.data else StrangeAnswer(response.status)
            return etag_of(response.headers)

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int = 0) -> Iterator[Content]:
        """Read an object, or a piece of it, chunk by chunk, within the `with` block.

        Args:
            key: of the object.
            offset: bytes before the first that is read.
            length: bytes to read; 0: to the end.

        Raises:
            ObjectNotFound: if there is no such object.
            BucketUnavailable: if the server cannot be reached, or cut its answer.
            BucketRefused: if the keys may not read here.
        """
        self.ensure()
        with self._translate_errors(key):
            response: Any = self._client.get_object(self.name, key, offset=offset, length=length)
        with closing(response):
            yield Content(described(key, response.headers), self._chunks(key, response))

    def stat(self, key: str) -> StoredObject:
        """Metadata of an object.

        Raises:
            ObjectNotFound: if there is no such object.
            BucketUnavailable: if the server cannot be reached.
            BucketRefused: if the keys may not read here.
        """
        self.ensure()
        with self._translate_errors(key):
            found = self._client.stat_object(self.name, key)
            return described(key, found.metadata)

    def list(self, prefix: str, *, after: str = "", limit: int = PAGE) -> list[StoredObject]:
        """The next objects whose keys begin with a prefix; fewer than the limit: the list has ended.

        In the server's order. Within one directory (keys that have all up to the last slash in common) that is the
        byte order with every server; SeaweedFS has `a/1` before `a-b/1`, which is not.

        Args:
            prefix: such as `labels/`.
            after: the last key of the page before; it may have been deleted.
            limit: at most 1,000.

        Raises:
            BucketUnavailable: if the server cannot be reached.
            BucketRefused: if the keys may not list here.
        """
        self.ensure()
        with self._translate_errors():
            objects = self._client.list_objects(self.name, prefix, recursive=True, start_after=after or None)
            return [
                StoredObject(
                    str(each.object_name),
                    each.size or 0,
                    (each.etag or "").strip('"'),
                    each.last_modified or NEVER_OLD,
                )
                for each in islice(objects, min(limit, PAGE))
            ]

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, 1,000 per request; a missing one is no error.

        Raises:
            NotDeleted: if the server kept some of them; the others are deleted.
            BucketUnavailable: if the server cannot be reached.
            BucketRefused: if the keys may not delete here.
        """
        self.ensure()
        with self._translate_errors():
            errors = self._client.remove_objects(self.name, [DeleteObject(key) for key in keys])
            kept = {error.name or "": error.code for error in errors if error.code != "NoSuchKey"}
        if kept:
            code = next(iter(kept.values()))
            reason = error_for(self.name, None, code or "", 500).message
            raise NotDeleted(f"{len(kept)} of {len(keys)} objects were not deleted. {reason}", kept)

    def server_time(self) -> datetime | None:
        """The latest time that the server's clock may show, for comparison with `StoredObject.modified`.

        None: the server does not say. It says so in any answer, also in a refusal.

        Raises:
            BucketUnavailable: if the server cannot be reached.
        """
        with self._translate_errors():
            url = self._client.get_presigned_url("HEAD", self.name, _NO_OBJECT)
            headers = self._http.request("HEAD", url).headers
        return parsedate_to_datetime(headers["date"]) + _DATE_ROUNDING if "date" in headers else None

    def presigned_url(
        self, key: str, *, expires: int, filename: str | None = None, content_type: str | None = "application/pdf"
    ) -> str:
        """A link by which anyone can read an object until it expires; made without a request to the server.

        It leads to `S3_PUBLIC_ENDPOINT_URL` if that is set: a link is valid only for the host that it was signed for.

        Args:
            key: of the object; not checked to exist.
            expires: seconds from now, 1 to 604,800 (7 days).
            filename: name under which a browser saves it; None: the key's last part.
            content_type: sent to the browser, so that it shows the file; None: as it was stored.

        Raises:
            InvalidArgument: if `expires` is out of range.
        """
        if not 1 <= expires <= MAX_LINK_SECONDS:
            raise InvalidArgument(f"A link is valid for 1 to {MAX_LINK_SECONDS} seconds (7 days), not for {expires}.")
        told = {"response-content-disposition": _disposition(filename or key.rpartition("/")[2])}
        if content_type:
            told["response-content-type"] = content_type
        return str(
            self._signer.get_presigned_url(
                "GET", self.name, key, expires=timedelta(seconds=expires), response_headers=dict(told)
            )
        )

    def _client_of(self, origin: str) -> Minio:
        parts = urlsplit(origin)
        try:
            client = Minio(
                parts.netloc,
                self._keys.access_key,
                self._keys.secret_key,
                secure=parts.scheme == "https",
                region=self._region,
                http_client=self._http,
            )
            if self._virtual_host:
                client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
            client.get_presigned_url("GET", self.name, "key")  # signs, without a request: it checks the bucket's name
        except ValueError:
            raise SettingsError(
                "These settings cannot be used together: BACKMARKET_S3_BUCKET (3 to 63 lower-case letters, digits and"
                " hyphens), BACKMARKET_S3_REGION (such as us-east-1) and the URL of the S3 server."
            ) from None
        return client

    def _exists(self) -> bool:
        """Request a list that is empty: unlike the answer to HEAD, its refusal says why."""
        try:
            any(self._client.list_objects(self.name, _NO_KEYS))
        except S3Error as error:
            if error.code == "NoSuchBucket":
                return False
            raise
        return True

    def _make(self) -> None:
        """Create the bucket; another process may do so at the same moment.

        The other gets an error, or a success, too: from AWS in us-east-1 always, from SeaweedFS
        where both requests are in flight at once. Both are harmless.
        """
        try:
            self._client.make_bucket(self.name)
        except S3Error as error:
            if error.code not in _MADE_MEANWHILE or not self._exists():
                raise
        else:
            log.info("bucket.made", bucket=self.name)

    def _warn_if_public(self) -> None:
        if self.is_public():
            log.error(
                "bucket.public",
                bucket=self.name,
                advice="Its policy lets everyone in, and labels carry names and addresses. Remove that statement, or"
                " set BACKMARKET_S3_BUCKET to a bucket of its own.",
            )

    def _chunks(self, key: str, response: Any) -> Iterator[bytes]:
        with self._translate_errors(key):
            chunks = response.stream(CHUNK)
        while True:
            with self._translate_errors(key):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    @contextmanager
    def _translate_errors(self, key: str | None = None) -> Iterator[None]:
        """Raise what minio-py and urllib3 raise as our own errors."""
        try:
            with refusals_told(self.name, key):
                yield
        except BucketGone:
            self._ensured = False
            raise


def _http(read_seconds: float, retries: int, *, secure: bool) -> urllib3.PoolManager:
    """Connections for all threads of a process; the system's certificates are trusted, or those of `SSL_CERT_FILE`."""
    retry = urllib3.Retry(
        total=retries,
        redirect=False,  # a signature holds for one host
        backoff_factor=0.2,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,  # any
        raise_on_status=False,
    )
    trust: dict[str, Any] = {"ssl_context": ssl.create_default_context()} if secure else {}
    return urllib3.PoolManager(
        maxsize=CONNECTIONS,
        retries=retry,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
        blocksize=CHUNK,
        **trust,
    )


def _origin(name: str, url: str) -> str:
    try:
        return origin_of(url)
    except ValueError as error:
        raise SettingsError(f"BACKMARKET_{name} cannot be used: {error}") from None


def _disposition(filename: str) -> str:
    """The header to show a file in the browser and save it under a name: in ASCII, and in full (RFC 6266)."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\/%' else "_" for each in filename)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _for_everybody(statement: dict[str, Any]) -> bool:
    """Whether a statement of a policy allows public access without any condition."""
    principal = statement.get("Principal")
    named = principal.get("AWS", []) if isinstance(principal, dict) else principal
    anybody = "*" in (named if isinstance(named, list) else [named])
    return statement.get("Effect") == "Allow" and anybody and not statement.get("Condition")
