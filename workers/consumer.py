"""The consumer of a worker: Celery's own, whose loop beats the heart of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer

from workers.health.heart import HEART

BEAT_SECONDS = 1.0


class BeatingConsumer(Consumer):  # type: ignore[misc]
    """Beats once a second, while it consumes and while it waits for a broker that is away.

    Celery turns in two places: in its event loop, whose timers it forgets with every lost connection; and, until there
    is a connection again, in kombu's retries, which call back once a second.
    """

    def register_with_event_loop(self, hub: Any) -> None:
        """Called at the start, and whenever the connection was made anew."""
        hub.call_repeatedly(BEAT_SECONDS, HEART.beat)
        super().register_with_event_loop(hub)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until the broker is there."""
        connect = conn.ensure_connection

        def ensure_connection(errback: Any, max_retries: Any, callback: Callable[[], Any]) -> Any:
            return connect(errback, max_retries, callback=_beating(callback))

        conn.ensure_connection = ensure_connection
        return super().ensure_connected(conn)


def _beating(callback: Callable[[], Any]) -> Callable[[], None]:
    def beat() -> None:
        HEART.beat()
        callback()

    return beat
