"""The examination: the settings first, then each service, then the state of the work, then one connection."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from backmarket.doctor import seller, servers, storage, variables, work
from backmarket.doctor.finding import Finding, fault, skipped
from backmarket.documents import document
from backmarket.errors import SettingsError
from backmarket.services import Services
from backmarket.settings import load_settings

DATABASE_TIMEOUT_SECONDS = 3.0
"""Seconds to wait for PostgreSQL."""


def examine(organization_id: str | None = None) -> Iterator[Finding]:
    """Run all checks in order; yield each finding as soon as it is known.

    The only change is one object, which is put into the bucket and deleted again.

    Args:
        organization_id: also check this organization's connection, with one harmless request to the API.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        yield fault(
            "settings",
            error.message,
            f"Correct these variables; {document('.env.example')} shows each with a safe value.",
        )
        return
    yield from variables.look(settings)
    services = Services(settings, patience=DATABASE_TIMEOUT_SECONDS)
    try:
        there = yield from _whole(servers.database(services))
        for part in (servers.broker, servers.limiter, storage.bucket):
            yield from part(services)
        if not there:
            yield skipped("work", "It needs the database.")
        else:
            yield from work.look(services)
            if organization_id is not None:
                yield from seller.look(services, organization_id)
    finally:
        services.close()


def _whole(found: Iterator[Finding]) -> Generator[Finding, None, bool]:
    """Yield findings; return whether none of them is a fault or was skipped."""
    whole = True
    for each in found:
        whole = whole and each.verdict in {"ok", "warning"}
        yield each
    return whole
