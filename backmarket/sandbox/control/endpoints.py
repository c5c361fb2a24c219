"""The sandbox's own API under `/_sandbox`, for tests, the demo and the benchmarks in other processes.

It knows sellers by name and never shows a token. Bodies and answers are JSON:

    GET    /stats                    Stats
    GET    /requests                 the last requests, as JSON lines (`Entry`)
    POST   /sellers                  SellerSpec; answers {"name", "orders"}
    PATCH  /sellers/{name}           {"token", "revoked", "backship"}, each optional
    POST   /faults                   Fault, or a list of them; answers {"numbers": [...]}
    DELETE /faults  /faults/{n}      removes all, or one
    POST   /changes                  Change; answers Changed, or {} where it waits for `after` answers
    GET    /settings                 Settings
    POST   /settings                 some of the Settings, `assumptions` among them; answers all of them
    POST   /reset                    forgets requests, violations and blocks
    POST   /start-over               forgets sellers, faults and settings too: as in a new process
    GET    /truth/{seller}/{rows}    every row as JSON lines, `rows` being orders (states 0 and 8 included), listings
                                     (as `?market=` shows them, or the home market), deliveries, returns, invoices, or
                                     writes: each one that took place, with its operation, object and fields
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backmarket.sandbox.control.statistics import statistics
from backmarket.sandbox.settings import patched
from backmarket.sandbox.world.changes import Change
from backmarket.sandbox.world.fault_rules import Fault
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.sandbox.world.shipment_stock import LABEL_HOST
from backmarket.sandbox.world.world import World

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


class SellerPatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The changes to an account."""

    token: str | None = None
    revoked: bool | None = None
    backship: bool | None = None


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _checked(endpoint: Endpoint) -> Endpoint:
    """Convert the caller's errors into 400 or 404 with a text."""

    async def checked(request: Request) -> Response:
        try:
            return await endpoint(request)
        except KeyError as error:
            return _json({"error": f"there is no {error.args[0]!r}"}, 404)
        except (ValueError, msgspec.MsgspecError) as error:
            return _json({"error": str(error)}, 400)

    return checked


async def _read(request: Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.body(), type=kind)


class Control:
    """The endpoints over one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def stats(self, _request: Request) -> Response:
        """The counters."""
        return _json(statistics(self.world))

    async def requests(self, _request: Request) -> Response:
        """The last requests, oldest first."""
        lines = b"\n".join(msgspec.json.encode(asdict(entry)) for entry in self.world.traffic.log)
        return Response(lines, media_type="application/x-ndjson")

    async def add_seller(self, request: Request) -> Response:
        """Open an account. It lives as long as the process, so the collector need not look at it again."""
        seller = self.world.add(await _read(request, SellerSpec))
        gc.collect()
        gc.freeze()
        return _json({"name": seller.name, "orders": len(seller.orders.rows)}, 201)

    async def patch_seller(self, request: Request) -> Response:
        """Replace a token, revoke it, end the BackShip subscription."""
        name, patch = request.path_params["name"], await _read(request, SellerPatch)
        seller = self.world.sellers[name]
        if patch.token is not None:
            self.world.replace_token(name, patch.token)
        seller.revoked = seller.revoked if patch.revoked is None else patch.revoked
        seller.backship = seller.backship if patch.backship is None else patch.backship
        return _json({"name": name})

    async def add_faults(self, request: Request) -> Response:
        """Activate rules."""
        body = await request.body()
        faults = msgspec.json.decode(body, type=list[Fault] | Fault)
        listed = faults if isinstance(faults, list) else [faults]
        return _json({"numbers": [self.world.faults.add(fault) for fault in listed]}, 201)

    async def remove_faults(self, request: Request) -> Response:
        """Remove one rule, or all."""
        self.world.faults.remove(request.path_params.get("number"))
        return _json({})

    async def change(self, request: Request) -> Response:
        """Change orders, now or later."""
        return _json(self.world.change(await _read(request, Change)) or {})

    async def settings(self, request: Request) -> Response:
        """Show the settings; with a body, change some first."""
        if request.method == "POST":
            self.world.settings = patched(self.world.settings, await _read(request, dict[str, Any]))
        return _json(self.world.settings)

    async def reset(self, _request: Request) -> Response:
        """Reset the counters."""
        self.world.reset_counters()
        return _json({})

    async def start_over(self, _request: Request) -> Response:
        """Start over, with the original seed."""
        self.world.start_over(self.world.seed)
        gc.unfreeze()
        gc.collect()
        return _json({})

    async def truth(self, request: Request) -> Response:
        """The rows that a faultless client would have."""
        seller = self.world.sellers[request.path_params["seller"]]
        origin = f"{request.url.scheme}://{request.url.netloc}".encode()
        market = request.query_params.get("market", "")
        rows = seller.truth(request.path_params["resource"], self.world.now(), market)
        lines = b"\n".join(rows).replace(LABEL_HOST.encode(), origin)
        return Response(lines, media_type="application/x-ndjson")


def routes(world: World) -> list[Route]:
    """The routes, to be mounted at `/_sandbox`."""
    control = Control(world)
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/stats", control.stats),
        ("GET", "/requests", control.requests),
        ("POST", "/sellers", control.add_seller),
        ("PATCH", "/sellers/{name}", control.patch_seller),
        ("POST", "/faults", control.add_faults),
        ("DELETE", "/faults", control.remove_faults),
        ("DELETE", "/faults/{number:int}", control.remove_faults),
        ("POST", "/changes", control.change),
        ("GET", "/settings", control.settings),
        ("POST", "/settings", control.settings),
        ("POST", "/reset", control.reset),
        ("POST", "/start-over", control.start_over),
        ("GET", "/truth/{seller}/{resource}", control.truth),
    ]
    return [Route(path, _checked(endpoint), methods=[method]) for method, path, endpoint in table]
