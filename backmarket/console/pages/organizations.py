"""One organization: its connection, its syncs, its schedule; and connecting a new one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, cast

from starlette.datastructures import FormData
from starlette.responses import Response

from backmarket.client.endpoints import LOCALES, Environment, Region
from backmarket.console import paths
from backmarket.console.rendering import counted
from backmarket.console.request_context import RequestContext, status_of
from backmarket.console.sparkline import HOURS
from backmarket.errors import BackMarketError, ConnectionNotFound, InvalidArgument
from backmarket.resources import RESOURCE_NAMES, RESOURCES, ResourceName

ENVIRONMENTS = ("production", "sandbox")
GOING = frozenset({"never", "ok", "incomplete", "running", "failing"})
"""States of syncs that progress by themselves."""


def show(
    context: RequestContext, fault: str | None = None, about: str | None = None, status: int = HTTPStatus.OK
) -> Response:
    """The page.

    Args:
        context: the request's context.
        fault: why the submitted form did nothing.
        about: the form that `fault` is about.
        status: the HTTP status.
    """
    found = context.bm.get_connection_status(context.organization_id)
    values = {
        "connection": found.connection,
        "schedule": context.bm.get_schedule(context.organization_id),
        "throttled": context.bm.get_throttled(organization_id=context.organization_id, limit=20),
        "fault": fault,
        "about": about,
        "sent": context.form if about else FormData(),
        "tab": "status",
    }
    return context.render(
        "organization.html", status=status, **values, **_choices(context), **_syncs(context, found.resources)
    )


def syncs(context: RequestContext) -> Response:
    """The part of the page that shows how far the syncs are."""
    found = context.bm.get_connection_status(context.organization_id)
    return context.render("_syncs.html", connection=found.connection, **_syncs(context, found.resources))


def sync(context: RequestContext) -> Response:
    """Sync one resource, in one market or all, or everything now."""
    wanted, market = context.given("resource"), context.given("market")
    full = context.given("full") is not None
    handles = [
        context.bm.sync(context.organization_id, each, full=full, market=market)
        for each in ([cast(ResourceName, wanted)] if wanted else RESOURCE_NAMES)
    ]
    late = "" if all(each.nudged for each in handles) else " The broker is unreachable. Workers begin once it is back."
    if context.is_partial:
        return syncs(context)
    context.say(f"Requested a sync of {wanted or 'everything'}.{late}")
    return context.go(paths.organization(context.organization_id))


def check(context: RequestContext) -> Response:
    """Check with the API whether the key works."""

    def ask() -> str:
        found = context.bm.check_connection(context.organization_id)
        if found.error is not None:
            raise found.error
        orders = f" It counts {counted(found.orders, 'order')}." if found.orders is not None else ""
        return f"Back Market accepts the key ({found.seconds:.1f} s).{orders}"

    return _done(context, "check", ask)


def disable(context: RequestContext) -> Response:
    """Disable the connection."""

    def turn_off() -> str:
        clear = context.given("clear_key") is not None
        context.bm.disable_connection(context.organization_id, clear_api_key=clear)
        return f"Disabled{', and its key is deleted' if clear else ''}. Its rows are kept."

    return _done(context, "disable", turn_off)


def enable(context: RequestContext) -> Response:
    """Enable the connection again."""

    def turn_on() -> str:
        context.bm.enable_connection(context.organization_id)
        return "Enabled. Its syncs are due now."

    return _done(context, "enable", turn_on)


def rotate(context: RequestContext) -> Response:
    """Replace the connection's key; the rest stays."""

    def replace() -> str:
        stored = context.bm.get_connection_status(context.organization_id).connection
        context.bm.upsert_connection(
            stored.organization_id,
            _key(context),
            environment=cast(Environment, stored.environment),
            region=cast(Region, stored.region),
            locale=stored.locale,
            base_url=stored.base_url,
        )
        return "The new key is stored. Check whether Back Market accepts it."

    return _done(context, "key", replace)


def change(context: RequestContext) -> Response:
    """Switch the connection to another market, with the same key."""

    def lead() -> str:
        context.bm.update_connection(
            context.organization_id,
            environment=cast(Environment, context.given("environment") or ""),
            region=cast(Region, context.given("region") or ""),
            locale=context.given("locale"),
            base_url=context.given("base_url"),
            markets=context.given_all("markets"),
            discard_rows=context.given("discard_rows") is not None,
        )
        return "The connection is changed. Its syncs are due now."

    return _done(context, "market", lead)


