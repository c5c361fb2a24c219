"""What Celery sends of its own: commands to workers, and their answers."""

from __future__ import annotations

from typing import Any

from kombu.messaging import Producer
from kombu.pools import ProducerPool

TRIES_AGAIN = {"max_retries": 1, "interval_start": 1}
"""One more try, a second later, with a new connection: the one that was kept may have been lost long ago."""


class BoundedProducer(Producer):  # type: ignore[misc]
    """Kombu's own, whose wait for the broker ends.

    Celery sends commands and answers without a policy, which means to try for ever. Flower turns the workers' events
    on every 5 s: when its broker went away, the thread that did it never ended, nor did Flower when it was told to. A
    worker answers a command in its main loop.
    """

    def publish(self, *args: Any, retry_policy: dict[str, Any] | None = None, **fields: Any) -> Any:
        """Send a message.

        Raises:
            kombu.exceptions.OperationalError: if it could not be sent.
        """
        return super().publish(*args, retry_policy=retry_policy or TRIES_AGAIN, **fields)


def connect() -> None:
    """Let this process's pools make such producers; harmless to repeat."""
    ProducerPool.Producer = BoundedProducer
