"""Each public method of `BackMarket` that changes something leaves a line in the audit trail; the others are listed."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest

from backmarket import BackMarket
from backmarket.audit import ACTIONS, Outcome, ProvedBy
from backmarket.audit.queries import AuditEntry
from backmarket.errors import BackMarketError, WaitTimeout
from backmarket.sandbox.api.label_files import label_pdf
from backmarket.standalone.embedded import Stack
from tests.support.bulk_files import as_csv
from tests.support.console import console_settings, opened_shop
from tests.support.convex_exports import write_export
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|1"
IMEI = "490154203237518"

CHANGES_NOTHING = {
    "acting_as", "audit", "changes", "changes_cursor", "close", "get_figures",
    "get_bulk_handle", "get_bulk_job", "get_bulk_jobs",
    "get_bulk_parts", "get_bulk_parts_in", "get_bulk_report_url", "get_connection_status", "get_connection_statuses",
    "get_connections", "get_deliveries", "get_deliveries_by_order_id", "get_delivery_by_id", "get_history", "get_label",
    "get_label_url", "get_labels", "get_lag_history", "get_listing_by_id", "get_listing_by_sku", "get_listing_markets",
    "get_listings",
    "get_order_by_id", "get_orderline_by_id", "get_orderlines", "get_orderlines_by_listing", "get_orderlines_by_state",
    "get_orders", "get_overview", "get_return_by_id", "get_return_label_url", "get_returns", "get_returns_by_order_id",
    "get_returns_by_orderline_id", "get_schedule", "get_status", "get_task_status", "get_throttled", "get_write",
    "get_writes", "watch", "get_console_sessions",
    "get_event_attempts", "get_event_endpoint", "get_event_endpoints",
    "iter_audit", "iter_deliveries", "iter_event_attempts",
    "iter_labels", "iter_listings", "iter_orderlines", "iter_orders", "iter_returns",
    "get_orders_to_ship", "iter_orders_to_ship", "get_orders_by_keys", "count_orders_to_ship", "get_newest_writes",
    "print_labels", "get_inbox", "count_inbox", "get_inbox_counts",
    # what a person has saved for themselves, and how a seller's files are read
    "get_console_views", "save_console_view", "remove_console_view",
    "get_listings_file_format", "save_listings_file_format", "preview_listings_file", "write_listings_template",
    "iter_writes",
    # they check a file; `PreparedFile.submit` is the act
    "check_listings_file", "prepare_listings_file",
}  # fmt: skip
ASKS_FOR_A_COPY = {
    "fetch_delivery", "fetch_listing", "fetch_order", "fetch_return", "sync_deliveries", "sync_listings", "sync_orders",
    "sync_returns",
}  # fmt: skip
"""They bring the stored rows up to date, as the schedule does: no act."""


class Scene:
    """A seller with rows, and what the calls are about."""

    def __init__(self, shop: Shop, bm: BackMarket) -> None:
        self.shop, self.bm = shop, bm

    def order(self, state: int) -> int:
        """A stored order whose line may be moved on."""
        row = self.shop.sandbox.truth(ORG)[0]
        line = row["orderlines"][0] | {"state": state, "quantity": 1, "imei": None, "serial_number": ""}
        self.shop.sandbox.change(ORG, modify=1, ids=[row["order_id"]], fields={"state": 1, "orderlines": [line]})
        return self.bm.fetch_order(ORG, row["order_id"]).order_id

    def orderline(self) -> int:
        return self.bm.get_orderlines(ORG, order_id=self.order(2)).items[0].orderline_id

    def sku(self) -> str:
        return str(self.shop.sandbox.truth(ORG, "listings")[0]["sku"])

    def file(self) -> str:
        return as_csv([{"sku": self.sku(), "quantity": 77}]).decode()

    def write(self) -> int:
        """A write that a person has to decide about."""
        number = self.bm.update_listing(ORG, sku=self.sku(), quantity=9).id
        self.shop.execute("UPDATE backmarket.api_writes SET state = 'unknown', due_at = 'infinity'")
        return number

    def job(self) -> int:
        """A job whose part a person has to decide about."""
        number = self.bm.create_or_update_listings(ORG, self.file()).id
        self.shop.execute("UPDATE backmarket.bulk_parts SET state = 'unknown', due_at = 'infinity'")
        return number

    def endpoint(self) -> int:
        """A webhook."""
        return self.bm.create_webhook("https://shop.example/hook").endpoint.id

    def given_up(self, resource: str = "deliveries") -> int:
        """A label that workers gave up."""
        self.shop.execute("UPDATE backmarket.labels SET state = 'unavailable', object_key = NULL")
        return int(self.shop.one("SELECT min(shipment_id) FROM backmarket.labels WHERE resource = %s", resource))

    def import_convex(self) -> None:
        with NamedTemporaryFile(suffix=".zip") as file:
            connection = {"organizationId": "there", "apiKey": "key", "enabled": True}
            self.bm.import_convex(write_export(Path(file.name), {"connections": [connection]}))

    def enters(self, do: Callable[[Scene], object]) -> list[AuditEntry]:
        """What a call enters into the trail, the oldest first."""
        self.shop.execute("DELETE FROM backmarket.audit")
        with suppress(WaitTimeout):  # no worker is here
            do(self)
        return list(reversed(self.bm.audit(limit=1000).items))


Do = Callable[[Scene], Any]
ACTS: dict[str, tuple[Do, str, str]] = {
    "upsert_connection": (lambda s: s.bm.upsert_connection("new", "key"), "connection.add", "done"),
    "import_connections": (
        lambda s: s.bm.import_connections(io.BytesIO(b"organization,key\nmany,key\n")), "connection.add", "done"
    ),
    "import_convex": (lambda s: s.import_convex(), "connection.add", "done"),
    "update_connection": (lambda s: s.bm.update_connection(ORG, locale="es-es"), "connection.change", "done"),
    "check_connection": (lambda s: s.bm.check_connection(ORG), "connection.check", "done"),
    "disable_connection": (lambda s: s.bm.disable_connection(ORG), "connection.disable", "done"),
    "disconnect": (lambda s: s.bm.disconnect(ORG), "connection.disable", "done"),
    "enable_connection": (lambda s: s.bm.enable_connection(ORG), "connection.enable", "done"),
    "reconnect": (lambda s: s.bm.reconnect(ORG), "connection.enable", "done"),
    "find": (lambda s: s.bm.find("dupont"), "rows.find", "done"),
    "rotate_keys": (lambda s: s.bm.rotate_keys(), "keys.rotate", "done"),
    "update_schedule": (lambda s: s.bm.update_schedule("orders", interval=60), "schedule.change", "done"),
    "sync": (lambda s: s.bm.sync(ORG, "orders", accept_missing=True), "sync.accept_missing", "asked"),
    "erase_order": (lambda s: s.bm.erase_order(ORG, s.bm.get_orders(ORG).items[-1].order_id), "order.erase", "done"),
    "update_order": (lambda s: s.bm.update_order(ORG, s.order(1), 2), "order.accept", "asked"),
    "update_orderline": (
        lambda s: s.bm.update_orderline(ORG, s.orderline(), imei=IMEI), "orderline.identify", "asked"
    ),
    "update_listing": (lambda s: s.bm.update_listing(ORG, sku=s.sku(), price="99"), "listing.change", "asked"),
    "upload_order_invoice": (
        lambda s: s.bm.upload_order_invoice(ORG, s.order(1), content=label_pdf(1, 0)), "order.invoice", "asked"
    ),
    "retry_write": (lambda s: s.bm.retry_write(ORG, s.write()), "write.retry", "asked"),
    "settle_write": (lambda s: s.bm.settle_write(ORG, s.write(), arrived=True), "write.settle", "done"),
    "create_or_update_listings": (lambda s: s.bm.create_or_update_listings(ORG, s.file()), "bulk.submit", "asked"),
    "create_or_update_listings_and_sync": (
        lambda s: s.bm.create_or_update_listings_and_sync(ORG, s.file(), max_wait=0.01), "bulk.submit", "asked"
    ),
    "cancel_bulk_job": (lambda s: s.bm.cancel_bulk_job(ORG, s.job()), "bulk.cancel", "done"),
    "settle_bulk_part": (lambda s: s.bm.settle_bulk_part(ORG, s.job(), 1, arrived=True), "bulk.settle", "done"),
    "fetch_labels": (lambda s: s.given_up() and s.bm.fetch_labels(ORG), "labels.requeue", "asked"),
    "download_label": (lambda s: s.bm.download_label(ORG, s.given_up(), timeout=0.01), "label.fetch", "asked"),
    "download_return_label": (
        lambda s: s.bm.download_return_label(ORG, s.given_up("returns"), timeout=0.01), "label.fetch", "asked"
    ),
    "sweep_bucket": (lambda s: s.bm.sweep_bucket(), "bucket.sweep", "asked"),
    "create_webhook": (lambda s: s.endpoint(), "event.create", "done"),
    "update_event_endpoint": (lambda s: s.bm.update_event_endpoint(s.endpoint(), initial=True), "event.change", "done"),
    "rotate_webhook_secret": (lambda s: s.bm.rotate_webhook_secret(s.endpoint()), "event.rotate_secret", "done"),
    "disable_event_endpoint": (lambda s: s.bm.disable_event_endpoint(s.endpoint()), "event.disable", "done"),
    "enable_event_endpoint": (lambda s: s.bm.enable_event_endpoint(s.endpoint()), "event.enable", "done"),
    "delete_event_endpoint": (lambda s: s.bm.delete_event_endpoint(s.endpoint()), "event.delete", "done"),
    "redeliver_events": (lambda s: s.bm.redeliver_events(s.endpoint(), after="0:0"), "event.redeliver", "done"),
    "end_console_sessions": (lambda s: s.bm.end_console_sessions("anna"), "console.end_sessions", "done"),
    "skip_recovery": (lambda s: s.bm.skip_recovery(), "limiter.skip_recovery", "done"),
    "upkeep": (lambda s: s.bm.upkeep(), "upkeep.run", "asked"),
    "remove_connection": (
        lambda s: s.bm.upsert_connection("old", "key") and s.bm.remove_connection("old"), "connection.remove", "done"
    ),
}  # fmt: skip
"""For each method: a call of it, the action, and its outcome."""
OF_THE_CONSOLE = {"start_console_session", "use_console_session", "end_console_session", "record_console_refusal"}
"""A person's own login and logout; see `test_who_did_it.py`."""
OF_THE_SCHEMA = {"apply_schema"}
"""Audited when it migrates; see `tests/integration/database/test_schema.py`."""


