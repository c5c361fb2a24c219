"""`backmarket status`: the state of the syncs, an operator's first question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backmarket.cli.output import Word, as_document, note, print_json, print_table
from backmarket.cli.parameters import AsJson, examples
from backmarket.cli.session import opened
from backmarket.cli.times import relative
from backmarket.errors import error_for
from backmarket.observability.durations import duration

if TYPE_CHECKING:
    from backmarket.facade import BackMarket
    from backmarket.status.sync_status import SyncStatus

_WHY: Final = {
    "unauthorized": "the API refuses the key; `connections add` takes a new one, `connections enable` tries it at once",
    "no_key": "the key was cleared; `connections add` takes a new one",
    "off": "the schedule has it off; `schedule set` turns it on",
}
"""Reasons of states that come from the connection or the schedule, without a failed run."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("status", "status shop-1", "status --failing --json"))(status)


def status(
    organization: Annotated[str | None, typer.Argument(metavar="ORG", help="Only of this organization.")] = None,
    failing: Annotated[bool, typer.Option("--failing", help="Only syncs that fail or are refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the status of the syncs, and why any of them fails."""
    with opened() as bm:
        found = list(_all(bm, failing=failing) if organization is None else _one(bm, organization, failing=failing))
    if as_json:
        print_json({"items": [as_document(each) for each in found], "next_cursor": None})
    elif found:
        print_status(found)
    else:
        note(
            "Nothing is failing."
            if failing
            else "There is no connection yet. Add one with `backmarket connections add`."
        )


def print_status(found: Iterable[SyncStatus]) -> None:
    """Print a row for each organization and resource, for people."""
    now = datetime.now(UTC)
    print_table(
        ("ORGANIZATION", "RESOURCE", "STATE", "SUCCEEDED", "DUE", "WHY"),
        [
            (
                each.organization_id,
                each.key,
                Word(state(each, now)),
                relative(each.last_success_at, now),
                _due(each, now),
                why(each),
            )
            for each in found
        ],
    )


def state(status: SyncStatus, now: datetime) -> str:
    """The state of a sync, and for how long it has been running, failing, or both."""
    since = {"running": status.running_since, "failing": status.failing_since}
    words = [f"{word} {duration((now - at).total_seconds())}" for word, at in since.items() if at is not None]
    return ", ".join([*([] if status.state in since else [status.state]), *words])


def why(status: SyncStatus) -> str | None:
    """The error, with the details that Back Market's support asks for; of a sync that runs, how far it is and where."""
    if status.error_code is None:
        return _progress(status) if status.state == "running" else _WHY.get(status.state)
    error = error_for(
        status.error_code, status.error or "", request_id=status.error_request_id, cf_ray=status.error_cf_ray
    )
    advice = f" ({_WHY[status.state]})" if status.state == "unauthorized" else ""
    return f"{status.error_code}: {error}{advice}"


def rows_so_far(status: SyncStatus) -> str | None:
    """Rows stored of the expected number; None: that is not known."""
    return f"{status.rows_done or 0} of {status.rows_expected} rows" if status.rows_expected else None


def _progress(status: SyncStatus) -> str:
    return ", ".join(filter(None, [rows_so_far(status), status.owner and f"by {status.owner}"]))


def _due(status: SyncStatus, now: datetime) -> str | None:
    if status.state in {"disabled", "no_key", "off"} or status.next_due_at is None:
        return None
    return "now" if status.next_due_at <= now else relative(status.next_due_at, now)


def _all(bm: BackMarket, *, failing: bool) -> Iterator[SyncStatus]:
    after = ""
    while found := bm.get_status(after=after, failing=failing):
        yield from found
        after = found[-1].organization_id


def _one(bm: BackMarket, organization: str, *, failing: bool) -> Iterator[SyncStatus]:
    for each in bm.get_connection_status(organization).resources.values():
        fails = each.state != "disabled" and (each.failing_since is not None or each.state == "unauthorized")
        if fails or not failing:
            yield each
