"""The console's two cookies: the browser's token, and for some minutes what the next page needs, signed."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from copy import deepcopy
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backmarket.settings import Settings

NEXT_PAGE_SECONDS = 600
"""Seconds for which the second cookie is valid: a login at an OpenID provider ends within them."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_IN_SCOPE = "backmarket.browser"


class Browser:
    """The browser that sends a request, by its token: the key of its session and of its CSRF tokens.

    Args:
        given: the cookie's value; anything but a token of ours counts as none.
    """

    def __init__(self, given: str) -> None:
        self.given = given if _TOKEN.fullmatch(given) else None
        self.max_age: int | None = None
        self._token = self.given

    @property
    def token(self) -> str:
        """The token; a browser that has none gets one with the answer, until it is closed."""
        if self._token is None:
            self._token = new_token()
        return self._token

    @property
    def has_new_token(self) -> bool:
        """Whether the answer has to set the cookie."""
        return self._token != self.given

    def renew(self, token: str, *, max_age: int | None = None) -> None:
        """Give the browser another token.

        Args:
            token: the new token, from `new_token`.
            max_age: seconds for which the browser keeps it; None: until it is closed.
        """
        self._token, self.max_age = token, max_age


def browser_of(connection: HTTPConnection) -> Browser:
    """The browser that sends a request."""
    browser: Browser = connection.scope[_IN_SCOPE]
    return browser


def new_token() -> str:
    """A random token of 256 bits."""
    return secrets.token_urlsafe(32)


def signing_key(settings: Settings) -> bytes:
    """The key of what all processes of the console sign, from `LIMITER_KEY`, which they share.

    Raises:
        SettingsError: if that is not set.
    """
    return hmac.new(settings.need("limiter_key").encode(), b"backmarket console", hashlib.sha256).digest()


class Cookies:
    """Reads and sets the cookies. `request.session` is what the next page needs, bound to the browser's token.

    Args:
        app: the application that answers.
        name: the name of the token's cookie.
        key: signs the other one.
        is_https: whether browsers reach the console only by https.
    """

    def __init__(self, app: ASGIApp, *, name: str, key: bytes, is_https: bool) -> None:
        self._app = app
        self._name, self._next_page = name, f"{name}_next_page"
        self._key = key
        self._flags = "path=/; httponly; samesite=lax" + ("; secure" if is_https else "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and set in its answer the cookies that changed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookies = HTTPConnection(scope).cookies
        browser = scope[_IN_SCOPE] = Browser(cookies.get(self._name, ""))
        given = cookies.get(self._next_page)
        scope["session"] = self._read(browser, given)
        before = deepcopy(scope["session"])

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers, values = MutableHeaders(scope=message), scope["session"]
                if values and values != before:
                    self._add(headers, self._next_page, self._serializer(browser).dumps(values), NEXT_PAGE_SECONDS)
                elif not values and given is not None:
                    self._add(headers, self._next_page, "", 0)
                if browser.has_new_token:
                    self._add(headers, self._name, browser.token, browser.max_age)
            await send(message)

        await self._app(scope, receive, send_with_cookies)

    def _read(self, browser: Browser, given: str | None) -> dict[str, Any]:
        if not given or browser.given is None:
            return {}
        try:
            found = self._serializer(browser).loads(given, max_age=NEXT_PAGE_SECONDS)
        except BadData:
            return {}
        return dict(found)

    def _add(self, headers: MutableHeaders, name: str, value: str, max_age: int | None) -> None:
        age = "" if max_age is None else f"; max-age={max_age}"
        headers.append("set-cookie", f"{name}={value}; {self._flags}{age}")

    def _serializer(self, browser: Browser) -> URLSafeTimedSerializer:
        key = hmac.new(self._key, browser.token.encode(), hashlib.sha256).digest()
        return URLSafeTimedSerializer(key, salt="next page")