@pytest.fixture(scope="module")
def scene(stack: Stack, s3_url: str, shared_url: str) -> Iterator[Scene]:
    settings = console_settings(stack, shared_url, s3_url)
    with (
        fresh_sandbox(limit=100_000) as server,
        opened_shop(settings, server.control, ORG) as shop,
        BackMarket(shop.settings) as bm,
    ):
        yield Scene(shop, bm)


def test_each_public_method_is_known_to_change_something_or_nothing() -> None:
    public = {name for name, _ in inspect.getmembers(BackMarket, callable) if not name.startswith("_")}
    assert public == {*ACTS, *CHANGES_NOTHING, *ASKS_FOR_A_COPY, *OF_THE_SCHEMA, *OF_THE_CONSOLE}


@pytest.mark.parametrize("method", ACTS)
def test_an_act_is_entered(scene: Scene, method: str) -> None:
    do, action, outcome = ACTS[method]
    entry = scene.enters(do)[-1]
    assert (entry.action, entry.outcome, entry.code) == (action, Outcome(outcome), None)
    assert (entry.actor, entry.proved_by) == (None, ProvedBy.APPLICATION)
    assert entry.action in ACTIONS
    assert entry.origin


@pytest.mark.parametrize(
    "do",
    [
        lambda s: s.bm.fetch_order(ORG, s.bm.get_orders(ORG).items[0].order_id),
        lambda s: s.bm.sync_orders(ORG),
        lambda s: s.bm.check_listings_file(ORG, s.file()),
        lambda s: s.bm.update_connection(ORG, locale=s.bm.get_connection_status(ORG).connection.locale),
    ],
    ids=["a fetch", "a sync", "a check of a file", "the same settings again"],
)
def test_what_is_no_act_is_not_entered(scene: Scene, do: Do) -> None:
    assert scene.enters(do) == []


