"""`AsyncBackMarket`: the `BackMarket` object for coroutines, whose calls run in threads of its own.

Each method is derived from `BackMarket`'s: a line names it, and signature, types and docstring are the original's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from itertools import islice
from threading import Event
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from backmarket.bulk.handle import BulkHandle
from backmarket.facade import BackMarket
from backmarket.queries.pagination import MAX_PAGE_SIZE
from backmarket.settings import Settings, load_settings
from backmarket.sync.handle import SyncHandle
from backmarket.work.wait import Poll, read
from backmarket.writes.handle import WriteHandle

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
H = TypeVar("H")

Method = Callable[Concatenate[BackMarket, P], T]


class AsyncHandle(Generic[H, Q, T]):
    """A queued sync, write or bulk job. Workers process it; waiting is optional.

    Attributes:
        blocking: the handle of `BackMarket`, for its attributes; run its methods by `AsyncBackMarket.run`.
    """

    def __init__(self, bm: AsyncBackMarket, blocking: H, poll: Callable[Concatenate[H, Q], Poll[T]]) -> None:
        self.blocking = blocking
        self._bm = bm
        self._poll = poll

    async def wait(self, *arguments: Q.args, **options: Q.kwargs) -> T:
        """Wait until it has ended; arguments and errors are those of the blocking handle's `wait`.

        Between two reads of its row it takes no thread. If the waiting is cancelled, the workers continue.
        """
        reads = self._poll(self.blocking, *arguments, **options)
        while True:
            pause, outcome = await self._bm.run(read, reads)
            if outcome is not None:
                return outcome
            await asyncio.sleep(pause)


def _blocking(
    method: Method[P, T],
) -> Callable[Concatenate[AsyncBackMarket, P], Coroutine[Any, Any, T]]:
    """The method as a coroutine that runs it in a thread."""

    @wraps(method)
    async def call(self: AsyncBackMarket, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await self.run(method, self._bm, *arguments, **options)

    return call


def _handled(
    method: Method[P, H], poll: Callable[Concatenate[H, Q], Poll[T]]
) -> Callable[Concatenate[AsyncBackMarket, P], Coroutine[Any, Any, AsyncHandle[H, Q, T]]]:
    """The same, for a method that returns a handle."""

    @wraps(method)
    async def call(self: AsyncBackMarket, /, *arguments: P.args, **options: P.kwargs) -> AsyncHandle[H, Q, T]:
        return AsyncHandle(self, await self.run(method, self._bm, *arguments, **options), poll)

    return call


def _at_once(method: Method[P, T]) -> Callable[Concatenate[AsyncBackMarket, P], T]:
    """The method itself, for one that does not block."""

    @wraps(method)
    def call(self: AsyncBackMarket, /, *arguments: P.args, **options: P.kwargs) -> T:
        return method(self._bm, *arguments, **options)

    return call


def _rows(method: Method[P, Iterator[T]]) -> Callable[Concatenate[AsyncBackMarket, P], AsyncGenerator[T, None]]:
    """The method as an asynchronous generator, which fetches a page's worth of rows in a thread."""

    @wraps(method)
    async def iterate(self: AsyncBackMarket, /, *arguments: P.args, **options: P.kwargs) -> AsyncGenerator[T, None]:
        rows = method(self._bm, *arguments, **options)
        while batch := await self.run(list, islice(rows, MAX_PAGE_SIZE)):
            for row in batch:
                yield row

    return iterate


def _followed(method: Method[P, Iterator[T]]) -> Callable[Concatenate[AsyncBackMarket, P], AsyncGenerator[T, None]]:
    """The method as an asynchronous generator, which has a thread of its own until it is closed."""

    @wraps(method)
    async def follow(self: AsyncBackMarket, /, *arguments: P.args, **options: P.kwargs) -> AsyncGenerator[T, None]:
        given = options.get("stop")
        stop = options["stop"] = given if isinstance(given, Event) else Event()
        thread = ThreadPoolExecutor(1, "backmarket-watch")
        found: Iterator[T] = iter(())
        self._stops.add(stop)
        try:
            found = await _run_in(thread, method, self._bm, *arguments, **options)
            while (each := await _run_in(thread, next, found, None)) is not None:
                yield each
        finally:
            stop.set()
            thread.submit(next, found, None)  # sees the stop, and closes the connection
            thread.shutdown(wait=False)
            self._stops.discard(stop)

    return follow


