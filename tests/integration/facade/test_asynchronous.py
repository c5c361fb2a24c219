"""`AsyncBackMarket` in an event loop: under load in FastAPI, cancelled, waiting and following."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest

from backmarket import AsyncBackMarket, Change
from backmarket.errors import InvalidArgument, WaitTimeout
from backmarket.settings import Settings
from examples import fastapi_app
from tests.support.databases import open_connection
from tests.support.sellers import Shop, environment
from tests.support.waiting import wait_until

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backmarket-listen'"
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def bm(shop: Shop) -> Callable[..., AsyncBackMarket]:
    return lambda **options: AsyncBackMarket(shop.settings, **options)


@contextmanager
def locked(settings: Settings, table: str) -> Iterator[None]:
    """No other transaction reads or writes a table."""
    with open_connection(settings.need("database_url")) as connection:
        connection.execute(f"LOCK TABLE backmarket.{table}".encode())
        yield


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


async def turns(number: int) -> None:
    """So many turns of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)


def threads(name: str) -> int:
    return sum(each.name.startswith(name) for each in threading.enumerate())


@asynccontextmanager
async def fastapi(settings: Settings, patch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The example, in this event loop."""
    for name, value in environment(settings).items():
        patch.setenv(name, value)
    transport = httpx.ASGITransport(fastapi_app.app)
    async with (
        fastapi_app.lifespan(fastapi_app.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop", timeout=None) as client,
    ):
        yield client


def test_fastapi_goes_on_while_two_hundred_requests_wait_for_postgresql(
    shop: Shop, org: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in turns of the loop: it takes a thousand while each thread is stuck in a query."""
    shop.sell(org, orders=3)
    shop.sync(org)

    async def play() -> None:
        async with fastapi(shop.settings, monkeypatch) as client:
            with locked(shop.settings, "orders"):
                asked = [asyncio.create_task(client.get(f"/sellers/{org}/orders")) for _ in range(200)]
                size = shop.settings.database_pool_size
                await until(lambda: shop.one(BLOCKED) == size, "as many queries as there are threads")
                await turns(1000)
                assert (await client.get("/nothing")).status_code == 404
                assert shop.one(BLOCKED) == threads("backmarket_") == size
                assert not any(each.done() for each in asked)
            pages = [response.json()["orders"] for response in await asyncio.gather(*asked)]
            assert pages == [pages[0]] * 200
            assert pages[0]

    asyncio.run(play())


def test_waiting_takes_no_thread(shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]) -> None:
    shop.sell(org, orders=3)
    shop.sync(org)

    async def play() -> None:
        async with bm(threads=1) as backmarket:
            handle = await backmarket.sync_orders(org)
            with pytest.raises(WaitTimeout, match="No worker has claimed the sync within 0 s"):
                await handle.wait(timeout=0)
            waiting = [asyncio.create_task(handle.wait(timeout=600)) for _ in range(20)]
            assert len(await backmarket.get_orders(org)) > 0
            assert (await backmarket.run(handle.blocking.status)).failures == 0
            await asyncio.to_thread(shop.run_slice, org, ask=False)
            outcomes = await asyncio.gather(*waiting)
            assert {outcome.rows_created for outcome in outcomes} == {0}

    asyncio.run(play())


def test_a_cancelled_call_that_has_begun_runs_to_its_end_and_one_that_has_not_is_not_made(
    shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]
) -> None:
    shop.sell(org, orders=0)

    async def play() -> None:
        async with bm(threads=1) as backmarket:
            with locked(shop.settings, "schedule"):
                calls = [
                    asyncio.create_task(backmarket.update_schedule(resource, interval=7777))
                    for resource in ("orders", "listings")
                ]
                await until(lambda: shop.one(BLOCKED) == 1, "the first one has begun")
                for call in calls:
                    call.cancel()
                ends = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(end) for end in ends] == [asyncio.CancelledError] * 2

    asyncio.run(play())
    changed = "SELECT resource FROM backmarket.schedule WHERE interval_seconds = 7777"
    assert shop.execute(changed) == [("orders",)]


