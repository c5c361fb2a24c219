"""`backmarket events`: who is called at events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backmarket.cli.output import Word, as_document, note, print_facts, print_json, print_table, say
from backmarket.cli.parameters import AsJson, Cursor, Limit, examples
from backmarket.cli.session import opened
from backmarket.cli.times import ago

if TYPE_CHECKING:
    from backmarket.events import Endpoint
    from backmarket.facade.events import EndpointChanges

app = typer.Typer(no_args_is_help=True, help="Webhooks, and the host application's Celery task, called at events.")

EndpointId = Annotated[int, typer.Argument(metavar="ENDPOINT")]
OfOrganization = Annotated[str | None, typer.Option("--organization", metavar="ORG", help="Only of this organization.")]
Resources = Annotated[list[str] | None, typer.Option("--resource", metavar="NAME", help="Only of these resources.")]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="Only created, updated or removed; several are fine.")
]
Fields = Annotated[
    list[str] | None, typer.Option("--field", metavar="NAME", help="Only updates that changed one of these fields.")
]
Initial = Annotated[bool | None, typer.Option("--initial/--no-initial", help="Also events of first walks.")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="For people, up to 200 characters.")]


@app.command("list", epilog=examples("events list", "events list --organization shop-1 --json"))
def show_all(
    organization: OfOrganization = None,
    after: Annotated[int, typer.Option(metavar="ENDPOINT", help="Continue after this endpoint.")] = 0,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List endpoints."""
    with opened() as bm:
        found = bm.get_event_endpoints(organization, after=after, limit=limit)
    if as_json:
        print_json({"items": [as_document(each) for each in found]})
    elif found:
        columns = ("ENDPOINT", "KIND", "ORGANIZATION", "URL", "STATE", "FAILURES", "LAST SUCCESS", "WHY")
        print_table(columns, map(_row, found))
    else:
        note("No endpoint is called at events. Add one with `backmarket events add URL`.")
    if len(found) == limit and not as_json:
        note(f"There may be more: --after {found[-1].id}")


def _row(endpoint: Endpoint) -> tuple[object, ...]:
    state = endpoint.disabled_reason or ("failing" if endpoint.failures else "ok")
    shown = Word("disabled" if endpoint.state == "disabled" else state)
    why = endpoint.disabled_reason if endpoint.state == "disabled" and not endpoint.error else endpoint.error
    success = ago(endpoint.last_success_at) if endpoint.last_success_at else None
    return (
        *(endpoint.id, endpoint.kind, endpoint.organization_id or "all", endpoint.url, shown, endpoint.failures),
        *(success, why),
    )


