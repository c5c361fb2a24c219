"""One label from its address into the bucket. Runs in a thread of its own: no database here."""

from __future__ import annotations

from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast

import structlog

from backmarket.bucket.keys import label_key
from backmarket.client import Credentials, Downloads, Origins
from backmarket.client.origins import own_place, place_of
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS
from backmarket.errors import BackMarketError, Crashed, NetworkError, RequestDelivery
from backmarket.limits import Limiter, Slot, wait_for_slot
from backmarket.observability.logs import error_location

if TYPE_CHECKING:
    from backmarket.bucket import Bucket  # 0.2 s that only some processes need

IN_MEMORY = 1024 * 1024
"""Bytes; a larger label goes through a file without a name, which nothing leaves behind."""

PDF = "application/pdf"
"""What a label is stored as, whatever its host called it: its first bytes were looked at."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A label that is due.

    Attributes:
        resource: `deliveries` or `returns`.
        shipment_id: whose label.
        url: where it is.
        tries: in vain until now.
    """

    resource: str
    shipment_id: int
    url: str = field(repr=False)
    tries: int

    @property
    def key(self) -> tuple[str, int]:
        """Names it within its organization."""
        return self.resource, self.shipment_id


@dataclass(frozen=True, slots=True)
class StoredLabelObject:
    """A label in the bucket.

    Attributes:
        object_key: its name there.
        size: bytes.
        sha256: hexadecimal.
        etag: the store's name for this content.
    """

    object_key: str
    size: int
    sha256: str
    etag: str


@dataclass
class DownloadSlots:
    """The limiter's slots of one download: one before each request to the connection's own origin.

    Args:
        limiter: grants them.
        account: whose limit it is.
        granted: taken already, for the first request.
    """

    limiter: Limiter
    account: str
    granted: Slot | None
    answered: list[Slot] = field(default_factory=list)
    """To be settled."""
    unsent: list[Slot] = field(default_factory=list)
    """To be given back."""
    _last: Slot | None = None

    def next(self) -> None:
        """Another request is sent now; the one before it was answered, and led on.

        Raises:
            RateLimited: if not now.
            LimiterUnavailable: if Redis is unreachable.
        """
        self.end("finished")
        self._last = self.granted or wait_for_slot(self.limiter, self.account, timeout=MAX_LIMITER_WAIT_SECONDS)
        self.granted = None

    def end(self, delivery: RequestDelivery) -> None:
        """What became of the last request; an open one holds its slot until it can't arrive any more."""
        if self._last and delivery != "in_doubt":
            (self.unsent if delivery == "not_sent" else self.answered).append(self._last)
        self._last = None

    def over(self) -> None:
        """There is no further request; the last one was answered, unless something else was said of it."""
        self.end("finished")
        if self.granted:
            self.unsent.append(self.granted)
        self.granted = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A label that is in the bucket, or why it is not."""

    label: Wanted
    stored: StoredLabelObject | None
    error: BackMarketError | None
    slots: DownloadSlots


@dataclass(frozen=True, slots=True)
class LabelUploader:
    """Copies the labels of one organization into the bucket.

    Args:
        organization_id: whose.
        credentials: of the connection.
        downloads: fetches.
        bucket: keeps.
        limiter: says when the connection's own origin may be asked.
        origins: where labels may be.
        max_bytes: maximum size.
    """

    organization_id: str
    credentials: Credentials
    downloads: Downloads
    bucket: Bucket
    limiter: Limiter
    origins: Origins
    max_bytes: int

    def needs_slot(self, label: Wanted) -> bool:
        """Whether the first request for a label goes to the connection's own origin."""
        home = own_place(self.credentials.base_url)
        try:
            return place_of(label.url, home).origin == home.origin
        except ValueError:
            return False

    def upload(self, label: Wanted, slot: Slot | None) -> DownloadResult:
        """Fetch a label and put it into the bucket.

        Args:
            label: which.
            slot: the limiter's, where it needs one.
        """
        slots = DownloadSlots(self.limiter, self.credentials.account, slot)
        stored: StoredLabelObject | None = None
        failed: BackMarketError | None = None
        try:
            stored = self._upload(label, slots)
        except NetworkError as error:
            slots.end(error.delivery)
            failed = error
        except BackMarketError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - one label's fault is its own; the row says so, and it backs off
            log.error("labels.crashed", **error_location(error))
            failed = Crashed(f"A fault of ours, {type(error).__name__}: the worker's log says where.")
        slots.over()
        return DownloadResult(label, stored, failed, slots)

    def _upload(self, label: Wanted, slots: DownloadSlots) -> StoredLabelObject:
        with SpooledTemporaryFile(IN_MEMORY) as spooled:
            file = cast(BinaryIO, spooled)
            got = self.downloads.fetch(
                label.url,
                file,
                origins=self.origins,
                max_bytes=self.max_bytes,
                credentials=self.credentials,
                before=slots.next,
            )
            key = label_key(self.organization_id, label.resource, label.shipment_id)
            etag = self.bucket.put(key, file, size=got.size, content_type=PDF, sha256=got.sha256)
        return StoredLabelObject(key, got.size, got.sha256, etag)
