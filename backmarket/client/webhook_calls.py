"""A call of a webhook without the HTTP library: where it may go, and its outcome (docs/decisions/0020)."""

from __future__ import annotations

from dataclasses import dataclass

from backmarket.client.origins import Place, is_literal, is_public, place_of
from backmarket.errors import ENV_PREFIX, OriginRefused


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """The outcome of one call.

    Attributes:
        status: of HTTP; None: there was no answer.
        error_code: why it failed; None: it succeeded.
        error: the same for people; nothing of what the receiver sent.
        seconds: that it took.
        retry_after: seconds that the receiver asked for.
    """

    status: int | None
    error_code: str | None = None
    error: str | None = None
    seconds: float = 0.0
    retry_after: float | None = None


def webhook_place(url: str, private_origins: frozenset[str]) -> Place:
    """Parse the URL of a webhook, if it may be called; the addresses of its name are checked at each connection.

    Raises:
        OriginRefused: if it may not; the text says what would be allowed.
    """
    try:
        place = place_of(url)
    except ValueError as error:
        raise OriginRefused(f"The webhook's URL cannot be used: {error}.") from None
    if place.origin in private_origins:
        return place
    if place.scheme != "https":
        raise OriginRefused(
            f"The webhook's URL must begin with https://, unless {ENV_PREFIX}EVENT_PRIVATE_ORIGINS lists its origin."
        )
    if is_literal(place.host) and not is_public(place.host):
        raise OriginRefused(not_public(place))
    return place


def not_public(place: Place) -> str:
    """Why a place was not called; says what would allow it."""
    return (
        f"The webhook is at {place.origin}, whose address is not a public one: if that is meant, add that origin to"
        f" {ENV_PREFIX}EVENT_PRIVATE_ORIGINS."
    )
