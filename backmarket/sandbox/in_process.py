"""The sandbox without a socket: an httpx transport, for unit tests."""

from __future__ import annotations

import asyncio

import httpx

from backmarket.sandbox.api.app import create_app
from backmarket.sandbox.world.world import World


class InProcessTransport(httpx.BaseTransport):
    """Lets an ordinary `httpx.Client` call a world in the same process; safe to use from several threads.

    Faults that break a connection raise the same httpx errors as on a socket.

    Args:
        world: the world that answers.
    """

    def __init__(self, world: World) -> None:
        self._transport = httpx.ASGITransport(create_app(world))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, in its own event loop."""
        try:
            return asyncio.run(self._answer(request))
        except ConnectionResetError as error:
            raise httpx.ReadError(str(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("the sandbox did not answer in time", request=request) from error

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        limit = request.extensions.get("timeout", {}).get("read")
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        async with asyncio.timeout(limit):
            response = await self._transport.handle_async_request(copy)
            content = await response.aread()
        return httpx.Response(
            response.status_code, headers=response.headers, stream=httpx.ByteStream(content), request=request
        )
