"""One organization: its connection, its syncs, its schedule; and connecting a new one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response

from backmarket.client.endpoints import LOCALES
from backmarket.console import paths
from backmarket.console.rendering import count, span
from backmarket.console.sparkline import HOURS
from backmarket.console.visit import Visit, status_of
from backmarket.errors import BackMarketError, ConnectionNotFound, InvalidArgument
from backmarket.resources import RESOURCES

ENVIRONMENTS = ("production", "sandbox")
GOING = frozenset({"never", "ok", "incomplete", "running", "failing"})
"""States of syncs that go on by themselves."""


def show(visit: Visit, fault: str | None = None, about: str | None = None, status: int = HTTPStatus.OK) -> Response:
    """The page.

    Args:
        visit: of somebody.
        fault: why the form that was sent did nothing.
        about: which form.
        status: of HTTP.
    """
    found = visit.bm.get_connection_status(visit.organization_id)
    values = {
        "connection": found.connection,
        "schedule": visit.bm.get_schedule(visit.organization_id),
        "waiting": visit.bm.get_waiting(organization_id=visit.organization_id, limit=20),
        "fault": fault,
        "about": about,
        "sent": visit.form if about else FormData(),
        "tab": "status",
    }
    return visit.render(
        "organization.html", status=status, **values, **_choices(visit), **_syncs(visit, found.resources)
    )


def syncs(visit: Visit) -> Response:
    """The part of the page that shows how far the syncs are."""
    found = visit.bm.get_connection_status(visit.organization_id)
    return visit.render("_syncs.html", connection=found.connection, **_syncs(visit, found.resources))


def sync(visit: Visit) -> Response:
    """Sync one resource, or all, now."""
    wanted = visit.given("resource")
    full = visit.given("full") is not None
    handles = [visit.bm.sync(visit.organization_id, each, full=full) for each in ([wanted] if wanted else RESOURCES)]
    late = "" if all(each.nudged for each in handles) else " The broker is away: they begin when it is back."
    if visit.is_partial:
        return syncs(visit)
    visit.say(f"Asked for a sync of {wanted or 'everything'}.{late}")
    return visit.go(paths.organization(visit.organization_id))


def check(visit: Visit) -> Response:
    """Ask the API whether the key works."""

    def ask() -> str:
        found = visit.bm.check_connection(visit.organization_id)
        if found.error is not None:
            raise found.error
        orders = f" It counts {count(found.orders)} orders." if found.orders is not None else ""
        return f"Back Market accepts the key ({found.seconds:.1f} s).{orders}"

    return _done(visit, "check", ask)


def disable(visit: Visit) -> Response:
    """Ask the account nothing any more."""

    def turn_off() -> str:
        clear = visit.given("clear_key") is not None
        visit.bm.disconnect(visit.organization_id, clear_api_key=clear)
        return f"Disabled{', and its key is forgotten' if clear else ''}. What is stored stays."

    return _done(visit, "disable", turn_off)


def enable(visit: Visit) -> Response:
    """Ask it again."""

    def turn_on() -> str:
        visit.bm.reconnect(visit.organization_id)
        return "Enabled: its syncs are due now."

    return _done(visit, "enable", turn_on)


def rotate(visit: Visit) -> Response:
    """Give the connection another key; the rest stays."""

    def replace() -> str:
        stored = visit.bm.get_connection_status(visit.organization_id).connection
        visit.bm.upsert_connection(
            stored.organization_id,
            _key(visit),
            environment=stored.environment,
            region=stored.region,
            locale=stored.locale,
            base_url=stored.base_url,
        )
        return "The new key is stored. Check it, to know whether Back Market accepts it."

    return _done(visit, "key", replace)


def change(visit: Visit) -> Response:
    """Lead the connection to another market, with the key that it has."""

    def lead() -> str:
        visit.bm.update_connection(
            visit.organization_id,
            environment=visit.given("environment") or "",
            region=visit.given("region") or "",
            locale=visit.given("locale"),
            base_url=visit.given("base_url"),
            discard_rows=visit.given("discard_rows") is not None,
        )
        return "The connection is changed: its syncs are due now."

    return _done(visit, "market", lead)


def schedule(visit: Visit) -> Response:
    """Set how often a resource is synced."""

    def set_rhythm() -> str:
        resource = visit.given("resource") or ""
        if visit.given("inherit") is not None:
            visit.bm.update_schedule(resource, organization_id=visit.organization_id, inherit=True)
            return f"The schedule of {resource} is everybody's again."
        before = visit.bm.get_schedule(visit.organization_id).get(resource)
        if before is None:
            raise InvalidArgument(f"{resource} is not synced for this organization.")
        wanted: dict[str, Any] = {
            "enabled": visit.given("enabled") is not None,
            "interval": _seconds(visit, "minutes", 60),
            "full_interval": _seconds(visit, "hours", 3600) if before.full_interval is not None else None,
            "download_labels": visit.given("labels") is not None if before.download_labels is not None else None,
        }
        changed = {name: value for name, value in wanted.items() if value not in {None, getattr(before, name)}}
        if not changed:
            return f"The schedule of {resource} was that already."
        visit.bm.update_schedule(resource, organization_id=visit.organization_id, **changed)
        return f"The schedule of {resource} is changed."

    return _done(visit, "schedule", set_rhythm)


def remove(visit: Visit) -> Response:
    """Remove the organization with all that is stored for it, once its id was typed."""
    if (visit.given("confirm") or "") != visit.organization_id.strip():
        return show(visit, "Type the organization's id to remove it; nothing was removed.", "remove", 422)
    rows = visit.bm.remove_connection(visit.organization_id)
    visit.say(f"Removed {visit.organization_id}, with {count(rows)} rows.")
    return visit.go("/")


def new(visit: Visit, fault: str | None = None, status: int = HTTPStatus.OK) -> Response:
    """The form that connects an organization."""
    return visit.render("connect.html", status=status, fault=fault, sent=visit.form, **_choices(visit))


def connect(visit: Visit) -> Response:
    """Connect an organization; one that is connected already is left alone."""
    organization = visit.given("organization") or ""
    try:
        if _exists(visit, organization):
            raise InvalidArgument("This organization is connected already: open it to change its key or its market.")
        visit.bm.upsert_connection(
            organization,
            _key(visit),
            environment=visit.given("environment") or "",
            region=visit.given("region") or "",
            locale=visit.given("locale"),
            base_url=visit.given("base_url"),
        )
    except BackMarketError as error:
        return new(visit, error.message, status_of(error))
    visit.say(f"Connected {organization}: its first sync is due now.")
    return visit.go(paths.organization(organization))


def _done(visit: Visit, about: str, do: Callable[[], str]) -> Response:
    """Do what a form says, and tell how it went: on the page anew, or beside the form."""
    try:
        visit.say(do())
    except ConnectionNotFound:
        raise
    except BackMarketError as error:
        return show(visit, str(error), about, status_of(error))
    return visit.go(paths.organization(visit.organization_id))


def _syncs(visit: Visit, resources: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    going = [each for each in resources.values() if each.state in GOING]
    return {
        "resources": {name: resources[name] for name in RESOURCES if name in resources},
        "lags": visit.bm.get_lag_history([visit.organization_id], hours=HOURS),
        "under_way": any(each.state == "running" or each.rows_expected or each.next_due_at <= now for each in going),
        "organization_id": visit.organization_id,
    }


def _choices(visit: Visit) -> dict[str, Any]:
    return {
        "environments": ENVIRONMENTS,
        "regions": tuple(LOCALES),
        "locales": LOCALES,
        "base_urls": visit.request.app.state.base_urls,
    }


def _exists(visit: Visit, organization: str) -> bool:
    try:
        visit.bm.get_connection_status(organization)
    except ConnectionNotFound:
        return False
    return True


def _key(visit: Visit) -> str:
    key = visit.given("api_key")
    if key is None:
        raise InvalidArgument("Enter the API key, as Back Market shows it.")
    return key


def _seconds(visit: Visit, name: str, unit: float) -> float | None:
    text = visit.given(name)
    if text is None:
        return None
    try:
        return float(text.replace(",", ".")) * unit
    except ValueError:
        raise InvalidArgument(f"{text[:40]!r} is not a number of {name}; such as {span(300)}: 5.") from None