def schedule(context: RequestContext) -> Response:
    """Set how often a resource is synced."""

    def set_rhythm() -> str:
        resource = cast(ResourceName, context.given("resource") or "")
        if context.given("inherit") is not None:
            context.bm.update_schedule(resource, organization_id=context.organization_id, inherit=True)
            return f"The schedule of {resource} is the general schedule again."
        before = context.bm.get_schedule(context.organization_id).get(resource)
        if before is None:
            raise InvalidArgument(f"{resource} is not synced for this organization.")
        wanted: dict[str, Any] = {
            "enabled": context.given("enabled") is not None,
            "interval": _seconds(context, "minutes", 60),
            "full_interval": _seconds(context, "hours", 3600) if before.full_interval is not None else None,
            "download_labels": context.given("download_labels") is not None
            if before.download_labels is not None
            else None,
        }
        changed = {name: value for name, value in wanted.items() if value not in {None, getattr(before, name)}}
        if not changed:
            return f"The schedule of {resource} is unchanged."
        context.bm.update_schedule(resource, organization_id=context.organization_id, **changed)
        return f"The schedule of {resource} is changed."

    return _done(context, "schedule", set_rhythm)


def remove(context: RequestContext) -> Response:
    """Remove the organization with all its data, if the user typed its id."""
    if (context.given("confirm") or "") != context.organization_id.strip():
        return show(context, "Nothing was removed. Type the organization's id to confirm.", "remove", 422)
    rows = context.bm.remove_connection(context.organization_id)
    context.say(f"Removed {context.organization_id}, with {counted(rows, 'row')}.")
    return context.go("/")


def new(context: RequestContext, fault: str | None = None, status: int = HTTPStatus.OK) -> Response:
    """The form that connects an organization."""
    return context.render("connect.html", status=status, fault=fault, sent=context.form, **_choices(context))


def connect(context: RequestContext) -> Response:
    """Connect an organization; a connected one is left unchanged."""
    organization = context.given("organization") or ""
    try:
        if _exists(context, organization):
            raise InvalidArgument("This organization is connected already. Open it to change its key or its market.")
        context.bm.upsert_connection(
            organization,
            _key(context),
            environment=cast(Environment, context.given("environment") or ""),
            region=cast(Region, context.given("region") or ""),
            locale=context.given("locale"),
            base_url=context.given("base_url"),
            markets=context.given_all("markets"),
        )
    except BackMarketError as error:
        return new(context, error.message, status_of(error))
    context.say(f"Connected {organization}. Its first sync is due now.")
    return context.go(paths.organization(organization))


def _done(context: RequestContext, about: str, do: Callable[[], str]) -> Response:
    """Run a form's action, and show the result: on the reloaded page, or beside the form."""
    try:
        context.say(do())
    except ConnectionNotFound:
        raise
    except BackMarketError as error:
        return show(context, str(error), about, status_of(error))
    return context.go(paths.organization(context.organization_id))


def _syncs(context: RequestContext, resources: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    going = [each for each in resources.values() if each.state in GOING]
    return {
        "resources": {
            name: each for resource in RESOURCES for name, each in resources.items() if each.resource == resource
        },
        "several": any(each.market for each in resources.values()),
        "lags": context.bm.get_lag_history([context.organization_id], hours=HOURS),
        "under_way": any(
            each.state == "running" or each.rows_expected or (each.next_due_at and each.next_due_at <= now)
            for each in going
        ),
        "organization_id": context.organization_id,
    }


def _choices(context: RequestContext) -> dict[str, Any]:
    return {
        "environments": ENVIRONMENTS,
        "regions": tuple(LOCALES),
        "locales": LOCALES,
        "base_urls": context.request.app.state.base_urls,
    }


def _exists(context: RequestContext, organization: str) -> bool:
    try:
        context.bm.get_connection_status(organization)
    except ConnectionNotFound:
        return False
    return True


def _key(context: RequestContext) -> str:
    key = context.given("api_key")
    if key is None:
        raise InvalidArgument("Enter the API key, as Back Market shows it.")
    return key


def _seconds(context: RequestContext, name: str, unit: float) -> float | None:
    text = context.given(name)
    if text is None:
        return None
    try:
        return float(text.replace(",", ".")) * unit
    except ValueError:
        raise InvalidArgument(f"{text[:40]!r} is not a number of {name}. Enter a number such as 5.") from None
