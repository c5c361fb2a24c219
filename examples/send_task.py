"""A Celery application of your own that asks for syncs by name, without our package.

    SHOP_BROKER_URL=redis://broker:6379/0 python examples/send_task.py shop-1 shop-2

Needs celery and redis, and the broker that the workers have. Names, queues and arguments: docs/applications.md.
"""

from __future__ import annotations

import os
import sys

from celery import Celery

app = Celery("shop", broker=os.environ["SHOP_BROKER_URL"])
app.conf.task_serializer = "json"


def sync_orders(organization_id: str) -> str:
    """Ask for a sync of the orders, now; the id of the message.

    There is no result to be fetched: a sync that was done shows in `backmarket.sync_state`, and by its changes.
    """
    message = app.send_task("backmarket.sync_orders", args=[organization_id], queue="orders", ignore_result=True)
    return str(message.id)


if __name__ == "__main__":
    for organization_id in sys.argv[1:]:
        print(organization_id, sync_orders(organization_id))