def test_a_name_holds_in_its_task_across_awaits(shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]) -> None:
    people = {f"{org}/1": "anna", f"{org}/2": "bert"}
    for organization in people:
        shop.sell(organization, orders=0)

    async def play() -> set[tuple[str | None, str | None]]:
        async with bm() as backmarket:
            met = asyncio.Barrier(2)

            async def act(organization: str, name: str) -> None:
                with backmarket.acting_as(name):
                    for interval in (100, 200):
                        await met.wait()
                        await backmarket.update_schedule("orders", organization_id=organization, interval=interval)

            await asyncio.gather(*(act(*each) for each in people.items()))
            entries = [entry async for entry in backmarket.iter_audit(what="schedule.change")]
            assert len(entries) == 4
            return {(entry.organization_id, entry.actor) for entry in entries}

    assert asyncio.run(play()) == set(people.items())


def test_lists_come_whole_in_the_same_order(shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]) -> None:
    shop.sell(org, orders=30)
    shop.sync(org)

    async def play() -> tuple[list[int], list[int]]:
        async with bm() as backmarket:
            page = await backmarket.get_orders(org, limit=1000)
            with pytest.raises(InvalidArgument, match="limit"):
                await anext(backmarket.iter_orders(org, limit=0))
            return [each.order_id for each in page], [
                each.order_id async for each in backmarket.iter_orders(org, limit=7)
            ]

    page, rows = asyncio.run(play())
    assert rows == page
    assert len(rows) > 7


class TestWatch:
    """Each has a thread and a connection of its own, which go with it."""

    def gone(self, shop: Shop) -> Coroutine[Any, Any, None]:
        return until(lambda: shop.one(LISTENING) == threads("backmarket-watch") == 0, "thread and connection are gone")

    async def begun(self, shop: Shop, org: str, changes: AsyncGenerator[Change, None]) -> Change:
        """The first event, which happens after it listens."""
        first = asyncio.ensure_future(anext(changes))
        await until(lambda: shop.one(LISTENING) == 1, "it listens")
        await asyncio.to_thread(event, shop, org, "1")
        return await first

    def test_events_come_in_order_until_it_is_closed(
        self, shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]
    ) -> None:
        async def play() -> None:
            async with bm(threads=1) as backmarket:
                async with aclosing(backmarket.watch(poll=0.1)) as changes:
                    assert (await self.begun(shop, org, changes)).external_id == "1"
                    await asyncio.to_thread(event, shop, org, "2", "3")
                    assert [(await anext(changes)).external_id for _ in range(2)] == ["2", "3"]
                await self.gone(shop)

        asyncio.run(play())

    def test_a_cancelled_reader_leaves_nothing(self, shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]) -> None:
        async def play() -> None:
            async with bm() as backmarket:
                changes = backmarket.watch(poll=600)
                waiting = asyncio.ensure_future(anext(changes))
                await until(lambda: shop.one(LISTENING) == 1, "it listens")
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await self.gone(shop)

        asyncio.run(play())

    def test_closing_ends_it(self, shop: Shop, org: str, bm: Callable[..., AsyncBackMarket]) -> None:
        async def play() -> None:
            async with bm() as backmarket:
                changes = backmarket.watch(poll=600)
                waiting = asyncio.ensure_future(anext(changes))
                await until(lambda: shop.one(LISTENING) == 1, "it listens")
            with pytest.raises(StopAsyncIteration):
                await waiting
            await self.gone(shop)

        asyncio.run(play())

    def test_a_bad_cursor_is_an_error_at_the_first_step(self, bm: Callable[..., AsyncBackMarket]) -> None:
        async def play() -> None:
            async with bm() as backmarket:
                with pytest.raises(InvalidArgument, match="not a cursor"):
                    await anext(backmarket.watch("never"))

        asyncio.run(play())


def event(shop: Shop, org: str, *ids: str) -> None:
    for external_id in ids:
        shop.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
            " VALUES (%s, 'orders', %s, 'updated') RETURNING id",
            org,
            external_id,
        )
