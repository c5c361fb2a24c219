"""What an application of the version before sent, or repeats after the upgrade, is taken as it was meant."""

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from celery import Celery

from backmarket.bulk.options import Options, from_message
from tasks import arguments

NUDGED = (
    "sync_orders", "sync_listings", "sync_deliveries", "sync_returns", "fetch_labels", "send_writes", "run_bulk"
)  # fmt: skip
TICKS = ("dispatch", "announce_changes", "upkeep", "sweep_bucket")
SUBMIT: dict[str, Any] = {"encoding": "utf-8", "skip_bad_lines": True, "max_age": 3600.0, "file_name": "x.csv"}
MODULES = ("bucket", "bulk", "dispatch", "labels", "sync", "upkeep", "writes")


def test_a_message_of_the_version_before_fits_its_task() -> None:
    app = Celery("upgraded", include=[f"tasks.{name}" for name in MODULES], set_as_current=False)
    app.loader.import_default_modules()
    for name in NUDGED:
        for kwargs in ({}, {"nudge": True}):
            arguments.check(app.tasks[f"backmarket.{name}"].run, ("auth0|1",), kwargs)
    for name in TICKS:
        arguments.check(app.tasks[f"backmarket.{name}"].run, (), {})
    arguments.check(app.tasks["backmarket.submit_bulk"].run, ("auth0|1", "uploads/x"), SUBMIT)
    assert from_message("uploads/x", "a hash", SUBMIT).max_age is not None


def test_a_call_repeated_after_an_upgrade_gives_the_job_of_the_version_before() -> None:
    as_before = ["a hash", ";", None, "utf-8", "fr-fr", False, True, 60.0]
    options = Options(
        delimiter=";", encoding="utf-8", locale="fr-fr", skip_unchanged=True, max_age=timedelta(seconds=60)
    )
    assert options.fingerprint("a hash") == sha256(json.dumps(as_before).encode()).hexdigest()
    others = [replace(options, decimal=","), replace(options, thousands=","), replace(options, skus_as_they_are=True)]
    assert len({each.fingerprint("a hash") for each in (options, *others)}) == 4
