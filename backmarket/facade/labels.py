"""Shipping labels: lists of them, links to them, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from backmarket.facade.part import FacadePart
from backmarket.labels import queries, requests
from backmarket.labels.queries import Label, LabelState
from backmarket.queries.pagination import Page, every
from backmarket.resources import ResourceName

if TYPE_CHECKING:
    from backmarket.upkeep.bucket_sweep import Swept


class Labels(FacadePart):
    """The methods of `BackMarket` for labels."""

    def get_labels(
        self,
        organization_id: str,
        *,
        resource: ResourceName | None = None,
        state: LabelState | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Label]:
        """The known labels of deliveries and returns, in the bucket or not.

        Args:
            resource: only of `deliveries` or of `returns`.
            state: only in this state: `wanted`, `skipped`, `stored` or `unavailable`.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if an argument is invalid.
        """
        return queries.get_labels(
            self._services.database, organization_id, resource=resource, state=state, limit=limit, cursor=cursor
        )

    iter_labels = every(get_labels)

    def get_label(self, organization_id: str, resource: ResourceName, shipment_id: int) -> Label | None:
        """The label of one delivery or return; None: unknown.

        Args:
            resource: `deliveries` or `returns`.
            shipment_id: the id of the delivery or return.

        Raises:
            InvalidArgument: if there is no such resource.
        """
        return queries.get_label(self._services.database, organization_id, resource, shipment_id)

    def get_label_url(self, organization_id: str, shipment_id: int, *, expires: int = 3600) -> str:
        """A link to a delivery's label; anyone with the link can read it until it expires. Sends no request.

        It points to `BACKMARKET_S3_PUBLIC_ENDPOINT_URL`, if that is set.

        Args:
            expires: seconds from now, 1 to 604,800 (7 days).

        Raises:
            LabelNotStored: if the label is not in the bucket yet; the text says why, and when a worker retries it.
            LabelUnavailable: if the label was given up; the text says why.
            LabelNotFound: if no label of this delivery is known.
            InvalidArgument: if `expires` is out of range.
            SettingsError: if the settings name no bucket.
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
        """Fetch a delivery's label into the bucket, and write its file here.

        If the label is not stored, a worker fetches it now, even if it was given up or skipped.

        Args:
            to: the path of a file, which is replaced once the whole label is there, or a file open for writing bytes;
                None: write no file.
            timeout: seconds to wait for the worker.

        Raises:
            LabelNotStored: if the worker failed; the text says why, and when it retries.
            LabelUnavailable: if the label must not be fetched, or was retried for long enough; the text says why.
            LabelNotFound: if no label of this delivery is known.
            WaitTimeout: if no worker tried in time; the label stays queued.
            BucketUnavailable: if the S3 server is away.
            ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the label is not stored and cannot be fetched.
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
        """Fetch a return's label into the bucket, and write its file here; see `download_label`."""
        return requests.download(self._services, organization_id, "returns", shipment_id, to=to, timeout=timeout)

    def fetch_labels(self, organization_id: str) -> int:
        """Queue all labels that wait for a retry, or were given up, to be fetched now.

        Returns:
            Number of labels that are due now; a worker fetches them.

        Raises:
            ConnectionNotFound, ConnectionDisabled, ApiKeyMissing, ConnectionUnauthorized: if the connection cannot be
                used.
        """
        with self._attempt("labels.requeue", organization_id, "labels"):
            return requests.fetch_labels(self._services, organization_id)

    def sweep_bucket(self, *, seconds: float | None = None, accept_garbage: bool = False) -> Swept:
        """Compare the whole bucket with the rows, as a worker does daily; continues an interrupted sweep.

        Objects that no row refers to are deleted, and labels whose object is missing are queued again.

        Args:
            seconds: time after which it stops early; None: no limit.
            accept_garbage: a person confirmed that very many objects have no row: delete them.

        Raises:
            BucketUnavailable: if the S3 server is away; completed work stays.
            SettingsError: if the bucket cannot be used with these settings.
            ManyGarbage: if more than half of the checked objects have no row; none of them was deleted.
        """
        from backmarket.upkeep.bucket_sweep import (
            sweep,  # here: it loads the S3 client, 0.2 s that few processes need
        )

        with self._begun("bucket.sweep", accept_garbage=accept_garbage):
            return sweep(self._services, seconds=seconds, accept_garbage=accept_garbage)
