"""Flower's configuration. Flower executes this file and takes the names that it knows as options.

Tasks carry organization ids and tell how they ended, nothing else, but `/metrics` and `/healthcheck` need no password,
so Flower listens on loopback by default. Flower's other `FLOWER_*` variables work as usual, such as
`FLOWER_URL_PREFIX`; an empty one counts as not set. docs/deployment.md shows a login by OAuth.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from backmarket.observability import logs
from backmarket.settings import load_settings
from workers.celery_overrides import flower_server, transport

if not (os.environ.get("FLOWER_BASIC_AUTH") or os.environ.get("FLOWER_AUTH")):
    sys.exit("Without a password, Flower shows everything to everyone. Set FLOWER_BASIC_AUTH=user:password.")
if not os.environ.get("FLOWER_BASIC_AUTH"):
    basic_auth: list[str] = []  # Flower would take an empty one for a login without name and password


def _events_off() -> None:
    """Flower turns the workers' events on, which cost them 45% of their no-op throughput; only Flower needs them."""
    from workers.app import app

    with suppress(Exception):  # the broker went first: the workers were probably told to end, too
        app.control.disable_events()


logs.configure(load_settings())
flower_server.connect()
transport.restore_nothing()
atexit.register(_events_off)

logging = "none"  # Tornado's own logging is off
address = os.environ.get("FLOWER_ADDRESS", "127.0.0.1")
port = int(os.environ.get("FLOWER_PORT", "5555"))
read_only = True
# the history survives a restart if FLOWER_DB names a file
persistent = bool(os.environ.get("FLOWER_DB"))
state_save_interval = 30_000
# the default of 100,000 needs too much memory
max_tasks = 2000
purge_offline_workers = 60
tasks_columns = "name,args,state,result,exception,received,runtime,worker"
