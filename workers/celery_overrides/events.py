"""The events that Flower reads: sent once, or not at all."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher


class SingleTryEventDispatcher(EventDispatcher):  # type: ignore[misc]
    """Celery's own, which tries once.

    Celery's heartbeat of events, every 2 s, retries for ever inside the worker's loop (since celery/celery#4804). While
    the broker says nothing (its host froze, the network swallows its packets) the loop stood still with it (measured:
    for the whole 80 s of a SIGSTOP), and did not handle SIGTERM. So each try blocks it for at most the socket's timeout
    (10 s), and events that could not be sent are sent with the next connection.
    """

    def send(self, type: str, *args: Any, retry: bool = False, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Send an event."""
        return super().send(type, *args, retry=False, **fields)


class SingleTryEvents(Events):  # type: ignore[misc]
    """Makes such dispatchers; Celery names its own in `Events.dispatcher_cls`, for which there is no setting."""

    dispatcher_cls = "workers.celery_overrides.events:SingleTryEventDispatcher"
