"""URLs of Redis: which ones the broker and the limiter take, and how a connection is encrypted.

Imports nothing heavy: the producer uses it inside host applications.
"""

from __future__ import annotations

import socket
from ssl import CERT_REQUIRED
from typing import Any
from urllib.parse import urlsplit

from backmarket.messages import urls

BROKER_SCHEMES = ("redis://", "rediss://", "redis+socket://")
"""As kombu spells them."""

LIMITER_SCHEMES = ("redis://", "rediss://", "unix://")
"""As redis-py spells them."""

KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 2), ("TCP_USER_TIMEOUT", 4000))
    if hasattr(socket, name)
}
"""Options of a connection's socket, as far as the system has them: a host that vanished without a word is given up
after 4 s, also by a connection that waits for a message or for its next use. The limiter then grants nothing for a
window more, and work is to go on within 30 s. Seconds, but the last one in milliseconds."""

_INSTEAD = {
    "unix": "For a broker, write redis+socket:///path instead of unix:///path.",
    "redis+socket": "For the limiter, write unix:///path instead of redis+socket:///path.",
    "sentinel": "Sentinel is not supported: put one address before it that follows the primary.",
    "redis+sentinel": "Sentinel is not supported: put one address before it that follows the primary.",
    "memory": "memory:// stays inside one process: start a Redis or Valkey.",
    "amqp": "RabbitMQ is not supported: start a Redis or Valkey.",
    "amqps": "RabbitMQ is not supported: start a Redis or Valkey.",
    "pyamqp": "RabbitMQ is not supported: start a Redis or Valkey.",
}


def check(url: str, schemes: tuple[str, ...]) -> str:
    """The URL itself, if it names a Redis that can be used.

    Args:
        url: as an operator wrote it.
        schemes: `BROKER_SCHEMES` or `LIMITER_SCHEMES`.

    Raises:
        ValueError: if it cannot be used. The text says what to write, and never quotes the URL.
    """
    if url.startswith(schemes) and not urls.is_clear(url):
        raise ValueError(urls.UNCLEAR)
    if _is_url(url, schemes):
        return url
    instead = _INSTEAD.get(url.partition("://")[0].lower(), "") if not url.startswith(schemes) else ""
    form = f"must be a Redis or Valkey, such as redis://host:6379/0: {', '.join(schemes)}"
    raise ValueError(f"{form}. {instead}".removesuffix(". "))


def for_kombu(url: str) -> str:
    """The limiter's URL as kombu spells it: only that of a socket differs."""
    if not url.startswith("unix://"):
        return url
    return (
        url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=").replace("&db=", "&virtual_host=")
    )


def encryption(url: str) -> dict[str, Any] | None:
    """What kombu is told of TLS: certificates are checked against the system's CAs.

    Without it kombu checks no certificate at all. Options in the URL (`ssl_cert_reqs`, `ssl_ca_certs` and so on) go
    before these.

    Returns:
        None: the URL is not one of TLS.
    """
    return {"ssl_cert_reqs": CERT_REQUIRED} if url.startswith("rediss://") else None


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        return url.isprintable() and url.startswith(schemes) and urlsplit(url).port != 0
    except ValueError:  # the port or the host is malformed
        return False
