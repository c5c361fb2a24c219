"""Calls for events: webhooks, and the host application's Celery task (docs/decisions/0020)."""

from backmarket.events.attempts import get_attempts, redeliver
from backmarket.events.endpoints import (
    create_webhook,
    delete,
    disable,
    enable,
    get_endpoint,
    get_endpoints,
    rotate_secret,
    update,
)
from backmarket.events.models import Attempt, Endpoint, EventFilter, NewWebhook
from backmarket.events.secrets import rotate_secrets, unreadable_secrets

__all__ = [
    "Attempt",
    "Endpoint",
    "EventFilter",
    "NewWebhook",
    "create_webhook",
    "delete",
    "disable",
    "enable",
    "get_attempts",
    "get_endpoint",
    "get_endpoints",
    "redeliver",
    "rotate_secret",
    "rotate_secrets",
    "unreadable_secrets",
    "update",
]
