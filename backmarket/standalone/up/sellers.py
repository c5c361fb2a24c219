"""The sandbox of `backmarket up`: a process at a fixed address, and three sellers connected to it."""

from __future__ import annotations

from pathlib import Path

from backmarket.errors import ConnectionNotFound
from backmarket.facade import BackMarket
from backmarket.resources import RESOURCE_NAMES
from backmarket.sandbox.__main__ import sample_token
from backmarket.standalone.embedded.ports import LOOPBACK
from backmarket.standalone.up.child import Child

SEED = 0
ORDERS = 300
SELLERS = {f"seller-{number}": sample_token(SEED, number) for number in (1, 2, 3)}
"""Organization ids and tokens, as the sandbox's command line sets them."""


class Sandbox(Child):
    """A sandbox process, for as long as the `with` block and never longer than this process."""

    title = "The sandbox"

    def __init__(self, port: int, logs: Path) -> None:
        super().__init__(logs / "sandbox.log")
        self.url = f"http://{LOOPBACK}:{port}"
        self._port = port

    def arguments(self) -> list[str]:
        """Its arguments for Python."""
        arguments = ["-m", "backmarket.sandbox", "--child", "--port", str(self._port), "--seed", str(SEED)]
        return [*arguments, "--sellers", str(len(SELLERS)), "--orders", str(ORDERS)]


def connect(market: BackMarket, sandbox: Sandbox) -> None:
    """Connect the sellers and request full syncs: a new sandbox does not remember the changes of the last one."""
    for name, token in SELLERS.items():
        market.upsert_connection(name, token, base_url=sandbox.url)
        for resource in RESOURCE_NAMES:
            market.sync(name, resource, full=True)


def disconnect(market: BackMarket) -> None:
    """Disable the sellers of an earlier sandbox; their rows stay."""
    for name in SELLERS:
        try:
            connection = market.get_connection_status(name).connection
        except ConnectionNotFound:
            continue
        if connection.enabled and (connection.base_url or "").startswith(f"http://{LOOPBACK}:"):
            market.disable_connection(name)
