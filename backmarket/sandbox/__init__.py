"""A stateful stand-in for the Back Market API, for the demo, the tests and the benchmarks.

In process: `create_app(World(...))` is an ASGI application, and `InProcessTransport(World(...))` lets an ordinary
httpx client call it. In its own process: `SandboxServer` or
`python -m backmarket.sandbox`. Its unproved assumptions on the real API: `docs/assumptions.md`.
"""

from backmarket.sandbox.api.app import create_app
from backmarket.sandbox.control.client import SandboxControl
from backmarket.sandbox.control.statistics import Stats
from backmarket.sandbox.in_process import InProcessTransport
from backmarket.sandbox.server import SandboxServer, run
from backmarket.sandbox.settings import Assumptions, Settings
from backmarket.sandbox.world.changes import Change, Changed
from backmarket.sandbox.world.fault_rules import Fault
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.sandbox.world.world import World

__all__ = [
    "Assumptions",
    "Change",
    "Changed",
    "Fault",
    "InProcessTransport",
    "SandboxControl",
    "SandboxServer",
    "SellerSpec",
    "Settings",
    "Stats",
    "World",
    "create_app",
    "run",
]
