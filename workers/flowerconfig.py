"""Flower's configuration. Flower executes this file and takes the names that it knows as options.

Tasks carry organization ids and nothing else, but `/metrics` and `/healthcheck` ask nobody for a password, so Flower
listens on loopback unless told otherwise.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from backmarket import logs
from backmarket.settings import load_settings

if not {"FLOWER_BASIC_AUTH", "FLOWER_AUTH"} & set(os.environ):
    sys.exit("Flower shows everything to everybody without a password: set FLOWER_BASIC_AUTH=user:password.")


def _events_off() -> None:
    """Flower turns the workers' events on, which cost them 45% of their no-op throughput; nobody else needs them."""
    from workers.app import app

    with suppress(Exception):  # the broker went first; the workers were probably told to end, too
        app.control.disable_events()


logs.configure(load_settings())
atexit.register(_events_off)

logging = "none"  # Tornado's own way of it
address = os.environ.get("FLOWER_ADDRESS", "127.0.0.1")
port = int(os.environ.get("FLOWER_PORT", "5555"))
read_only = True
persistent = False
# the default of 100,000 eats memory
max_tasks = 2000
purge_offline_workers = 60
tasks_columns = "name,args,state,received,runtime,worker"
