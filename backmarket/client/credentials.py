"""What a request proves itself with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and base URL of a request.

    Args:
        base_url: the origin that the key belongs to.
        api_key: sent unchanged, after `Basic`.
        account: the limiter's name for the key.
        locale: the market that prices and texts belong to.
    """

    base_url: str
    api_key: str = field(repr=False)
    account: str
    locale: str
