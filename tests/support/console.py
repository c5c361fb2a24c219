"""The console in tests: a seller that is synced, and somebody who looks at pages and sends their forms."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from typing import Any

from pydantic import SecretStr
from starlette.testclient import TestClient

from backmarket import BackMarket
from backmarket.console.access import passwords
from backmarket.console.access.users import Role
from backmarket.console.app import create_app
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from tests.support.databases import as_process, own_redis
from tests.support.sellers import Shop
from tests.support.settings import fresh_settings

PASSWORD = "correct horse battery"
_HASH = passwords.hashed(PASSWORD, cost=2**10)
OPERATOR, VIEWER = f"anna:{Role.OPERATOR}:{_HASH}", f"otto:{Role.VIEWER}:{_HASH}"
HOST = "http://127.0.0.1"
ALL = ("orders", "listings", "deliveries", "returns")


def console_settings(stack: Stack, database_url: str, s3_url: str, **changes: Any) -> Settings:
    """Settings of a console with two users, and a bucket of its own."""
    at = stack.addresses
    values: dict[str, Any] = {"console_users": (OPERATOR, VIEWER), "rate_limit": 100_000} | changes
    return fresh_settings(
        database_url=database_url,
        redis_url=own_redis(stack),
        s3_endpoint_url=s3_url,
        s3_access_key=at.s3_access_key,
        s3_secret_key=at.s3_secret_key,
        s3_bucket=f"console-{secrets.token_hex(4)}",
        **values,
    )


@contextmanager
def opened_shop(settings: Settings, sandbox: SandboxControl, organization: str, *, orders: int = 30) -> Iterator[Shop]:
    """A seller whose rows are stored, and a bucket."""
    shop = Shop(settings, sandbox, ALL)
    shop.services.bucket.ensure()
    shop.sell(organization, orders=orders, listings=12, deliveries=6, returns=4)
    for resource in ALL:
        shop.sync(organization, resource)
    yield shop
    shop.services.close()


class Visitor:
    """Somebody with a browser, without its scripts. The console connects with a login of its own.

    Args:
        settings: of the console.
        url: where it is reached.
        client: the address of the visitor's machine.
    """

    def __init__(self, settings: Settings, *, url: str = HOST, client: tuple[str, int] = ("127.0.0.1", 4000)) -> None:
        database_url = SecretStr(as_process(settings.need("database_url"), "console"))
        settings = settings.model_copy(update={"database_url": database_url})
        self.bm = BackMarket(settings)
        self.app = create_app(self.bm, settings)
        self.http = TestClient(self.app, base_url=url, client=client, follow_redirects=False)
        self.http.__enter__()

    def close(self) -> None:
        """Leave."""
        self.http.__exit__(None, None, None)
        self.bm.close()

    def log_in(self, name: str = "anna", password: str = PASSWORD, **fields: Any) -> Any:
        """Send the login's form."""
        return self.send("/login", page="/login", name=name, password=password, **fields)

    def get(self, path: str, **headers: str) -> Any:
        """A page."""
        return self.http.get(path, headers=headers)

    def text(self, path: str, **headers: str) -> str:
        """A page that is there, as a person reads it: without its tags."""
        found = self.get(path, **headers)
        assert found.status_code == 200, (found.status_code, found.text)
        return words(found.text)

    def token(self, page: str = "/") -> str:
        """What the forms of a page carry."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(page).text)
        assert found, f"{page} has no form"
        return found[1]

    def send(
        self,
        path: str,
        *,
        page: str = "/",
        files: Mapping[str, Any] | None = None,
        partial: bool = False,
        **fields: Any,
    ) -> Any:
        """Send a form, with the token of a page."""
        headers = {"HX-Request": "true"} if partial else {}
        return self.http.post(path, data={"csrf": self.token(page), **fields}, files=files, headers=headers)

    def do(self, path: str, *, page: str = "/", **fields: Any) -> str:
        """Send a form that does what it says; what the next page says."""
        sent = self.send(path, page=page, **fields)
        assert sent.status_code == 303, (sent.status_code, words(sent.text))
        return self.text(sent.headers["location"].partition("#")[0])


Open = Callable[..., Visitor]
"""Opens a console over the database of a module."""


def words(html: str) -> str:
    """What a page says, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
