"""Whom the requests to Back Market trust: the certificates of this machine."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def tls_context() -> ssl.SSLContext:
    """The context of this process. All connections share it, as reading the certificates takes some 20 ms."""
    return ssl.create_default_context()