@app.command(
    epilog=examples(
        "events add https://shop.example/hooks/backmarket",
        "events add https://shop.example/orders --organization shop-1 --resource orders --kind created",
    )
)
def add(
    url: Annotated[str, typer.Argument(metavar="URL")],
    organization: OfOrganization = None,
    resource: Resources = None,
    kind: Kinds = None,
    field: Fields = None,
    initial: Initial = False,
    after: Annotated[str, typer.Option(metavar="CURSOR", help="Begin after this event of the feed.")] = "now",
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Have a URL called at each event, and print the secret by which its receiver verifies the calls."""
    with opened() as bm:
        created = bm.create_webhook(
            url,
            organization_id=organization,
            resources=resource or None,
            kinds=kind or None,
            fields=field or None,
            initial=bool(initial),
            after=after,
            description=description or "",
        )
    if as_json:
        print_json(as_document(created.endpoint) | {"secret": created.secret})
        return
    note(f"Endpoint {created.endpoint.id} is called from now on. Its secret, which is not shown again:")
    say(created.secret)


@app.command(epilog=examples("events show 7", "events show 7 --json"))
def show(endpoint_id: EndpointId, as_json: AsJson = False) -> None:
    """Show one endpoint."""
    with opened() as bm:
        _print(bm.get_event_endpoint(endpoint_id), as_json=as_json)


@app.command(epilog=examples("events change 7 --url https://shop.example/new", "events change 7 --all-resources"))
def change(
    endpoint_id: EndpointId,
    url: Annotated[str | None, typer.Option(metavar="URL", help="The new URL.")] = None,
    resource: Resources = None,
    all_resources: Annotated[bool, typer.Option("--all-resources", help="Of all resources.")] = False,
    kind: Kinds = None,
    all_kinds: Annotated[bool, typer.Option("--all-kinds", help="Of all kinds.")] = False,
    field: Fields = None,
    all_fields: Annotated[bool, typer.Option("--all-fields", help="All updates.")] = False,
    initial: Initial = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Change an endpoint; what is not named stays."""
    changes: EndpointChanges = {}
    if url is not None:
        changes["url"] = url
    if resource or all_resources:
        changes["resources"] = resource or None
    if kind or all_kinds:
        changes["kinds"] = kind or None
    if field or all_fields:
        changes["fields"] = field or None
    if initial is not None:
        changes["initial"] = initial
    if description is not None:
        changes["description"] = description
    with opened() as bm:
        _print(bm.update_event_endpoint(endpoint_id, **changes), as_json=as_json)


@app.command("rotate-secret", epilog=examples("events rotate-secret 7 --keep-hours 48"))
def rotate_secret(
    endpoint_id: EndpointId,
    keep_hours: Annotated[
        float, typer.Option(metavar="N", help="Hours for which the old secret signs, too; 0 to 720.")
    ] = 24.0,
) -> None:
    """Give a webhook a new secret, and print it."""
    with opened() as bm:
        secret = bm.rotate_webhook_secret(endpoint_id, keep_hours=keep_hours)
    note(f"The new secret of endpoint {endpoint_id}, which is not shown again:")
    say(secret)


@app.command(epilog=examples("events disable 7"))
def disable(endpoint_id: EndpointId, as_json: AsJson = False) -> None:
    """Send an endpoint nothing any more; it keeps its position."""
    with opened() as bm:
        _print(bm.disable_event_endpoint(endpoint_id), as_json=as_json)


@app.command(epilog=examples("events enable 7", "events enable 7 --after now"))
def enable(
    endpoint_id: EndpointId,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on after this event, or `now`. Default: where it stopped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send an endpoint events again."""
    with opened() as bm:
        _print(bm.enable_event_endpoint(endpoint_id, after=after), as_json=as_json)


@app.command(epilog=examples("events remove 7 --yes"))
def remove(
    endpoint_id: EndpointId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove an endpoint with its log."""
    if not yes:
        typer.confirm(f"Remove endpoint {endpoint_id}, with its log?", abort=True, err=True)
    with opened() as bm:
        bm.delete_event_endpoint(endpoint_id)
    note(f"Endpoint {endpoint_id} is removed.")


@app.command(epilog=examples("events redeliver 7 90211:4711:7301-1", "events redeliver 7 --after CURSOR"))
def redeliver(
    endpoint_id: EndpointId,
    event: Annotated[
        str | None, typer.Argument(metavar="[CURSOR]", help="One event, as `events attempts` has it.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="The events after this one.")] = None,
    until: Annotated[str | None, typer.Option(metavar="CURSOR", help="Up to this one, with --after.")] = None,
) -> None:
    """Send events again: one, or a range."""
    with opened() as bm:
        count = bm.redeliver_events(endpoint_id, event, after=after, until=until)
    note(f"Events that are sent again: {count}.")


@app.command(epilog=examples("events attempts 7", "events attempts 7 --json"))
def attempts(endpoint_id: EndpointId, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """Show the log of a webhook, the newest attempt first."""
    with opened() as bm:
        page = bm.get_event_attempts(endpoint_id, limit=limit, cursor=cursor)
    if as_json:
        print_json({"items": [as_document(each) for each in page], "next_cursor": page.next_cursor})
        return
    if page.items:
        print_table(
            ("AT (UTC)", "EVENT", "ORGANIZATION", "WHAT", "ATTEMPT", "OUTCOME", "STATUS", "MS"),
            [
                (
                    *(each.attempted_at, each.cursor, each.organization_id),
                    f"{each.resource} {each.external_id} {each.kind}" if each.resource else None,
                    *(each.attempt, Word(each.outcome), each.status or each.error_code, each.milliseconds),
                )
                for each in page
            ],
        )
    if page.next_cursor:
        note(f"There are more: --cursor {page.next_cursor}")


def _print(endpoint: Endpoint, *, as_json: bool) -> None:
    (print_json if as_json else print_facts)(as_document(endpoint))
