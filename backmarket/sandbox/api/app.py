"""The sandbox as an ASGI application: which path leads to which operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backmarket.sandbox.api import bulk, categories, listings, order_writes, orders, shipping
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.middleware import Handler, Operation
from backmarket.sandbox.api.responses import Answer, refusal
from backmarket.sandbox.control import endpoints
from backmarket.sandbox.world.shipment_stock import Kind
from backmarket.sandbox.world.world import World


class _SlashForgiven:
    """Treats `/ws/orders/` as `/ws/orders`: the document uses both."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)


async def _nothing_here(_call: Call) -> Answer:
    return refusal(404, "Not found.", code="not-found")


def _after_due_tasks(handler: Handler) -> Handler:
    """Run the bulk tasks that are due first, so that reads see their changes."""

    async def after_due_tasks(call: Call) -> Answer:
        call.seller.tasks.finish_due(call.world.now())
        return await handler(call)

    return after_due_tasks


def _shipping_routes(route: Callable[..., Route]) -> Iterator[Route]:
    kinds: tuple[Kind, Kind] = ("deliveries", "returns")
    labels = {"deliveries": "/static/shipment_labels/{name}", "returns": "/static/return_labels/{name}"}
    for kind in kinds:
        yield route("GET", f"/ws/shipping/v1/{kind}", f"{kind}.list", shipping.list_shipments(kind))
        yield route("GET", f"/ws/shipping/v1/{kind}/{{id}}", f"{kind}.get", shipping.get_shipment(kind))
        yield route("GET", labels[kind], f"{kind}.label", shipping.get_label(kind), label=True)


def create_app(world: World) -> Starlette:
    """The Back Market API over this world, and the sandbox's own control API under `/_sandbox`."""

    def route(method: str, path: str, name: str, handler: Handler, **kind: bool) -> Route:
        return Route(path, Operation(world, name, handler, **kind), methods=[method], name=name)

    routes = [
        route("GET", "/ws/orders", "orders.list", orders.list_orders),
        route("GET", "/ws/orders/{order_id}", "orders.get", orders.get_order),
        route("POST", "/ws/orders/{order_id}", "orders.update", order_writes.update_order),
        route("POST", "/ws/orders/{order_id}/invoice", "orders.invoice", order_writes.upload_invoice),
        route("PATCH", "/ws/orderlines/{orderline_id}", "orderlines.update", order_writes.update_orderline),
        route("GET", "/ws/listings", "listings.list", _after_due_tasks(listings.list_listings)),
        route("POST", "/ws/listings", "listings.bulk", _after_due_tasks(bulk.submit_listings)),
        route("GET", "/ws/listings/detail", "listings.detail", _after_due_tasks(listings.get_listing_detail)),
        route("GET", "/ws/listings/{listing_id}", "listings.get", _after_due_tasks(listings.get_listing)),
        route("POST", "/ws/listings/{listing_id}", "listings.update", _after_due_tasks(listings.update_listing)),
        route("GET", "/ws/tasks/{task_id}", "tasks.get", _after_due_tasks(bulk.get_task)),
        *_shipping_routes(route),
        route("GET", "/ws/category/tree", "categories.tree", categories.get_tree, sensitive=True),
        route("GET", "/ws/category/tree/{category_id}", "categories.branch", categories.get_branch, sensitive=True),
        Mount("/_sandbox", routes=endpoints.routes(world)),
        Route("/{path:path}", Operation(world, "other", _nothing_here)),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(_SlashForgiven)])
    app.router.redirect_slashes = False
    app.state.world = world
    return app
