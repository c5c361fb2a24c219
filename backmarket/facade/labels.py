"""Shipping labels: which there are, links to them, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from backmarket.facade.part import FacadePart
from backmarket.labels import queries, requests
from backmarket.labels.queries import Label, LabelState
from backmarket.queries.pagination import Page

if TYPE_CHECKING:
    from backmarket.upkeep.bucket_sweep import Swept


class Labels(FacadePart):
    """What `BackMarket` does with labels."""

    def get_labels(
        self,
        organization_id: str,
        *,
        resource: str | None = None,
        state: LabelState | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Label]:
        """The labels of deliveries and returns that are known, whether they are in the bucket or not.

        Args:
            organization_id: whose.
            resource: of `deliveries` or of `returns` only.
            state: of this state only: `wanted`, `skipped`, `stored` or `unavailable`.
            limit: 1 to 1000.
            cursor: of the page before.

        Raises:
            InvalidArgument: an argument that can't be.
        """
        return queries.get_labels(
            self._services.database, organization_id, resource=resource, state=state, limit=limit, cursor=cursor
        )

    def get_label(self, organization_id: str, resource: str, shipment_id: int) -> Label | None:
        """The label of one delivery or return; None: none is known.

        Args:
            organization_id: whose.
            resource: `deliveries` or `returns`.
            shipment_id: of which of them.

        Raises:
            InvalidArgument: there is no such resource.
        """
        return queries.get_label(self._services.database, organization_id, resource, shipment_id)

    def get_label_url(self, organization_id: str, shipment_id: int, *, expires: int = 3600) -> str:
        """A link by which anybody can read a delivery's label until it expires; nobody is asked for it.

        It leads to `BACKMARKET_S3_PUBLIC_ENDPOINT_URL`, where that is set.

        Args:
            organization_id: whose.
            shipment_id: of which delivery.
            expires: seconds from now, 1 to 604,800 (7 days).

        Raises:
            LabelNotStored: it is not in the bucket yet; the text says when it is tried, and why it is not there.
            LabelUnavailable: it was given up; the text says why.
            LabelNotFound: no label of this delivery is known.
            InvalidArgument: a link can't count for so long.
            SettingsError: there is no bucket in the settings.
        """
        return requests.link(self._services, organization_id, "deliveries", shipment_id, expires)

    def get_return_label_url(self, organization_id: str, shipment_id: int, *, expires: int = 3600) -> str:
        """A link to a return's label; see `get_label_url`."""
        return requests.link(self._services, organization_id, "returns", shipment_id, expires)

    def download_label(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        to: Path | BinaryIO | None = None,
        timeout: float = 30.0,
    ) -> Label:
        """Have a delivery's label in the bucket, and its file here.

        One that is not stored is fetched by a worker now, also one that was given up or left alone.

        Args:
            organization_id: whose.
            shipment_id: of which delivery.
            to: a file to be written, which is replaced when the label is there whole, or one that is open for bytes;
                None: none.
            timeout: seconds to wait for the worker.

        Raises:
            LabelNotStored: the worker tried in vain; the text says why, and when it tries again by itself.
            LabelUnavailable: it must not be fetched, or was tried for long enough; the text says why.
            LabelNotFound: no label of this delivery is known.
            WaitTimeout: no worker has tried in time; the label stays wanted.
            BucketUnavailable: the S3 server is away.
            ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: the label is not stored, and can't be asked for.
        """
        return requests.download(self._services, organization_id, "deliveries", shipment_id, to=to, timeout=timeout)

    def download_return_label(
        self,
        organization_id: str,
        shipment_id: int,
        *,
        to: Path | BinaryIO | None = None,
        timeout: float = 30.0,
    ) -> Label:
        """Have a return's label in the bucket, and its file here; see `download_label`."""
        return requests.download(self._services, organization_id, "returns", shipment_id, to=to, timeout=timeout)

    def fetch_labels(self, organization_id: str) -> int:
        """Have all labels fetched now that wait for their next try, or were given up.

        Returns:
            How many are due now; a worker fetches them by itself.

        Raises:
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: it can't be asked.
        """
        return requests.fetch_labels(self._services, organization_id)

    def sweep_bucket(self, *, seconds: float | None = None, accept_garbage: bool = False) -> Swept:
        """Compare the whole bucket with the rows, as a worker does once a day, from where the last one was interrupted.

        Objects that no row refers to are deleted, and labels whose object is missing are wanted again.

        Args:
            seconds: after which it ends before its end; None: as long as it takes.
            accept_garbage: a person has seen that very many objects have no row: they are deleted.

        Raises:
            BucketUnavailable: the S3 server is away; what was done is done.
            SettingsError: the bucket can't be used as the settings say.
            ManyGarbage: more than half of what was looked at has no row; nothing of it was deleted.
        """
        from backmarket.upkeep.bucket_sweep import (
            sweep,  # here: it loads the client of S3, 0.2 s that few processes need
        )

        return sweep(self._services, seconds=seconds, accept_garbage=accept_garbage)
