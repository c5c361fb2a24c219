"""Beat and a worker as real processes: what belongs to nobody leaves the bucket, and what was lost is wanted again."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from backmarket import BackMarket
from backmarket.bucket.keys import label_key
from backmarket.settings import Settings
from backmarket.standalone.fleet import Fleet
from backmarket.standalone.pools import Pool
from tests.conftest import Bucket
from tests.support.databases import open_connection
from tests.support.sellers import environment
from tests.support.waiting import wait_until

STORED = """
INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state, object_key, size, etag)
VALUES (%s, 'deliveries', %s, '/label.pdf', 'stored', %s, 3, 'x')
"""


@pytest.mark.slow
def test_a_removed_organization_s_labels_are_deleted_and_the_bucket_is_swept(
    settings: Settings, s3: Bucket, tmp_path: Path
) -> None:
    client = s3.client()

    def labels() -> int:
        return len(list(client.list_objects(s3.name, "labels/", recursive=True)))

    workers = (Pool("labels", ("labels",), 2),)
    with (
        open_connection(settings.need("database_url"), autocommit=True) as connection,
        BackMarket(settings) as bm,
        Fleet(environment(settings), directory=tmp_path, workers=workers) as fleet,
    ):
        for organization in ("shop", "lossy"):
            bm.upsert_connection(organization, "key")
        connection.execute("UPDATE backmarket.connections SET enabled = false")
        for shipment in (1, 2):
            key = label_key("shop", "deliveries", shipment)
            client.put_object(s3.name, key, io.BytesIO(b"pdf"), 3)
            connection.execute(STORED, ("shop", shipment, key))
        connection.execute(STORED, ("lossy", 3, label_key("lossy", "deliveries", 3)))
        assert labels() == 2
        fleet.wait_ready()
        bm.remove_connection("shop")
        wait_until(lambda: labels() == 0, "the removed organization's labels are gone")
        wanted = "SELECT count(*) FROM backmarket.labels WHERE state = 'wanted'"
        wait_until(lambda: connection.execute(wanted).fetchone() == (1,), "the lost label is wanted again")
        swept = "SELECT count(*) FROM backmarket.bucket_sweep WHERE finished_at IS NOT NULL"
        wait_until(lambda: connection.execute(swept.encode()).fetchone() == (1,), "the sweep has ended")
    log = (tmp_path / "labels.log").read_text()
    assert "deletions.done" in log
    assert "sweep.done" in log
    assert settings.need("s3_secret_key") not in log
