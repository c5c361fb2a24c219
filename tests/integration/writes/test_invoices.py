"""Invoices: from bytes, a file, an object or a URL, through the bucket, to the order; and what cannot be read back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.bucket.keys import invoices_prefix, label_key
from backmarket.errors import (
    BucketUnavailable,
    IdempotencyConflict,
    InvalidArgument,
    NotAPdf,
    NotStoredYet,
    ObjectNotFound,
    OriginRefused,
    TooLarge,
    UnknownOutcome,
    WriteRefused,
)
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.settings import Settings
from backmarket.writes.engine.slice import run_slice
from backmarket.writes.models import WriteState
from backmarket.writes.request.faults import InvalidWrite
from tests.support.gate import Gate, Reply
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
PDF = label_pdf(7, 3000)
TOKEN = "token-of-the-seller"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Gate]:
    """A file server of the host application's, which remembers the keys that it was shown."""
    with Gate(Reply(body=PDF)) as gate:
        gate.open.set()
        yield gate


@pytest.fixture
def shop(settings: Settings, elsewhere: Gate) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        changes = {"rate_limit": 100_000, "invoice_origins": (elsewhere.url,), "invoice_max_bytes": 100_000}
        shop = Shop(settings.model_copy(update=changes), sandbox.control)
        shop.sell(ORG, orders=5, token=TOKEN)
        shop.sync(ORG)
        yield shop
        shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


@pytest.fixture
def order(bm: BackMarket) -> int:
    return bm.get_orders(ORG).items[0].order_id


def arrived(shop: Shop) -> list[tuple[int, str, str]]:
    return [(one["order_id"], one["name"], one["sha256"]) for one in shop.sandbox.truth(ORG, "invoices")]


def objects(shop: Shop) -> list[str]:
    return [each.key for each in shop.services.bucket.list(invoices_prefix(ORG))]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_bytes_files_objects_and_urls(shop: Shop, bm: BackMarket, order: int, tmp_path: Path, elsewhere: Gate) -> None:
    path = tmp_path / "Rechnung 7.pdf"
    path.write_bytes(PDF)
    key = "elsewhere/of-the-host.pdf"
    shop.services.bucket.put(key, io.BytesIO(PDF), size=len(PDF), content_type="application/pdf", sha256=digest(PDF))
    handles = [
        bm.upload_order_invoice(ORG, order, content=PDF),
        bm.upload_order_invoice(ORG, order, file=path),
        bm.upload_order_invoice(ORG, order, file=io.BytesIO(PDF), filename="r.pdf"),
        bm.upload_order_invoice(ORG, order, object_key=key),
        bm.upload_order_invoice(ORG, order, url=f"{elsewhere.url}/files/a.pdf?signature=secret"),
    ]
    assert run_slice(shop.services, ORG).succeeded == 5
    assert {handle.wait(0).confirmed_by for handle in handles} == {"answer"}
    names = [f"invoice-{order}.pdf", "Rechnung 7.pdf", "r.pdf", "of-the-host.pdf", "a.pdf"]
    assert arrived(shop) == [(order, name, digest(PDF)) for name in names]
    assert elsewhere.keys == [None], "the key goes nowhere else"
    stored = bm.get_order_by_id(ORG, order)
    assert stored is not None
    assert stored.invoice_uploaded_at is not None
    events = "SELECT fields FROM backmarket.changes WHERE kind = 'updated' AND external_id = %s"
    assert shop.execute(events, str(order))[0] == (["invoice_uploaded_at"],)
    assert "secret" not in str(shop.execute("SELECT * FROM backmarket.api_writes"))


def test_what_is_no_invoice_is_refused_before_anything_is_asked_for(
    shop: Shop, bm: BackMarket, order: int, elsewhere: Gate
) -> None:
    def refused(error: type[Exception], match: str, **given: Any) -> None:
        with pytest.raises(error, match=match):
            bm.upload_order_invoice(ORG, given.pop("order_id", order), **given)

    refused(InvalidArgument, "not a PDF", content=b"<html>")
    refused(InvalidArgument, "empty", content=b"")
    refused(InvalidArgument, "cut", content=PDF[:-200])
    refused(TooLarge, "100000", content=label_pdf(1, 200_000))
    refused(InvalidArgument, "cannot be read", file="nowhere.pdf")
    refused(InvalidArgument, "binary mode", file=io.StringIO("text"))
    refused(InvalidWrite, "filename", content=PDF, filename="../a.pdf")
    refused(InvalidWrite, "filename", content=PDF, filename="a.exe")
    refused(InvalidArgument, "exactly one way")
    refused(InvalidArgument, "exactly one way", content=PDF, url=f"{elsewhere.url}/a.pdf")
    refused(NotStoredYet, "orders fetch", content=PDF, order_id=1)
    refused(ObjectNotFound, "no object", object_key="nothing/here.pdf")
    refused(InvalidArgument, "another organization", object_key=label_key("another", "deliveries", 1))
    refused(OriginRefused, "INVOICE_ORIGINS", url="https://not-allowed.example/a.pdf")
    refused(OriginRefused, "INVOICE_ORIGINS", url=f"{shop.sandbox.url}/ws/orders")
    elsewhere.reply = Reply(body=b"<html>Not found</html>")
    try:
        refused(NotAPdf, "not a PDF", url=f"{elsewhere.url}/a.pdf")
    finally:
        elsewhere.reply = Reply(body=PDF)
    assert bm.get_writes(ORG).items == []
    assert objects(shop) == []


