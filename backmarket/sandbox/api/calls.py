"""One request in the sandbox."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from backmarket.sandbox.api.responses import Refused, refusal

if TYPE_CHECKING:
    from backmarket.sandbox.world.fault_rules import Fault
    from backmarket.sandbox.world.sellers import Seller
    from backmarket.sandbox.world.world import World


class CallerGone(Exception):
    """The caller disconnected while sending: no answer is needed."""


class Call:
    """A request, read only as far as its operation needs."""

    def __init__(self, world: World, scope: Scope, receive: Receive) -> None:
        self.world = world
        self.scope = scope
        self.receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.fault: Fault | None = None
        self.account = world.seller_of(self.headers.get(b"authorization"))
        client = scope.get("client")
        self.address: str = client[0] if client else "none"

    @property
    def seller(self) -> Seller:
        """The account whose token the request carries; operations run after that check."""
        if self.account is None:
            raise RuntimeError("no operation runs without an account")
        return self.account

    @cached_property
    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one, the last value."""
        text = self.scope["query_string"].decode("latin-1")
        return dict(parse_qsl(text, keep_blank_values=True)) if text else {}

    @property
    def page(self) -> int | None:
        """The requested page, if it is a number."""
        text = self.query.get("page", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

    def turn_to_page(self, page: int) -> None:
        """Answer this page instead of the requested one."""
        self.query["page"] = str(page)

    @property
    def origin(self) -> str:
        """Scheme and host as in the request."""
        host = self.headers.get(b"host", b"localhost").decode("latin-1")
        return f"{self.scope['scheme']}://{host}"

    def path_number(self, name: str) -> int:
        """A whole number in the path.

        Raises:
            Refused: if it is not a whole number (404).
        """
        text: str = self.scope["path_params"][name]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Refused(refusal(404, "Not found.", code="not-found"))
        return int(text)

    async def body(self) -> bytes:
        """The whole request body.

        Raises:
            CallerGone: if the caller disconnects before its end.
        """
        parts: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise CallerGone
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def json_object(self, *, shape: str = "v1") -> dict[str, Any]:
        """The body as a JSON object.

        Args:
            shape: of the operation's refusals.

        Raises:
            Refused: if it is not a JSON object, or its Content-Type is not JSON (400).
        """
        content_type = self.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if content_type != b"application/json":
            raise Refused(
                refusal(400, "Content-Type must be application/json", code="invalid-content-type", shape=shape)
            )
        try:
            value = msgspec.json.decode(await self.body())
        except msgspec.DecodeError:
            raise Refused(refusal(400, "The body is not JSON", code="invalid-json", shape=shape)) from None
        if not isinstance(value, dict):
            raise Refused(refusal(400, "The body must be a JSON object", code="invalid-json", shape=shape))
        return value
