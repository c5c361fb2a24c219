"""Copies one label from its address into the bucket. Runs in a thread of its own and uses no database."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast

from backmarket.bucket.keys import label_key
from backmarket.client import Credentials, Origins
from backmarket.client.origins import own_place, place_of
from backmarket.client.rate_limited import MAX_LIMITER_WAIT_SECONDS
from backmarket.errors import BackMarketError, Crashed, NetworkError, RequestDelivery
from backmarket.limits import Limiter, Slot, wait_for_slot
from backmarket.observability.logs import Logger, error_location

if TYPE_CHECKING:
    from backmarket.bucket.client import Bucket
    from backmarket.client.downloads import Downloads

IN_MEMORY = 1024 * 1024
"""Maximum size of a label in memory, in bytes; a larger one goes through an unnamed file, which leaves no trace."""

PDF = "application/pdf"
"""Content type of every stored label, whatever its host sent: its first bytes were checked."""

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A label that is due.

    Attributes:
        resource: `deliveries` or `returns`.
        shipment_id: of the delivery or return.
        url: where it is.
        tries: failed tries so far.
    """

    resource: str
    shipment_id: int
    url: str = field(repr=False)
    tries: int

    @property
    def key(self) -> tuple[str, int]:
        """Identifies it within its organization."""
        return self.resource, self.shipment_id


AtHand = Callable[[Wanted], bytes | None]
"""Returns the PDF of a label that need not be fetched."""


@dataclass(frozen=True, slots=True)
class StoredLabelObject:
    """A label in the bucket.

    Attributes:
        object_key: its name there.
        size: in bytes.
        sha256: hexadecimal.
        etag: the server's identifier of this content.
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
        granted: slot already taken, for the first request.
    """

    limiter: Limiter
    account: str
    granted: Slot | None
    answered: list[Slot] = field(default_factory=list)
    """Slots to report as complete."""
    unsent: list[Slot] = field(default_factory=list)
    """Slots to release."""
    _last: Slot | None = None

    def next(self) -> None:
        """Take a slot for the next request; the one before it was answered with a redirect.

        Raises:
            RateLimited: if no slot comes free in time.
            LimiterUnavailable: if Redis is unreachable.
        """
        self.end("finished")
        self._last = self.granted or wait_for_slot(self.limiter, self.account, timeout=MAX_LIMITER_WAIT_SECONDS)
        self.granted = None

    def end(self, delivery: RequestDelivery) -> None:
        """Note the delivery of the last request; an unanswered one holds its slot until it cannot arrive any more."""
        if self._last and delivery != "in_doubt":
            (self.unsent if delivery == "not_sent" else self.answered).append(self._last)
        self._last = None

    def over(self) -> None:
        """End the download; the last request counts as answered, unless `end` noted otherwise."""
        self.end("finished")
        if self.granted:
            self.unsent.append(self.granted)
        self.granted = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A label in the bucket, or the error."""

    label: Wanted
    stored: StoredLabelObject | None
    error: BackMarketError | None
    slots: DownloadSlots


@dataclass(frozen=True, slots=True)
class LabelUploader:
    """Copies the labels of one organization into the bucket.

    Args:
        credentials: of the connection.
        downloads: fetches them.
        bucket: stores them.
        limiter: for requests to the connection's own origin.
        origins: from which labels may be fetched.
        max_bytes: maximum size.
        at_hand: asked for a label before its host; None: labels are fetched.
    """

    organization_id: str
    credentials: Credentials
    downloads: Downloads
    bucket: Bucket
    limiter: Limiter
    origins: Origins
    max_bytes: int
    at_hand: AtHand | None = None

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
            slot: for the first request, if it needs one.
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
            failed = Crashed.of(error)
        slots.over()
        return DownloadResult(label, stored, failed, slots)

    def _upload(self, label: Wanted, slots: DownloadSlots) -> StoredLabelObject:
        key = label_key(self.organization_id, label.resource, label.shipment_id)
        if self.at_hand is not None and (content := self.at_hand(label)) is not None:
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
            etag = self.bucket.put(key, io.BytesIO(content), size=size, content_type=PDF, sha256=sha256)
            return StoredLabelObject(key, size, sha256, etag)
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
            etag = self.bucket.put(key, file, size=got.size, content_type=PDF, sha256=got.sha256)
        return StoredLabelObject(key, got.size, got.sha256, etag)
