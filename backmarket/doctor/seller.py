"""One connection: whether it exists, is enabled, and has a key that the API accepts."""

from __future__ import annotations

from collections.abc import Iterator

from backmarket import errors
from backmarket.doctor.finding import Finding, fault, ok
from backmarket.organizations.check import check_connection
from backmarket.services import Services

_ADVICE: dict[type[errors.BackMarketError], str] = {
    errors.ConnectionNotFound: "`backmarket connections list` lists them, `backmarket connections add ORG` adds one.",
    errors.ConnectionDisabled: "An operator disabled it. Enable it: `backmarket connections enable ORG`.",
    errors.ApiKeyMissing: "Its key was cleared. Store a new one: `backmarket connections add ORG`."
    " `backmarket status ORG` says when the old one is tried again.",
    errors.Unauthorized: "Create a new API key in Back Market's back office, then `backmarket connections add ORG`.",
    errors.FirewallBlocked: "Give Back Market the cf-ray, the address that you call from, and BACKMARKET_USER_AGENT.",
    errors.RateLimited: "The account's limit is used up or blocked. Wait. Does another program use this key?",
    errors.NetworkError: "Can this machine reach the API (DNS, firewall)? `connections show ORG` says where it is.",
    errors.SettingsError: "Correct this setting; every process needs the same one.",
}


def look(services: Services, organization_id: str) -> Iterator[Finding]:
    """Send the API one request that changes nothing."""
    try:
        checked = check_connection(services, organization_id)
    except errors.BackMarketError as error:
        yield _told(error)
        return
    if checked.error is not None:
        yield _told(checked.error)
        return
    yield ok("connection", f"The API accepts the key ({checked.seconds:.2f} s).")


def advice(error: errors.BackMarketError) -> str:
    """What an operator does about an API that does not accept a connection."""
    return next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "Try again later.")


def _told(error: errors.BackMarketError) -> Finding:
    return fault("connection", str(error), advice(error))
