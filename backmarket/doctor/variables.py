"""The settings: missing ones, and defaults that should have been changed."""

from __future__ import annotations

from collections.abc import Iterator

from backmarket.database.encryption import KeyCipher
from backmarket.doctor.finding import Finding, fault, ok, warning
from backmarket.errors import SettingsError
from backmarket.settings import Settings

NEEDED = ("database_url", "redis_url", "limiter_key", "user_agent")
OF_BUCKET = ("s3_endpoint_url", "s3_access_key", "s3_secret_key")
"""All or none: an S3 server is optional."""

MIN_LIMITER_KEY_CHARS = 16

_EXAMPLE = "contact@company.example"


def look(settings: Settings) -> Iterator[Finding]:
    """Findings from the settings alone."""
    faults = 0
    for name in (*NEEDED, *(OF_BUCKET if any(getattr(settings, name) for name in OF_BUCKET) else ())):
        try:
            settings.need(name)
        except SettingsError as error:
            faults += 1
            yield fault("settings", f"BACKMARKET_{name.upper()} is not set.", error.message)
    try:
        KeyCipher.from_settings(settings)
    except SettingsError as error:
        faults += 1
        yield fault("settings", "BACKMARKET_SECRET_KEYS cannot be used.", error.message)
    if not faults:
        yield ok("settings", "All required variables are set.")
    yield from _weak(settings)


def _weak(settings: Settings) -> Iterator[Finding]:
    if settings.user_agent and _EXAMPLE in settings.user_agent:
        yield warning(
            "user agent",
            "BACKMARKET_USER_AGENT is the example's.",
            "Back Market must know who calls. Name your company and a mailbox that is read.",
        )
    key = settings.limiter_key.get_secret_value() if settings.limiter_key else ""
    if key and len(key) < MIN_LIMITER_KEY_CHARS:
        yield warning(
            "limiter key",
            f"BACKMARKET_LIMITER_KEY has less than {MIN_LIMITER_KEY_CHARS} characters.",
            "Stop all workers, set long random text everywhere, and start them: two keys at once are two limits.",
        )
    if settings.lease_seconds <= settings.request_longest:
        yield warning(
            "lease",
            f"BACKMARKET_LEASE_SECONDS ({settings.lease_seconds:g}) is not longer than a request may take"
            f" ({settings.request_longest:g}).",
            "Slices lose their leases while they wait for an answer: make it twice BACKMARKET_REQUEST_DEADLINE.",
        )
