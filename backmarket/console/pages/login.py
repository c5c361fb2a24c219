"""Logging in and out."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backmarket.console import paths
from backmarket.console.access.auth import CSRF_FIELD, Auth
from backmarket.console.access.oidc import LoginRefused
from backmarket.console.forms import read_form
from backmarket.console.rendering import Pages

TRIES_AT_ONCE = 2
"""Maximum number of passwords compared at once: each takes 32 MiB and a tenth of a second."""
MAX_TRIES_WAITING = 20
"""Maximum number of tries that wait for their comparison: about a second."""
MAX_LOGIN_FORM_BYTES = 16 * 1024
"""Maximum size of a form of these pages, in bytes."""


async def show(request: Request) -> Response:
    """The login form; an authenticated user is redirected."""
    auth: Auth = request.app.state.auth
    if await auth.identify(request) is not None or not auth.has_login:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return _form(request)


async def log_in(request: Request) -> Response:
    """Check name and password; a refusal does not say which of them is wrong."""
    auth: Auth = request.app.state.auth
    if not auth.users:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    async with read_form(request, max_bytes=MAX_LOGIN_FORM_BYTES) as form:
        name, password, token = (str(form.get(each, "")) for each in ("name", "password", CSRF_FIELD))
        wanted = str(form.get("next", ""))
    await auth.identify(request)
    if not auth.is_ours(request, token):
        return _form(request, "The page has expired. Log in again.", HTTPStatus.FORBIDDEN, wanted)
    name = name.strip()[:100]
    limiter: CapacityLimiter = request.app.state.passwords_at_once
    if limiter.statistics().tasks_waiting >= MAX_TRIES_WAITING:
        why = "Too many people log in at the moment. Try again in a few seconds."
        return _form(request, why, HTTPStatus.SERVICE_UNAVAILABLE, wanted)
    wait = auth.reserve(request, name)
    if wait:
        await to_thread.run_sync(auth.refuse_login, request, name if name in auth.users else None, "too_many_tries")
        why = f"Too many failed attempts. Wait {ceil(wait / 60)} min."
        response = _form(request, why, HTTPStatus.TOO_MANY_REQUESTS, wanted)
        response.headers["Retry-After"] = str(ceil(wait))
        return response
    if not await to_thread.run_sync(auth.log_in, request, name, password, limiter=limiter):
        return _form(request, "The name or the password is wrong.", HTTPStatus.UNAUTHORIZED, wanted)
    return RedirectResponse(paths.local(wanted), HTTPStatus.SEE_OTHER)


async def begin_at_provider(request: Request) -> Response:
    """Send the browser to the OpenID provider."""
    auth: Auth = request.app.state.auth
    if auth.provider is None:
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    wanted = paths.local(request.query_params.get("next"))
    try:
        return await auth.provider.begin(request, wanted)
    except LoginRefused as refused:
        return _form(request, str(refused), HTTPStatus.BAD_GATEWAY, wanted)


async def finish_at_provider(request: Request) -> Response:
    """The browser comes back from the OpenID provider, with a code."""
    auth: Auth = request.app.state.auth
    if auth.provider is None:
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    try:
        person, wanted = await auth.provider.finish(request)
    except LoginRefused as refused:
        await to_thread.run_sync(auth.refuse_login, request, refused.person, refused.code)
        return _form(request, str(refused), HTTPStatus.FORBIDDEN)
    await to_thread.run_sync(auth.log_in_from_provider, request, person)
    return RedirectResponse(wanted, HTTPStatus.SEE_OTHER)


async def log_out(request: Request) -> Response:
    """End the session."""
    auth: Auth = request.app.state.auth
    async with read_form(request, max_bytes=MAX_LOGIN_FORM_BYTES) as form:
        token = str(form.get(CSRF_FIELD, ""))
    await auth.identify(request)
    if auth.is_ours(request, token):
        await to_thread.run_sync(auth.log_out, request)
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


def _form(
    request: Request, fault: str | None = None, status: int = HTTPStatus.OK, wanted: str | None = None
) -> Response:
    pages: Pages = request.app.state.pages
    wanted = paths.local(wanted or request.query_params.get("next"))
    auth: Auth = request.app.state.auth
    provider = auth.provider.name if auth.provider else None
    return pages.render(
        request, "login.html", status=status, person=None, fault=fault, wanted=wanted, provider=provider,
        with_password=bool(auth.users),
    )  # fmt: skip