REFUSED: dict[str, tuple[Do, str, str]] = {
    "no such connection": (lambda s: s.bm.remove_connection("none"), "connection.remove", "connection_not_found"),
    "no such market": (lambda s: s.bm.update_connection(ORG, region="XX"), "connection.change", "invalid_argument"),  # type: ignore[arg-type]
    "an id that none can have": (lambda s: s.bm.upsert_connection("\0" * 300, "k"), "connection.change", "invalid_"),
    "a refund of what is not stored": (lambda s: s.bm.update_order(ORG, 10**9, 6), "order.refund", "not_stored"),
    "no state at all": (lambda s: s.bm.update_order(ORG, s.order(1), 77), "order.change", "invalid_"),
    "no such listing": (lambda s: s.bm.update_listing(ORG, sku="none", price="1"), "listing.change", "not_stored"),
    "no such write": (lambda s: s.bm.settle_write(ORG, 10**9, arrived=True), "write.settle", "write_not_found"),
    "no such job": (lambda s: s.bm.cancel_bulk_job(ORG, 10**9), "bulk.cancel", "bulk_job_not_found"),
    "a bad file": (lambda s: s.bm.create_or_update_listings(ORG, "sku;price\nA;x\n"), "bulk.submit", "bulk_"),
    "no such order": (lambda s: s.bm.erase_order(ORG, 10**9), "order.erase", "order_not_stored"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_refused_is_entered_with_its_reason(scene: Scene, case: str) -> None:
    do, action, code = REFUSED[case]

    def refused(scene: Scene) -> None:
        with pytest.raises(BackMarketError):
            do(scene)

    entry = scene.enters(refused)[-1]
    assert (entry.action, entry.outcome) == (action, Outcome.REFUSED)
    assert entry.code is not None
    assert entry.code.startswith(code)


def test_a_change_and_its_line_are_one_transaction(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BackMarketError("The line cannot be written.")

    monkeypatch.setattr("backmarket.organizations.lifecycle.audit.record", broken)
    with pytest.raises(BackMarketError, match="cannot be written"):
        scene.bm.disable_connection(ORG)
    monkeypatch.undo()
    assert scene.bm.get_connection_status(ORG).connection.enabled
