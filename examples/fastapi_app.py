"""A FastAPI application: a seller's status and orders, syncs on demand, and changes as server-sent events.

    uvicorn --app-dir examples fastapi_app:app

Takes the `BACKMARKET_*` settings from the environment. The routes are plain functions, which FastAPI runs in threads:
`BackMarket` may be shared between them. Put your own authorization before them: an organization is your customer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from threading import Event
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, StreamingResponse

from backmarket import BackMarket, BackMarketError
from backmarket.changes import Change
from backmarket.errors import ConnectionNotFound, UsageError

FOLLOWERS = 50
"""Browsers that may follow at once: each holds a thread and a connection to PostgreSQL."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One `BackMarket` for the process; it opens nothing before its first use."""
    with BackMarket() as bm:
        app.state.bm = bm
        app.state.followers = CapacityLimiter(FOLLOWERS)
        yield


def backmarket(request: Request) -> BackMarket:
    """The process's own, for a route."""
    bm: BackMarket = request.app.state.bm
    return bm


BM = Annotated[BackMarket, Depends(backmarket)]
app = FastAPI(lifespan=lifespan)


@app.exception_handler(BackMarketError)
def refused(_: Request, error: BackMarketError) -> JSONResponse:
    """What could not be done, in words: they never hold a key or a customer's data."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, UsageError):
        status = HTTPStatus.NOT_FOUND if isinstance(error, ConnectionNotFound) else HTTPStatus.BAD_REQUEST
    return JSONResponse({"code": error.code, "error": str(error)}, status)


@app.get("/sellers/{organization_id}")
def get_seller(organization_id: str, bm: BM) -> Any:
    """The connection, and the status of each resource."""
    status = bm.get_connection_status(organization_id)
    resources = {
        name: {"last_success_at": each.last_success_at, "error": each.error} for name, each in status.resources.items()
    }
    return {"health": status.connection.health, "resources": resources}


@app.get("/sellers/{organization_id}/orders")
def get_orders(organization_id: str, bm: BM, state: int | None = None, cursor: str | None = None) -> Any:
    """A page of orders, newest first."""
    page = bm.get_orders(organization_id, state=state, cursor=cursor)
    orders = [{"order_id": each.order_id, "state": each.state, "price": each.price} for each in page]
    return {"orders": orders, "next_cursor": page.next_cursor}


@app.post("/sellers/{organization_id}/sync", status_code=HTTPStatus.ACCEPTED)
def sync(organization_id: str, bm: BM) -> Any:
    """Ask for a sync and return: a worker does it. `/changes` tells what it finds, `/sellers/...` when it is done."""
    handle = bm.sync_orders(organization_id)
    return {"request": handle.number, "nudged": handle.nudged}


@app.get("/sellers/{organization_id}/changes")
def get_changes(
    organization_id: str, bm: BM, request: Request, last_event_id: Annotated[str, Header()] = "now"
) -> StreamingResponse:
    """Changes as they happen. A browser that comes back names the last event that it saw, and misses none."""
    stop = Event()
    changes = bm.watch(after=last_event_id, organization_id=organization_id, stop=stop)
    events = follow(changes, stop, request.app.state.followers)
    return StreamingResponse(events, media_type="text/event-stream")


async def follow(changes: Iterator[Change], stop: Event, followers: CapacityLimiter) -> AsyncIterator[str]:
    """Wait for each change in a thread, for as long as the browser stays; then the thread ends, too."""
    try:
        yield ": following\n\n"
        while True:
            change = await to_thread.run_sync(next, changes, None, abandon_on_cancel=True, limiter=followers)
            if change is None:
                return
            yield as_event(change)
    finally:
        stop.set()


def as_event(change: Change) -> str:
    """A change in the form of server-sent events."""
    data = asdict(change)
    return f"id: {data.pop('cursor')}\nevent: {change.kind}\ndata: {json.dumps(jsonable_encoder(data))}\n\n"
