"""Decides whether a write whose answer was lost arrived: compares what the API shows now with the request.

Three results: `applied`, `not_applied`, and `undecidable` if another change could explain what the API shows. The
worker asks only after the sender's deadline, when the request can no longer arrive.

`seen` reduces an order or a listing to what the comparison needs. What it returned before the write was sent is the
`prior` argument of `compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from backmarket.client.skus import sku_key
from backmarket.queries.listings import PublicationState
from backmarket.queries.orders import NEXT_STATES, OrderLineState
from backmarket.writes.request.models import UpdateListing, UpdateOrder, UpdateOrderline, WriteRequest
from backmarket.writes.request.validation import may_move

Shown = Mapping[str, Any]
"""An object of the API, or what `seen` extracted from it."""

REACHED = {new: {new, *NEXT_STATES.get(new, ()), *({6} if new == 2 else ())} for new in (2, 3, 4, 5, 6)}
"""For each target state: the states in which a line may be once it was moved there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of comparing a write with what the API shows.

    Attributes:
        state: `applied`, `not_applied` or `undecidable`.
        reason: why the comparison cannot decide, for a person; None if it can.
    """

    state: Literal["applied", "not_applied", "undecidable"]
    reason: str | None = None


APPLIED, NOT_APPLIED = Verdict("applied"), Verdict("not_applied")


def undecidable(reason: str) -> Verdict:
    """The `undecidable` verdict. The reason is for a person, and quotes no value."""
    return Verdict("undecidable", reason)


def seen(request: WriteRequest, shown: Shown) -> dict[str, Any]:
    """The fields of an object that the comparison needs, as JSON.

    Args:
        shown: as the API shows it: the order (also for its lines), or the listing in the write's locale.
    """
    if isinstance(request, UpdateOrder):
        return {
            "tracking_number": shown.get("tracking_number"),
            "lines": {str(line.get("id")): _line_seen(line) for line in _lines(shown) if _is_meant(request, line)},
        }
    if isinstance(request, UpdateOrderline):
        found = [line for line in _lines(shown) if line.get("id") == request.orderline_id]
        return {name: found[0].get(name) for name in ("imei", "serial_number")} if found else {}
    if isinstance(request, UpdateListing):
        return {name: _listing_value(name, shown, request.locale) for name in request.changes}
    return {}


def compare(request: WriteRequest, prior: Shown | None, shown: Shown) -> Verdict:
    """Decide whether a write was applied.

    Args:
        prior: what `seen` returned before the write was sent; None: unknown.
        shown: the order or the listing as the API shows it now.
    """
    now = seen(request, shown)
    if isinstance(request, UpdateOrder):
        return _compare_order(request, prior, now)
    if isinstance(request, UpdateOrderline):
        return _compare_line(request, now)
    if isinstance(request, UpdateListing):
        return _compare_listing(request, prior, now)
    return undecidable("The API shows no invoices, so whether it arrived cannot be read back.")


# --- orders ------------------------------------------------------------------------------------------------


def _compare_order(request: UpdateOrder, prior: Shown | None, now: Shown) -> Verdict:
    lines, reached = now["lines"], REACHED[request.new_state]
    if not lines:
        return undecidable("The order shows no line that could have changed.")
    if prior is None:
        moved = [key for key, line in lines.items() if line["state"] in reached or _may_move(line, request)]
    else:
        moved = [key for key, line in prior["lines"].items() if _may_move(line, request)]
    if any(key not in lines for key in moved):
        return undecidable("The order no longer shows a line that was to change.")
    if any(lines[key]["state"] not in _STATES for key in moved):
        return undecidable("A line of the order has an unknown state.")
    arrived = [lines[key] for key in moved if lines[key]["state"] in reached]
    if not arrived:
        return NOT_APPLIED if moved or prior is None else undecidable("When the write was sent, no line could change.")
    if len(arrived) < len(moved):
        return undecidable("Some of the lines are in the requested state, and some are not.")
    return _compare_details(request, now, arrived)


_STATES = tuple(OrderLineState)


def _may_move(line: Shown, request: UpdateOrder) -> bool:
    return may_move(line["state"], request.new_state)


def _compare_details(request: UpdateOrder, now: Shown, lines: Sequence[Shown]) -> Verdict:
    """All lines are in the right state; check whether this write or another change put them there."""
    if request.new_state == 3 and now["tracking_number"] != request.tracking_number:
        return undecidable("The lines are shipped, but with another tracking number.")
    for name in ("imei", "serial_number"):
        wanted = getattr(request, name)
        if wanted is not None and any(line[name] != wanted for line in lines):
            return undecidable(f"The line is shipped, but its {name} is not the one that was sent.")
    shown = [line["return_reason"] for line in lines if line["return_reason"] is not None]
    if request.return_reason is not None and any(reason != request.return_reason for reason in shown):
        return undecidable("The lines are in the requested state, but for another return_reason.")
    return APPLIED


def _lines(order: Shown) -> Iterator[Shown]:
    lines = order.get("orderlines")
    return (line for line in (lines if isinstance(lines, list) else []) if isinstance(line, Mapping))


def _is_meant(request: UpdateOrder, line: Shown) -> bool:
    if request.sku is None or request.new_state == 3:
        return True
    return sku_key(str(line.get("listing") or "")) == sku_key(request.sku)


def _line_seen(line: Shown) -> dict[str, Any]:
    state = line.get("state")
    details = {name: line.get(name) for name in ("return_reason", "imei", "serial_number")}
    return {"state": state if isinstance(state, int) else None, **details}


# --- order lines -------------------------------------------------------------------------------------------


def _compare_line(request: UpdateOrderline, now: Shown) -> Verdict:
    """Ignores what was registered before: a registered identifier can never be replaced."""
    if not now:
        return undecidable("The order no longer shows this line.")
    given = {"imei": request.imei, "serial_number": request.serial_number}
    sent = {name: value for name, value in given.items() if value is not None}
    if all(now[name] == value for name, value in sent.items()):
        return APPLIED
    if not any(now[name] for name in sent):
        return NOT_APPLIED
    others = [name for name, value in sent.items() if now[name] and now[name] != value]
    if others:
        return undecidable(f"Another {' and '.join(others)} is registered, and cannot be corrected.")
    return undecidable("Of imei and serial_number, only one is registered as it was sent.")


# --- listings ----------------------------------------------------------------------------------------------


def _compare_listing(request: UpdateListing, prior: Shown | None, now: Shown) -> Verdict:
    wanted = {name: _plain(name, value) for name, value in request.changes.items()}
    if all(_plain(name, now[name]) == value for name, value in wanted.items()):
        return APPLIED
    if prior is None:
        return undecidable("The listing shows other values, and its previous ones are unknown.")
    before = {name: _plain(name, prior.get(name)) for name in wanted}
    changed = [name for name, value in wanted.items() if before[name] != value]
    if not changed:
        return undecidable("The listing showed the requested values before, and shows others now.")
    arrived = [name for name in changed if _plain(name, now[name]) == wanted[name]]
    kept = [name for name in changed if _plain(name, now[name]) == before[name]]
    # orders reduce the quantity at any moment: let the other fields decide, if there are any
    lasting = [name for name in changed if name != "quantity"]
    if lasting and all(name in arrived for name in lasting):
        return APPLIED
    if not arrived and (all(name in kept for name in changed) or (lasting and all(name in kept for name in lasting))):
        return NOT_APPLIED
    return undecidable("The listing shows neither the requested nor its previous values.")


_PARTS = ("shipper", "shipper_display", "shipping_delay", "shipping_price")
_TEXTS = {"currency", "comment", *(f"{part}_{place}" for part in _PARTS[:2] for place in (1, 2, 3))}


PUBLISH = 2
"""The value of `pub_state` that publishes a listing."""
_PUBLISHED = {PublicationState.ONLINE, PublicationState.WAITING_FOR_VALIDATION, PublicationState.PENDING}


def _listing_value(name: str, listing: Shown, locale: str) -> Any:
    if name == "pub_state":
        return PUBLISH if listing.get("publication_state") in _PUBLISHED else None
    part, _, place = name.rpartition("_")
    if part not in _PARTS or not place.isdigit():
        return listing.get(name)
    shippings = listing.get("shippings")
    own = [
        one
        for one in (shippings if isinstance(shippings, list) else [])
        if isinstance(one, Mapping) and str(one.get("country_code") or locale).lower() == locale
    ]
    return own[int(place) - 1].get(part) if len(own) >= int(place) else None


def _plain(name: str, value: Any) -> Any:
    """Normalize a value, so that equivalent values compare equal."""
    if value is None or value == "":
        return None
    if name in _TEXTS:
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value
