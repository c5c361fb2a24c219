"""Deliver a batch of events to one endpoint, in a thread: it uses neither the database nor the slice's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from standardwebhooks import Webhook

from backmarket.client.webhook_calls import WebhookAnswer
from backmarket.errors import BackMarketError, Crashed
from backmarket.events.payload import webhook_body
from backmarket.events.rows import Batch, Claimed, Delivery, Position
from backmarket.observability.logs import Logger, error_location
from backmarket.services import Services

BATCH_SECONDS = 2.0
"""Seconds after which a batch sends no further event; the next batch continues."""

FAILURES_IN_A_ROW = 2
"""Failed attempts in a row that end a batch."""

GONE = 410
"""The status by which a receiver says that it wants no more events."""

QUEUE_FULL = 10_000
"""Messages in the queue of the host's task from which none is sent (10 MB): no worker takes them fast enough."""

DROPPED = WebhookAnswer(None, "dropped", "The event is not in the feed any more.")

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that was sent, and its outcome."""

    delivery: Delivery
    answer: WebhookAnswer


@dataclass(slots=True)
class BatchResult:
    """The outcome of a batch.

    Attributes:
        sent: in this order; those behind the last one were not sent.
        failure: of the last attempt; None: it succeeded, or nothing was attempted.
        failures: failed attempts in a row, with those before this batch.
    """

    batch: Batch
    sent: list[Sent] = field(default_factory=list)
    failure: WebhookAnswer | None = None
    failures: int = 0

    def note(self, answer: WebhookAnswer) -> None:
        """Note the outcome of an attempt."""
        failed = answer.error_code is not None
        self.failure = answer if failed else None
        self.failures = self.failures + 1 if failed else 0

    @property
    def failed(self) -> int:
        """Number of failed attempts."""
        failed = sum(each.answer.error_code is not None for each in self.sent)
        return failed or int(self.failure is not None)

    @property
    def succeeded(self) -> bool:
        """Whether an event was delivered."""
        return any(each.answer.error_code is None for each in self.sent)

    @property
    def whole(self) -> bool:
        """Whether nothing of the batch is left to be sent."""
        return len(self.sent) == len(self.batch.deliveries)

    @property
    def position(self) -> Position:
        """Events up to here were sent, or failed and are kept."""
        if self.whole:
            return self.batch.end
        new = [each.delivery.position for each in self.sent if not each.delivery.retry]
        return new[-1] if new else self.batch.start


def deliver(services: Services, batch: Batch) -> BatchResult:
    """Deliver a batch, as far as time and failures let it; raises nothing."""
    result = BatchResult(batch, failures=batch.endpoint.failures)
    send = _send_webhooks if batch.endpoint.kind == "webhook" else _send_messages
    try:
        send(services, batch, result)
    except BackMarketError as error:
        result.note(WebhookAnswer(None, error.code, error.message))
    except Exception as error:  # noqa: BLE001 - the slice runs in another thread; the endpoint pauses, and says so
        log.error("events.crashed", endpoint=batch.endpoint.id, **error_location(error))
        result.note(WebhookAnswer(None, Crashed.code, Crashed.of(error).message))
    return result


def _send_webhooks(services: Services, batch: Batch, result: BatchResult) -> None:
    """Send events one after the other. A single failure among successes delays no other event."""
    sign = _signer(services, batch.endpoint)
    until = monotonic() + BATCH_SECONDS
    for each in batch.deliveries:
        if monotonic() > until or services.stopping.is_set():
            return
        if each.event is None:
            result.sent.append(Sent(each, DROPPED))
            continue
        answer = _call(services, batch.endpoint, each.event, sign)
        result.sent.append(Sent(each, answer))
        result.note(answer)
        if result.failures >= FAILURES_IN_A_ROW or answer.retry_after is not None or answer.status == GONE:
            return


def _call(services: Services, endpoint: Claimed, event: dict[str, Any], sign: Callable[..., str]) -> WebhookAnswer:
    body, now = webhook_body(event), datetime.now(UTC)
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": sign(event["id"], now, body.decode()),
    }
    return services.webhooks.post(endpoint.url or "", headers, body)


def _signer(services: Services, endpoint: Claimed) -> Callable[[str, datetime, str], str]:
    """Signs with each valid secret of an endpoint.

    Raises:
        SettingsError: if none of `SECRET_KEYS` decrypts one.
    """
    stored = [each for each in (endpoint.secret, endpoint.previous_secret) if each]
    keys = [Webhook(services.key_cipher.decrypt(bytes(each))) for each in stored]

    def sign(event_id: str, at: datetime, body: str) -> str:
        return " ".join(key.sign(event_id, at, body) for key in keys)

    return sign


def _send_messages(services: Services, batch: Batch, result: BatchResult) -> None:
    """Send the host's task a message for each event: all, or none."""
    events = [each.event for each in batch.deliveries if each.event is not None]
    settings = services.settings
    if events:
        services.event_producer.send_events(settings.event_task, settings.event_queue, events, full=QUEUE_FULL)
        result.note(WebhookAnswer(None))
    result.sent = [Sent(each, WebhookAnswer(None) if each.event else DROPPED) for each in batch.deliveries]
