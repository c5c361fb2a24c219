"""The state of the work: whether workers do it, keys can be read, and anything waits for a person."""

from __future__ import annotations

from collections.abc import Iterator

from backmarket.connections import unreadable_keys
from backmarket.doctor.finding import Finding, fault, ok, skipped, warning
from backmarket.documents import document
from backmarket.errors import BackMarketError
from backmarket.events import unreadable_secrets
from backmarket.observability.numbers import counted
from backmarket.services import Services
from backmarket.status.broker import Broker
from backmarket.status.deployment_metrics import DeploymentMetric, measure

CLOCKS_APART = 5.0
"""Seconds between a worker's clock and PostgreSQL's from which a warning is given."""

OVERDUE = 60.0
"""Seconds that a due slice may wait for a worker; normally it waits one or two."""
UPKEEP_OVERDUE = 7200.0


def look(services: Services) -> Iterator[Finding]:
    """Findings from rows and queues."""
    if not services.settings.database_url:
        yield skipped("work", "BACKMARKET_DATABASE_URL is not set.")
        return
    try:
        lost, total = unreadable_keys(services.database, services.key_cipher)
        lost_secrets = unreadable_secrets(services.database, services.key_cipher)
        asked = Broker(services.settings.broker)
        found = measure(services.database, asked)
        asked.close()
    except BackMarketError as error:
        yield skipped("work", error.message)
        return
    yield _keys(lost, total)
    if lost_secrets:
        yield _secrets(lost_secrets)
    yield from _clocks(found)
    if any(each.name == "sync_organizations" for each in found):
        yield _taken_up(found)
        yield from _waiting(found)


def _keys(lost: int, total: int) -> Finding:
    if not lost:
        return ok("stored keys", f"All {total} stored API keys can be read.")
    return fault(
        "stored keys",
        f"None of BACKMARKET_SECRET_KEYS reads {lost} of {total} stored API keys.",
        "Add the key that encrypted them behind the first one, in every process; look in older settings for it.",
    )


def _secrets(lost: int) -> Finding:
    return fault(
        "stored secrets",
        f"None of BACKMARKET_SECRET_KEYS reads the secrets of {counted(lost, 'webhook')}: nothing is sent there.",
        "Add the key that encrypted them behind the first one, or make new ones: `backmarket events rotate-secret`.",
    )


def _clocks(found: list[DeploymentMetric]) -> Iterator[Finding]:
    for each in found:
        if each.name == "clock_ahead_seconds" and abs(each.value) > CLOCKS_APART:
            off = "ahead of" if each.value > 0 else "behind"
            yield warning(
                "worker clock",
                f"The clock of {each.labels['process']} is {abs(each.value):.0f} s {off} PostgreSQL's.",
                "Let its host follow a time server: S3 and TLS refuse a clock that is far off. Syncs continue.",
            )


def _taken_up(found: list[DeploymentMetric]) -> Finding:
    overdue = {each.labels["resource"]: each.value for each in found if each.name == "sync_overdue_seconds"}
    late = {resource: seconds for resource, seconds in overdue.items() if seconds > OVERDUE}
    if not late:
        return ok("workers", "Due work is claimed in time.")
    waiting = {each.labels["queue"]: each.value for each in found if each.name == "queue_messages"}
    longest = max(late, key=late.__getitem__)
    if waiting.get("dispatch"):
        advice = "Messages wait in the queue `dispatch`: start a worker for it."
    elif waiting.get(longest):
        advice = f"Messages wait in the queue `{longest}`: start a worker for it, restart one that hangs, or add more."
    else:
        advice = "No message waits: is beat running, and do beat and all workers have the same BACKMARKET_BROKER_URL?"
    return fault("workers", f"{longest} that are due have not been claimed for {late[longest]:.0f} s.", advice)


def _waiting(found: list[DeploymentMetric]) -> Iterator[Finding]:
    def total(name: str, **labels: str) -> float:
        return sum(each.value for each in found if each.name == name and labels.items() <= each.labels.items())

    lagging = total("sync_lagging_organizations")
    upkeep = total("upkeep_overdue_seconds")
    for count, check, text, advice in (
        (
            total("connections", state="unauthorized"), "refused keys", "Connections whose key is refused",
            "`backmarket status --failing` names them and when each is tried again; a new key: `connections add ORG`.",
        ),
        (
            lagging, "lag", "Syncs without a success for two intervals",
            "`backmarket status --failing` says why; if nothing fails, more workers are needed, or a limit is used up.",
        ),
        (
            total("writes_undecided"), "undecided writes", "Writes that wait for a person",
            f"`backmarket writes list ORG --state unknown`; see {document('docs/operations/writes-and-files.md')}.",
        ),
        (
            total("bulk_parts_undecided"), "undecided bulk parts", "Parts of bulk jobs that wait for a person",
            f"`backmarket bulk list ORG`; see {document('docs/operations/writes-and-files.md')}.",
        ),
        (
            total("event_endpoints", state="disabled"), "endpoints", "Endpoints for events, disabled as they failed",
            f"`backmarket events list` says why, `events enable` goes on; see {document('docs/events.md')}.",
        ),
        (
            total("event_endpoints", state="failing"), "endpoints", "Endpoints for events that fail, and are retried",
            "`backmarket events list` says why.",
        ),
        (
            total("events_overdue_seconds") // OVERDUE, "events", "Minutes for which events have been due",
            "Is beat running, and a worker with the queue `events`?",
        ),
        (
            upkeep // 3600 if upkeep >= UPKEEP_OVERDUE else 0, "upkeep", "Hours for which the upkeep has been due",
            "Is beat running, and a worker with the queue `dispatch`? `backmarket db upkeep` does it now.",
        ),
    ):  # fmt: skip
        if count:
            yield warning(check, f"{text}: {count:.0f}.", advice)