async def _run_in(executor: Executor, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Run a call in a thread, with this task's context variables."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(call, *arguments, **options))


class AsyncBackMarket:
    """Back Market seller accounts for coroutines (asyncio); the methods are those of `BackMarket`.

        async with AsyncBackMarket() as bm:
            handle = await bm.sync_orders("shop-1")
            await handle.wait()
            async for order in bm.iter_orders("shop-1"):
                print(order.order_id)

    Calls run in a bounded number of threads; further ones queue. A call that takes long (`download_label`, a large
    file) holds its thread. Each `watch` has one more thread, and a connection to PostgreSQL, until it is closed.

    If the awaiting task is cancelled, a call that has not begun is not made. One that has begun runs to its end, and
    what it stores stays: give writes and files an idempotency key, and repeat the call.

    Opens nothing before its first use. It may be used by one event loop, and is made after a fork.

    Args:
        settings: settings to use instead of the environment's.
        threads: maximum number of calls at once. None: `BACKMARKET_DATABASE_POOL_SIZE`; more would wait for a
            connection to PostgreSQL.

    Raises:
        SettingsError: if a setting is invalid.
    """

    def __init__(self, settings: Settings | None = None, *, threads: int | None = None) -> None:
        settings = settings or load_settings()
        self._bm = BackMarket(settings)
        self._threads = ThreadPoolExecutor(threads or settings.database_pool_size, "backmarket")
        self._stops: set[Event] = set()

    async def __aenter__(self) -> AsyncBackMarket:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every `watch`, wait for the calls that were made, and close every connection. Make a new object then."""
        for stop in self._stops:
            stop.set()
        await asyncio.to_thread(self._threads.shutdown)
        self._bm.close()

    async def run(self, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Run a blocking call in one of the threads, such as a method of a handle: `bm.run(handle.blocking.status)`.

        Args:
            call: what to run; it sees the context variables of this task, such as the name of `acting_as`.
            *arguments: its arguments.
            **options: its keyword arguments.
        """
        return await _run_in(self._threads, call, *arguments, **options)

    acting_as = _at_once(BackMarket.acting_as)
    watch = _followed(BackMarket.watch)

    upsert_connection = _blocking(BackMarket.upsert_connection)
    import_connections = _blocking(BackMarket.import_connections)
    import_convex = _blocking(BackMarket.import_convex)
    update_connection = _blocking(BackMarket.update_connection)
    get_connection_status = _blocking(BackMarket.get_connection_status)
    get_connection_statuses = _blocking(BackMarket.get_connection_statuses)
    get_connections = _blocking(BackMarket.get_connections)
    check_connection = _blocking(BackMarket.check_connection)
    disable_connection = _blocking(BackMarket.disable_connection)
    enable_connection = _blocking(BackMarket.enable_connection)
    disconnect = _blocking(BackMarket.disconnect)
    reconnect = _blocking(BackMarket.reconnect)
    remove_connection = _blocking(BackMarket.remove_connection)
    rotate_keys = _blocking(BackMarket.rotate_keys)

    sync_orders = _handled(BackMarket.sync_orders, SyncHandle.poll)
    sync_listings = _handled(BackMarket.sync_listings, SyncHandle.poll)
    sync_deliveries = _handled(BackMarket.sync_deliveries, SyncHandle.poll)
    sync_returns = _handled(BackMarket.sync_returns, SyncHandle.poll)
    sync = _handled(BackMarket.sync, SyncHandle.poll)
    get_status = _blocking(BackMarket.get_status)
    get_overview = _blocking(BackMarket.get_overview)
    get_lag_history = _blocking(BackMarket.get_lag_history)
    get_throttled = _blocking(BackMarket.get_throttled)
    get_inbox = _blocking(BackMarket.get_inbox)
    count_inbox = _blocking(BackMarket.count_inbox)
    get_inbox_counts = _blocking(BackMarket.get_inbox_counts)
    get_schedule = _blocking(BackMarket.get_schedule)
    update_schedule = _blocking(BackMarket.update_schedule)

    find = _blocking(BackMarket.find)
    get_orders = _blocking(BackMarket.get_orders)
    iter_orders = _rows(BackMarket.iter_orders)
    get_order_by_id = _blocking(BackMarket.get_order_by_id)
    get_orderlines = _blocking(BackMarket.get_orderlines)
    iter_orderlines = _rows(BackMarket.iter_orderlines)
    get_orderlines_by_listing = _blocking(BackMarket.get_orderlines_by_listing)
    get_orderlines_by_state = _blocking(BackMarket.get_orderlines_by_state)
    get_orderline_by_id = _blocking(BackMarket.get_orderline_by_id)
    get_listings = _blocking(BackMarket.get_listings)
    iter_listings = _rows(BackMarket.iter_listings)
    get_listing_by_id = _blocking(BackMarket.get_listing_by_id)
    get_listing_by_sku = _blocking(BackMarket.get_listing_by_sku)
    get_listing_markets = _blocking(BackMarket.get_listing_markets)
    get_deliveries = _blocking(BackMarket.get_deliveries)
    iter_deliveries = _rows(BackMarket.iter_deliveries)
    get_delivery_by_id = _blocking(BackMarket.get_delivery_by_id)
    get_deliveries_by_order_id = _blocking(BackMarket.get_deliveries_by_order_id)
    get_returns = _blocking(BackMarket.get_returns)
    iter_returns = _rows(BackMarket.iter_returns)
    get_return_by_id = _blocking(BackMarket.get_return_by_id)
    get_returns_by_order_id = _blocking(BackMarket.get_returns_by_order_id)
    get_returns_by_orderline_id = _blocking(BackMarket.get_returns_by_orderline_id)

    get_orders_to_ship = _blocking(BackMarket.get_orders_to_ship)
    iter_orders_to_ship = _rows(BackMarket.iter_orders_to_ship)
    get_orders_by_keys = _blocking(BackMarket.get_orders_by_keys)
    count_orders_to_ship = _blocking(BackMarket.count_orders_to_ship)
    get_newest_writes = _blocking(BackMarket.get_newest_writes)
    print_labels = _blocking(BackMarket.print_labels)
    get_figures = _blocking(BackMarket.get_figures)

    get_labels = _blocking(BackMarket.get_labels)
    iter_labels = _rows(BackMarket.iter_labels)
    get_label = _blocking(BackMarket.get_label)
    get_label_url = _blocking(BackMarket.get_label_url)
    get_return_label_url = _blocking(BackMarket.get_return_label_url)
    download_label = _blocking(BackMarket.download_label)
    download_return_label = _blocking(BackMarket.download_return_label)
    fetch_labels = _blocking(BackMarket.fetch_labels)
    sweep_bucket = _blocking(BackMarket.sweep_bucket)

    update_order = _handled(BackMarket.update_order, WriteHandle.poll)
    update_orderline = _handled(BackMarket.update_orderline, WriteHandle.poll)
    update_listing = _handled(BackMarket.update_listing, WriteHandle.poll)
    upload_order_invoice = _handled(BackMarket.upload_order_invoice, WriteHandle.poll)
    get_writes = _blocking(BackMarket.get_writes)
    iter_writes = _rows(BackMarket.iter_writes)
    get_write = _blocking(BackMarket.get_write)
    retry_write = _handled(BackMarket.retry_write, WriteHandle.poll)
    settle_write = _blocking(BackMarket.settle_write)

    create_or_update_listings = _handled(BackMarket.create_or_update_listings, BulkHandle.poll)
    check_listings_file = _blocking(BackMarket.check_listings_file)
    preview_listings_file = _blocking(BackMarket.preview_listings_file)
    get_listings_file_format = _blocking(BackMarket.get_listings_file_format)
    save_listings_file_format = _blocking(BackMarket.save_listings_file_format)
    write_listings_template = _blocking(BackMarket.write_listings_template)
    get_bulk_job = _blocking(BackMarket.get_bulk_job)
    get_bulk_jobs = _blocking(BackMarket.get_bulk_jobs)
    get_bulk_parts = _blocking(BackMarket.get_bulk_parts)
    get_bulk_parts_in = _blocking(BackMarket.get_bulk_parts_in)
    get_bulk_handle = _handled(BackMarket.get_bulk_handle, BulkHandle.poll)
    cancel_bulk_job = _blocking(BackMarket.cancel_bulk_job)
    settle_bulk_part = _blocking(BackMarket.settle_bulk_part)
    get_bulk_report_url = _blocking(BackMarket.get_bulk_report_url)

    fetch_order = _blocking(BackMarket.fetch_order)
    fetch_listing = _blocking(BackMarket.fetch_listing)
    fetch_delivery = _blocking(BackMarket.fetch_delivery)
    fetch_return = _blocking(BackMarket.fetch_return)
    get_task_status = _blocking(BackMarket.get_task_status)

    changes = _blocking(BackMarket.changes)
    get_history = _blocking(BackMarket.get_history)
    changes_cursor = _blocking(BackMarket.changes_cursor)

    create_webhook = _blocking(BackMarket.create_webhook)
    get_event_endpoints = _blocking(BackMarket.get_event_endpoints)
    get_event_endpoint = _blocking(BackMarket.get_event_endpoint)
    update_event_endpoint = _blocking(BackMarket.update_event_endpoint)
    rotate_webhook_secret = _blocking(BackMarket.rotate_webhook_secret)
    disable_event_endpoint = _blocking(BackMarket.disable_event_endpoint)
    enable_event_endpoint = _blocking(BackMarket.enable_event_endpoint)
    delete_event_endpoint = _blocking(BackMarket.delete_event_endpoint)
    redeliver_events = _blocking(BackMarket.redeliver_events)
    get_event_attempts = _blocking(BackMarket.get_event_attempts)
    iter_event_attempts = _rows(BackMarket.iter_event_attempts)

    get_console_views = _blocking(BackMarket.get_console_views)
    save_console_view = _blocking(BackMarket.save_console_view)
    remove_console_view = _blocking(BackMarket.remove_console_view)
    get_console_sessions = _blocking(BackMarket.get_console_sessions)
    end_console_sessions = _blocking(BackMarket.end_console_sessions)
    start_console_session = _blocking(BackMarket.start_console_session)
    use_console_session = _blocking(BackMarket.use_console_session)
    end_console_session = _blocking(BackMarket.end_console_session)
    record_console_refusal = _blocking(BackMarket.record_console_refusal)

    upkeep = _blocking(BackMarket.upkeep)
    skip_recovery = _blocking(BackMarket.skip_recovery)
    erase_order = _blocking(BackMarket.erase_order)

    audit = _blocking(BackMarket.audit)
    iter_audit = _rows(BackMarket.iter_audit)

    apply_schema = _blocking(BackMarket.apply_schema)
