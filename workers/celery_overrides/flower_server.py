"""Flower's web server, bounded: Flower passes no limits on to Tornado."""

from __future__ import annotations

from functools import partial

from flower import app
from tornado.httpserver import HTTPServer

REQUEST_SECONDS = 30.0
"""Seconds for a request's head to arrive, from the connection or the answer before it, and for its body."""
MAX_HEAD_BYTES = 32 * 1024
"""Maximum size of a request's head, in bytes."""
MAX_BODY_BYTES = 256 * 1024
"""Maximum size of a request's body, in bytes."""


def connect() -> None:
    """Let Flower serve with these limits; harmless to repeat.

    Tornado waits an hour for a request's head, for ever for its body, and keeps bodies of 100 MB in memory; Flower has
    no option for that.
    """
    app.HTTPServer = partial(
        HTTPServer,
        idle_connection_timeout=REQUEST_SECONDS,
        body_timeout=REQUEST_SECONDS,
        max_header_size=MAX_HEAD_BYTES,
        max_body_size=MAX_BODY_BYTES,
        max_buffer_size=MAX_BODY_BYTES,
    )
