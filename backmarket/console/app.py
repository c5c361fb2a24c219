"""The console as an ASGI application: which path leads to which page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from time import monotonic
from urllib.parse import urlsplit

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from backmarket.console.access.auth import EVENTS, Auth
from backmarket.console.access.cookies import Cookies, signing_key
from backmarket.console.access.oidc import CALLBACK
from backmarket.console.headers import SafeHeaders
from backmarket.console.pages import (
    audit,
    bulk,
    endpoints,
    figures,
    find,
    inbox,
    listings,
    login,
    orders,
    organizations,
    overview,
    printing,
    shipments,
    shipping,
    views,
    writes,
)
from backmarket.console.rendering import Pages
from backmarket.console.request_context import action, page
from backmarket.console.sse import EventStream
from backmarket.errors import BackMarketError
from backmarket.facade import BackMarket
from backmarket.observability.logs import Logger
from backmarket.settings import Settings

LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
"""Host names of this machine, which another site cannot claim."""
COOKIE = "backmarket_console"
CHECK_SECONDS = 30.0
"""Seconds after which the session of an open page is read again; it follows changes until then."""
_OF_ONE = "/o/{organization}"

log = Logger(__name__)


def create_app(bm: BackMarket, settings: Settings) -> Starlette:
    """The console over a `BackMarket` object, which stays the caller's to close.

    Args:
        bm: the object that it reads and acts with.
        settings: its users and its address.

    Raises:
        SettingsError: if the settings would let no user in, or every one; the text says what to set.
    """
    auth, events = Auth(settings, bm), EventStream(bm)
    reached_at = urlsplit(settings.console_url or "")
    is_https = reached_at.scheme == "https"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.passwords_at_once = CapacityLimiter(login.TRIES_AT_ONCE)
        yield
        events.end()
        events.wait_ended()

    middleware = [
        Middleware(SafeHeaders, is_https=is_https),
        Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *filter(None, [reached_at.hostname])]),
        Middleware(Cookies, name=cookie_name(settings), key=signing_key(settings), is_https=is_https),
    ]
    app = Starlette(
        routes=_routes(settings),
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused, BackMarketError: _unidentified, Exception: _broken},
    )
    app.state.bm, app.state.auth, app.state.events, app.state.pages = bm, auth, events, Pages(auth)
    app.state.overview = overview.recent(bm)
    app.state.base_urls = settings.allowed_base_urls
    return app


def cookie_name(settings: Settings) -> str:
    """The session's cookie. Browsers accept the prefix from the console's own host alone, and only by https."""
    return f"__Host-{COOKIE}" if (settings.console_url or "").startswith("https:") else COOKIE


def _routes(settings: Settings) -> list[BaseRoute]:
    max_invoice_form_bytes = settings.invoice_max_bytes + 64 * 1024
    shown = {
        "": organizations.show,
        "/syncs": organizations.syncs,
        "/orders": orders.show_all,
        "/orders/{order}": orders.show,
        "/orders/{order}/history": orders.history,
        "/deliveries": shipments.deliveries,
        "/returns": shipments.returns,
        "/labels": shipments.labels,
        "/labels/{resource}/{shipment}": orders.open_label,
        "/listings": listings.show_all,
        "/listings/{listing}": listings.row,
        "/bulk": bulk.show_all,
        "/bulk/template": bulk.template,
        "/bulk/{job}": bulk.show,
        "/bulk/{job}/report": bulk.report,
        "/writes": writes.show_all,
    }
    done = {
        "/inbox": action(inbox.act),
        "/sync": action(organizations.sync),
        "/check": action(organizations.check),
        "/key": action(organizations.rotate),
        "/market": action(organizations.change),
        "/schedule": action(organizations.schedule),
        "/enable": action(organizations.enable),
        "/disable": action(organizations.disable),
        "/remove": action(organizations.remove),
        "/ship/{order}": action(shipping.ship),
        "/ship/{order}/lines/{line}": action(shipping.identify),
        "/orders/{order}/state": action(orders.move),
        "/orders/{order}/refresh": action(orders.refresh),
        "/orders/{order}/lines/{line}": action(orders.register),
        "/orders/{order}/invoice": action(orders.invoice, max_bytes=max_invoice_form_bytes),
        "/labels/fetch": action(shipments.fetch_labels),
        "/labels/{resource}/{shipment}": action(orders.fetch_label),
        "/listings/{listing}": action(listings.update),
        **{path: action(view, max_bytes=bulk.MAX_FILE_BYTES, max_fields=bulk.MAX_FIELDS) for path, view in bulk.FORMS},
        "/bulk/{job}/cancel": action(bulk.cancel),
        "/bulk/{job}/parts/{part}": action(bulk.settle),
        "/writes/{write}": action(writes.settle),
    }
    of_chosen = {
        "accept": shipping.accept,
        "labels": printing.labels,
        "labels/fetch": printing.fetch,
        "pick": printing.pick_list,
        "slips": printing.packing_slips,
    }
    for_many = {name: action(view, max_fields=shipping.MAX_FIELDS) for name, view in of_chosen.items()}
    for_many |= {"views": action(views.save), "views/remove": action(views.remove)}
    of_one = [Route(f"{_OF_ONE}{path}", page(view)) for path, view in shown.items()]
    of_one += [Route(f"{_OF_ONE}{path}", endpoint, methods=["POST"]) for path, endpoint in done.items()]
    return [
        Route("/", page(overview.show)),
        Route("/audit", page(audit.show)),
        Route(endpoints.HERE, page(endpoints.show_all)),
        Route(f"{endpoints.HERE}/{{endpoint}}", page(endpoints.show)),
        Route(f"{endpoints.HERE}/{{endpoint}}", action(endpoints.do), methods=["POST"]),
        Route("/connect", page(organizations.new)),
        Route("/connect", action(organizations.connect), methods=["POST"]),
        Route(find.HERE, page(find.show)),
        Route(find.HERE, action(find.search, for_viewers=True), methods=["POST"]),
        Route(figures.HERE, page(figures.show)),
        Route(f"{figures.HERE}/csv", page(figures.export)),
        Route("/inbox", page(inbox.show)),
        Route("/inbox/count", page(inbox.count)),
        Route("/ship", page(shipping.show)),
        Route("/ship/outcomes", page(shipping.outcomes)),
        *(Route(f"/ship/{name}", endpoint, methods=["POST"]) for name, endpoint in for_many.items()),
        *of_one,
        Route(EVENTS, _events),
        Route("/login", login.show),
        Route("/login", login.log_in, methods=["POST"]),
        Route("/login/oidc", login.begin_at_provider),
        Route(CALLBACK, login.finish_at_provider),
        Route("/logout", login.log_out, methods=["POST"]),
        Route("/health", _health),
        Mount("/static", StaticFiles(packages=[("backmarket.console", "static")])),
    ]


async def _events(request: Request) -> Response:
    """Changes, as server-sent events."""
    auth: Auth = request.app.state.auth
    events: EventStream = request.app.state.events
    person = await auth.identify(request)
    if person is None:
        return PlainTextResponse("Log in first.", HTTPStatus.UNAUTHORIZED)
    stream = events.follow(person)
    first = await anext(stream, None)
    if first is None:
        return PlainTextResponse("Too many pages follow changes. Close one.", HTTPStatus.SERVICE_UNAVAILABLE)
    told = _while_logged_in(request, first, stream)
    return StreamingResponse(told, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _while_logged_in(request: Request, first: str, stream: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """The stream, which ends soon after the session does, or when that cannot be read."""
    auth: Auth = request.app.state.auth
    checked = monotonic()
    async with aclosing(stream):
        yield first
        async for each in stream:
            if monotonic() - checked >= CHECK_SECONDS:
                if not await auth.goes_on(request):
                    return
                checked = monotonic()
            yield each


async def _health(_: Request) -> Response:
    """The liveness check: the process answers; nothing else is checked."""
    return PlainTextResponse("ok")


async def _refused(request: Request, error: Exception) -> Response:
    """A request that Starlette or a page refuses: the page does not exist, or does not take such a form."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for that
    person = None
    if not request.url.path.startswith("/static/"):
        with suppress(BackMarketError):  # the page names no person then
            person = await request.app.state.auth.identify(request)
    why = error.detail if error.status_code != HTTPStatus.NOT_FOUND or " " in error.detail else ""
    pages: Pages = request.app.state.pages
    return pages.refuse(request, person, error.status_code, _WORDS.get(why or "Not Found", why))


async def _unidentified(request: Request, error: Exception) -> Response:
    """A session that cannot be read or stored: PostgreSQL does not answer, or its tables are of another version."""
    assert isinstance(error, BackMarketError)  # noqa: S101 - it is registered for that
    log.warning("console.session_failed", code=error.code, error=error.message)
    pages: Pages = request.app.state.pages
    why = "The console cannot check who you are: PostgreSQL is unreachable, or has other tables. Try again in a minute."
    response = pages.refuse(request, None, HTTPStatus.SERVICE_UNAVAILABLE, why)
    response.headers["Retry-After"] = "60"
    return response


async def _broken(_: Request, __: Exception) -> Response:
    """An internal error: the log has its place; the page gives no details."""
    return PlainTextResponse("Internal error. See the console's log, then reload the page.", 500)


_WORDS = {
    "Not Found": "This page does not exist.",
    "Method Not Allowed": "This page accepts no form. Reload it.",
}
