"""What all calls by httpcore share: the address of a request, and why one had no answer."""

from __future__ import annotations

import ssl

import httpcore

from backmarket.client.origins import Place
from backmarket.errors import RequestDelivery

LOST = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
)
"""The errors of a request without a whole answer."""

_UNSENT = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout, httpcore.UnsupportedProtocol)


def url_of(place: Place) -> httpcore.URL:
    """The address of a request to a place."""
    return httpcore.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)


def delivery(error: Exception) -> RequestDelivery:
    """Whether a request that failed with an error of `LOST` can still count against the limit."""
    if isinstance(error, _UNSENT):
        return "not_sent"
    return "in_doubt" if isinstance(error, httpcore.TimeoutException) else "finished"


def reason(error: Exception) -> str:
    """Why there is no whole answer, for people; the text of httpcore's error can name the host, so it is left out."""
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return "its certificate is not valid for it"
    return type(error).__name__