def test_without_the_bucket_nothing_is_asked_for(shop: Shop, bm: BackMarket, order: int) -> None:
    settings = shop.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:1"})
    with BackMarket(settings) as away, pytest.raises(BucketUnavailable):
        away.upload_order_invoice(ORG, order, content=PDF)
    assert bm.get_writes(ORG).items == []


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_answer_is_a_persons_to_decide(shop: Shop, bm: BackMarket, order: int, applied: bool) -> None:
    shop.sandbox.add_fault("close", operation="orders.invoice", count=1, applied=applied)
    handle = bm.upload_order_invoice(ORG, order, content=PDF)
    assert run_slice(shop.services, ORG).unknown == 1
    assert run_slice(shop.services, ORG).end == "nothing_to_do"
    with pytest.raises(UnknownOutcome, match=r"may have been uploaded.*back office.*writes retry.*twice"):
        handle.wait(0)
    (write,) = bm.get_writes(ORG, state="unknown")
    assert write.undecided
    if applied:
        assert bm.settle_write(ORG, handle.id, arrived=True).state is WriteState.SUCCEEDED
    else:
        bm.retry_write(ORG, handle.id)
        run_slice(shop.services, ORG)
    assert handle.done() is not None
    assert len(arrived(shop)) == 1
    stored = bm.get_order_by_id(ORG, order)
    assert stored is not None
    assert stored.invoice_uploaded_at is not None


def test_the_bucket_away_when_it_is_sent(shop: Shop, bm: BackMarket, order: int) -> None:
    handle = bm.upload_order_invoice(ORG, order, content=PDF)
    working = shop.settings
    shop.restart(s3_endpoint_url="http://127.0.0.1:1")
    run_slice(shop.services, ORG)
    write = bm.get_write(ORG, handle.id)
    assert write is not None
    assert (write.state, write.error_code, arrived(shop)) == (WriteState.PENDING, "bucket_unavailable", [])
    shop.restart(s3_endpoint_url=working.s3_endpoint_url)
    shop.execute("UPDATE backmarket.api_writes SET due_at = now()")
    shop.execute("UPDATE backmarket.work SET due_at = now()")
    assert run_slice(shop.services, ORG).succeeded == 1


def test_a_file_that_is_gone_from_the_bucket(shop: Shop, bm: BackMarket, order: int) -> None:
    handle = bm.upload_order_invoice(ORG, order, content=PDF)
    shop.services.bucket.delete(objects(shop))
    run_slice(shop.services, ORG)
    with pytest.raises(WriteRefused) as caught:
        handle.done()
    assert caught.value.reason == "object_not_found"


def test_one_key_is_one_invoice(shop: Shop, bm: BackMarket, order: int, elsewhere: Gate) -> None:
    def upload(_: int) -> int:
        return bm.upload_order_invoice(ORG, order, content=PDF, idempotency_key="k").id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(upload, range(8)))) == 1
    with pytest.raises(IdempotencyConflict):
        bm.upload_order_invoice(ORG, order, content=label_pdf(8, 3000), idempotency_key="k")
    url = f"{elsewhere.url}/b.pdf"
    first = bm.upload_order_invoice(ORG, order, url=url, idempotency_key="u")
    asked = len(elsewhere.paths)
    assert bm.upload_order_invoice(ORG, order, url=url, idempotency_key="u").id == first.id
    assert len(elsewhere.paths) == asked
    run_slice(shop.services, ORG)
    assert len(arrived(shop)) == 2


def test_erasing_the_order_wants_its_invoices_deleted(shop: Shop, bm: BackMarket, order: int) -> None:
    bm.upload_order_invoice(ORG, order, content=PDF)
    (key,) = objects(shop)
    bm.erase_order(ORG, order)
    assert shop.execute("SELECT object_key FROM backmarket.bucket_deletions WHERE object_key = %s", key) == [(key,)]
    assert run_slice(shop.services, ORG).succeeded == 0
    assert arrived(shop) == []


def test_an_invoice_erased_while_it_is_sent_is_refused_as_erased(shop: Shop, bm: BackMarket, order: int) -> None:
    shop.sandbox.add_fault("rate_limited", operation="orders.invoice", count=1)
    shop.sandbox.settings(latency=1.0)
    handle = bm.upload_order_invoice(ORG, order, content=PDF)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_slice, shop.services, ORG)
        wait_until(lambda: shop.one("SELECT state FROM backmarket.api_writes") == "sending", "it is being sent")
        bm.erase_order(ORG, order)
        running.result(PATIENCE_SECONDS)
    shop.execute("UPDATE backmarket.api_writes SET due_at = now() WHERE state = 'pending'")
    shop.execute("UPDATE backmarket.work SET due_at = now()")
    run_slice(shop.services, ORG)
    with pytest.raises(WriteRefused) as caught:
        handle.wait(0)
    assert (caught.value.reason, arrived(shop)) == ("erased", [])
