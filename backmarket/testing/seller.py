"""A connected seller in a host's test, and what workers would do for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from backmarket.facade import BackMarket
from backmarket.labels import engine as label_engine
from backmarket.resources import ResourceName
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.sync import engine as sync_engine
from backmarket.sync.handle import SyncOutcome
from backmarket.work.wait import poll, wait_for
from backmarket.writes.engine import slice as write_slice
from backmarket.writes.handle import WriteHandle, WriteOutcome


@dataclass(frozen=True)
class ConnectedSeller:
    """An organization that is connected to a seller of the sandbox. No worker runs: each method does its work, here.

    Attributes:
        organization_id: the organization, and the seller's name in the sandbox.
        bm: its `BackMarket` object.
        settings: of `bm`; the environment has the same ones during the test.
        sandbox: stands for Back Market.
    """

    organization_id: str
    bm: BackMarket
    settings: Settings
    sandbox: SandboxControl
    _services: Services = field(repr=False)

    def sync(self, resource: ResourceName = "orders", *, full: bool = False, timeout: float = 60.0) -> SyncOutcome:
        """Sync one resource now, in this thread.

        Args:
            resource: `orders`, `listings`, `deliveries` or `returns`.
            full: fetch the whole list, not only rows that may have changed.
            timeout: seconds; a sync that is answered 429 waits as it does in a worker.

        Raises:
            WaitTimeout: if it has not ended in time.
            BackMarketError: if it failed.
        """
        handle = self.bm.sync(self.organization_id, resource, full=full)

        def slice_and_look() -> SyncOutcome | None:
            sync_engine.run_slice(self._services, self.organization_id, resource)
            return handle.done()

        text = f"The sync of {resource} has not ended within {timeout:g} s."
        return wait_for(poll(slice_and_look, timeout, lambda: text))

    def send(self, handle: WriteHandle, *, timeout: float = 60.0) -> WriteOutcome:
        """Send the queued writes now, in this thread, until one of them has ended.

        Args:
            handle: of that write, from `bm.update_order` and the like.
            timeout: seconds; a write that is answered 429 or 503 waits as it does in a worker.

        Raises:
            WaitTimeout: if it has not ended in time.
            WriteRefused: if the API refused it.
            UnknownOutcome: if it may have happened, and a person has to look.
        """

        def send_and_look() -> WriteOutcome | None:
            write_slice.run_slice(self._services, self.organization_id)
            return handle.done()

        text = f"Write {handle.id} has not ended within {timeout:g} s."
        return wait_for(poll(send_and_look, timeout, lambda: text))

    def fetch_labels(self) -> int:
        """Fetch the labels that are due into the bucket now, in this thread, and return their number."""
        return label_engine.run_slice(self._services, self.organization_id).stored
