"""The Celery application: `celery -A workers.app worker|beat|flower`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery

from backmarket.errors import SettingsError
from backmarket.settings import load_settings
from workers import config, lifecycle
from workers.celery_overrides import control, producer, transport

for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
    os.environ.pop(name, None)  # Celery would prefer them to our settings; they belong to another application
os.environ.setdefault("FLOWER_CONF", str(Path(__file__).with_name("flowerconfig.py")))

app = Celery(
    "backmarket",
    events="workers.celery_overrides.events:ThreadSafeEvents",
    include=[
        "tasks.bucket",
        "tasks.bulk",
        "tasks.dispatch",
        "tasks.events",
        "tasks.labels",
        "tasks.probes",
        "tasks.sync",
        "tasks.upkeep",
        "tasks.writes",
    ],
)
try:
    app.conf.update(config.worker_settings(load_settings().broker))
except SettingsError as error:
    sys.exit(error.message)
lifecycle.connect()
transport.connect()
producer.connect()
control.connect()
