"""A FastAPI application: a seller's status and orders, syncs on demand, and changes as server-sent events.

    uvicorn --app-dir examples fastapi_app:app

Takes the `BACKMARKET_*` settings from the environment, and for the webhook `SHOP_WEBHOOK_SECRET`, which `backmarket
events add` prints. `AsyncBackMarket` runs its calls in threads of its own, so that the event loop goes on. Put your own
authorization before the routes: an organization is your customer.
"""

from __future__ import annotations

import json
import os
from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, StreamingResponse
from standardwebhooks import Webhook, WebhookVerificationError

from backmarket import AsyncBackMarket, BackMarketError, Change, Changes
from backmarket.errors import ConnectionNotFound, UsageError

FOLLOWERS = 50
"""Browsers that may follow at once: each holds a thread and a connection to PostgreSQL."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One `AsyncBackMarket` for the process; it opens nothing before its first use."""
    async with AsyncBackMarket() as bm:
        app.state.bm = bm
        app.state.followers = Semaphore(FOLLOWERS)
        yield


async def backmarket(request: Request) -> AsyncBackMarket:
    """The process's own, for a route."""
    bm: AsyncBackMarket = request.app.state.bm
    return bm


BM = Annotated[AsyncBackMarket, Depends(backmarket)]
app = FastAPI(lifespan=lifespan)


@app.exception_handler(BackMarketError)
async def refused(_: Request, error: BackMarketError) -> JSONResponse:
    """What could not be done, in words: they never hold a key or a customer's data."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, UsageError):
        status = HTTPStatus.NOT_FOUND if isinstance(error, ConnectionNotFound) else HTTPStatus.BAD_REQUEST
    return JSONResponse({"code": error.code, "error": str(error)}, status)


@app.get("/sellers/{organization_id}")
async def get_seller(organization_id: str, bm: BM) -> Any:
    """The connection, and the status of each resource."""
    status = await bm.get_connection_status(organization_id)
    resources = {
        name: {"last_success_at": each.last_success_at, "error": each.error} for name, each in status.resources.items()
    }
    return {"health": status.connection.health, "resources": resources}


@app.get("/sellers/{organization_id}/orders")
async def get_orders(organization_id: str, bm: BM, state: int | None = None, cursor: str | None = None) -> Any:
    """A page of orders, newest first."""
    page = await bm.get_orders(organization_id, state=state, cursor=cursor)
    orders = [{"order_id": each.order_id, "state": each.state, "price": each.price} for each in page]
    return {"orders": orders, "next_cursor": page.next_cursor}


@app.post("/sellers/{organization_id}/sync", status_code=HTTPStatus.ACCEPTED)
async def sync(organization_id: str, bm: BM) -> Any:
    """Ask for a sync and return: a worker does it. `/changes` tells what it finds, `/sellers/...` when it is done."""
    handle = await bm.sync_orders(organization_id)
    return {"request": handle.blocking.number, "nudged": handle.blocking.nudged}


@app.post("/hooks/backmarket", status_code=HTTPStatus.NO_CONTENT)
async def hook(request: Request) -> None:
    """What `backmarket events add https://.../hooks/backmarket` has called at each event.

    A call may come again, after newer ones: keep its id where your work is, in one transaction.
    """
    try:
        event = Webhook(os.environ["SHOP_WEBHOOK_SECRET"]).verify(await request.body(), dict(request.headers))["data"]
    except WebhookVerificationError:
        raise HTTPException(HTTPStatus.UNAUTHORIZED) from None
    print("called", event["id"], event["organization_id"], event["resource"], event["external_id"], event["kind"])


@app.get("/sellers/{organization_id}/changes")
async def get_changes(
    organization_id: str, bm: BM, request: Request, last_event_id: Annotated[str, Header()] = "now"
) -> StreamingResponse:
    """Changes as they happen. A browser that comes back names the last event that it saw, and misses none."""
    missed = await bm.changes(last_event_id, organization_id=organization_id)
    events = follow(bm, organization_id, missed, request.app.state.followers)
    return StreamingResponse(events, media_type="text/event-stream")


async def follow(
    bm: AsyncBackMarket, organization_id: str, missed: Changes, followers: Semaphore
) -> AsyncIterator[str]:
    """What was missed, and each change from then on, for as long as the browser stays."""
    yield ": following\n\n"
    for change in missed:
        yield as_event(change)
    async with followers, aclosing(bm.watch(missed.next_cursor, organization_id=organization_id)) as changes:
        async for change in changes:
            yield as_event(change)


def as_event(change: Change) -> str:
    """A change in the form of server-sent events."""
    data = asdict(change)
    return f"id: {data.pop('cursor')}\nevent: {change.kind}\ndata: {json.dumps(jsonable_encoder(data))}\n\n"
