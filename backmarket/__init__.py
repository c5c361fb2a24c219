"""Back Market seller accounts, copied into PostgreSQL and worked on by Celery.

from backmarket import BackMarket

with BackMarket() as bm:
    bm.sync_orders("shop-1").wait(timeout=60)
    for order in bm.get_orders("shop-1", state=1):
        print(order.order_id, order.price)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmarket.bulk.api_tasks import ActionStatus, TaskStatus
    from backmarket.bulk.file_check import FileCheck
    from backmarket.bulk.handle import BulkHandle, BulkSyncOutcome
    from backmarket.bulk.reports import ReportLine
    from backmarket.changes import Change, Changes, ChangesMissed
    from backmarket.client.api import BackMarketClient, create_backmarket_client
    from backmarket.client.arguments import Attachment
    from backmarket.client.endpoints import Environment, Region
    from backmarket.errors import BackMarketError
    from backmarket.facade import BackMarket
    from backmarket.facade.asynchronous import AsyncBackMarket
    from backmarket.labels.queries import Label, LabelState
    from backmarket.producer import Producer
    from backmarket.queries.figures import FigureRow, Figures
    from backmarket.queries.listings import Grade, Listing, PublicationState
    from backmarket.queries.orders import Order, OrderLine, OrderLineState, OrderState
    from backmarket.queries.pagination import Page
    from backmarket.queries.shipments import Delivery, Return, StoredLabel
    from backmarket.resources import ResourceName
    from backmarket.status.lag_history import LagSample
    from backmarket.status.overview import Overview
    from backmarket.status.throttled import Throttled
    from backmarket.sync.schedule import ScheduleEntry
    from backmarket.writes.handle import WriteHandle, WriteOutcome
    from backmarket.writes.models import Write, WriteState

_LAZY_EXPORTS = {
    "ActionStatus": "bulk.api_tasks",
    "AsyncBackMarket": "facade.asynchronous",
    "Attachment": "client.arguments",
    "BackMarket": "facade",
    "BackMarketClient": "client.api",
    "BackMarketError": "errors",
    "BulkHandle": "bulk.handle",
    "BulkSyncOutcome": "bulk.handle",
    "Change": "changes.feed",
    "Changes": "changes",
    "ChangesMissed": "changes.feed",
    "Delivery": "queries.shipments",
    "Environment": "client.endpoints",
    "FigureRow": "queries.figures",
    "Figures": "queries.figures",
    "FileCheck": "bulk.file_check",
    "Grade": "queries.listings",
    "Label": "labels.queries",
    "LabelState": "labels.queries",
    "LagSample": "status.lag_history",
    "Listing": "queries.listings",
    "Order": "queries.orders",
    "OrderLine": "queries.orders",
    "OrderLineState": "queries.orders",
    "OrderState": "queries.orders",
    "Overview": "status.overview",
    "Page": "queries.pagination",
    "Producer": "producer",
    "PublicationState": "queries.listings",
    "Region": "client.endpoints",
    "ReportLine": "bulk.reports",
    "ResourceName": "resources",
    "Return": "queries.shipments",
    "ScheduleEntry": "sync.schedule",
    "StoredLabel": "queries.shipments",
    "TaskStatus": "bulk.api_tasks",
    "Throttled": "status.throttled",
    "Write": "writes.models",
    "WriteHandle": "writes.handle",
    "WriteOutcome": "writes.handle",
    "WriteState": "writes.models",
    "create_backmarket_client": "client.api",
}

__all__ = [
    "ActionStatus",
    "AsyncBackMarket",
    "Attachment",
    "BackMarket",
    "BackMarketClient",
    "BackMarketError",
    "BulkHandle",
    "BulkSyncOutcome",
    "Change",
    "Changes",
    "ChangesMissed",
    "Delivery",
    "Environment",
    "FigureRow",
    "Figures",
    "FileCheck",
    "Grade",
    "Label",
    "LabelState",
    "LagSample",
    "Listing",
    "Order",
    "OrderLine",
    "OrderLineState",
    "OrderState",
    "Overview",
    "Page",
    "Producer",
    "PublicationState",
    "Region",
    "ReportLine",
    "ResourceName",
    "Return",
    "ScheduleEntry",
    "StoredLabel",
    "TaskStatus",
    "Throttled",
    "Write",
    "WriteHandle",
    "WriteOutcome",
    "WriteState",
    "create_backmarket_client",
]


def __getattr__(name: str) -> Any:
    """Import only what the caller asks for, so that the producer alone stays light."""
    if name in _LAZY_EXPORTS:
        return getattr(import_module(f"backmarket.{_LAZY_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'backmarket' has no attribute {name!r}")
