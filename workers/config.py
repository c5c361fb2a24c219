"""The configuration of workers and beat. Each setting is here because the default did harm; see docs/decisions/0002."""

from __future__ import annotations

from typing import Any

from backmarket.producer import celery_settings
from workers.timetable import TIMETABLE


def worker_settings(broker_url: str) -> dict[str, Any]:
    """What workers and beat add to the settings that producers have, too."""
    return {
        **celery_settings(broker_url),
        # a task waits for the network and for PostgreSQL: threads, opened after no fork
        "worker_pool": "workers.celery_overrides.pool:WakingPool",
        # otherwise one unreadable message would end every worker that takes it
        "worker_consumer": "workers.celery_overrides.consumer:RejectingConsumer",
        "worker_concurrency": 16,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # a worker that lost its broker finishes its tasks; the lease keeps a second one out
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # a Redis that refuses to write, since its disk is full, answers with an error: no reason to end
        "broker_channel_error_retry": True,
        # Flower turns events on if it is used; they cost a worker 45% of its no-op throughput
        "worker_send_task_events": False,
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_schedule": TIMETABLE,
        "beat_max_loop_interval": 1,
        "beat_scheduler": "workers.celery_overrides.scheduler:MemoryScheduler",
    }
