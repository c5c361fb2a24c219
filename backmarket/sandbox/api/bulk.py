"""Bulk files: `POST /ws/listings` takes a CSV, checks its form, and queues a task, shown by `GET /ws/tasks`."""

from __future__ import annotations

import codecs
import csv
import io
from typing import Any, Final

import msgspec

from backmarket.sandbox.api import listing_fields
from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.listings import market_of, take_sku_lines
from backmarket.sandbox.api.responses import Answer, Refused, in_json, refusal
from backmarket.sandbox.world.bulk_tasks import DONE, FAILED, WORKING, Report
from backmarket.sandbox.world.sellers import Seller

_LENGTHS: Final = {"catalog": (1, None), "quotechar": (1, 1), "delimiter": (1, 1), "encoding": (2, 64)}
"""The four parameters, all required, and their maximum lengths in characters."""

_OUTCOMES: Final = {"task_fails": FAILED, "task_hangs": WORKING, "task_odd": 7}
"""Status that a task keeps if its file met one of these faults."""

Row = tuple[int, dict[str, str] | None]
"""The line's number in the file, and its cells; None where they do not fit the header."""


async def submit_listings(call: Call) -> Answer:
    """`POST /ws/listings`: refuse a malformed request with a bare string, else answer a task's id."""
    parameters = _parameters(await call.json_object(shape="string"))
    rows = _rows(parameters)
    settings = call.world.settings
    lines = len(rows) + (settings.assumptions.file_lines == "with_header")
    if lines > settings.file_lines_limit:
        raise _bad(f"the file has more than {settings.file_lines_limit} lines")
    take_sku_lines(call, len(rows))
    seller, market = call.seller, market_of(call)
    for number, row in rows:
        seller.applied("listings.bulk", row["sku"] if row else f"line {number}", row or {})
    outcome = _OUTCOMES.get(call.fault.kind, DONE) if call.fault else DONE
    now = call.world.now()
    task = seller.tasks.submit(now, settings.task_delay, lambda: _apply(seller, market, rows), outcome)
    return in_json({"bodymessage": task.id, "statuscode": 200})


def _bad(message: str) -> Refused:
    return Refused(refusal(400, message, shape="string"))


def _parameters(given: dict[str, Any]) -> dict[str, str]:
    for name, (least, most) in _LENGTHS.items():
        if name not in given:
            raise _bad(f"parameter {name} not found")
        value = given[name]
        if not isinstance(value, str) or len(value) < least or (most is not None and len(value) > most):
            raise _bad(f"parameter {name} is not valid")
    try:
        codecs.lookup(given["encoding"])
    except LookupError:
        raise _bad("parameter encoding is not valid") from None
    return given


def _rows(parameters: dict[str, str]) -> list[Row]:
    """The file's rows by header; empty lines are skipped."""
    source = io.StringIO(parameters["catalog"], newline="")
    try:
        reader = csv.reader(source, delimiter=parameters["delimiter"], quotechar=parameters["quotechar"], strict=True)
        header = [name.strip() for name in next(reader, [])]
        if "sku" not in header:
            raise _bad("column sku not found")
        return [
            (reader.line_num, dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None)
            for cells in reader
            if cells
        ]
    except (csv.Error, ValueError, TypeError):
        raise _bad("parameter catalog is not a CSV file in this dialect") from None


def _apply(seller: Seller, market: str, rows: list[Row]) -> Report:
    """Create or update the listings; a row with an error changes nothing and does not affect other rows."""
    report: Report = {}
    for number, row in rows:
        sku = row["sku"].strip() if row else f"line {number}"
        try:
            _apply_row(seller, market, sku, row)
        except ValueError as error:
            report[sku] = {"status": "error", "errors": [str(error)]}
        else:
            report[sku] = {"status": "ok", "errors": []}
    return report


def _apply_row(seller: Seller, market: str, sku: str, row: dict[str, str] | None) -> None:
    if row is None:
        raise ValueError("the line has another number of columns than the header")
    if not sku:
        raise ValueError("sku is required")
    listing = seller.listings.by_sku(sku)
    fields = listing_fields.fields_of_row(row, market, seller.spec.market, new=listing is None)
    listing_fields.split_shippers(fields, market, listing.shared["shippings"] if listing else [])
    if listing is None:
        seller.listings.create(sku, market, fields)
    else:
        seller.listings.put(listing.changed(market, fields))


async def get_task(call: Call) -> Answer:
    """`GET /ws/tasks/{taskId}`: the status and, once done, the report in the assumed shape."""
    task = call.seller.tasks.get(call.path_number("task_id"))
    if task is None:
        raise Refused(refusal(404, "Task not found.", code="task-not-found"))
    return in_json(
        {
            "task_id": task.id,
            "action_status": task.status,
            "last_action_error": "Task has been interrupted." if task.status == FAILED else None,
            "result": _shaped(task.report, call.world.settings.assumptions.task_result),
            "statuscode": 200,
        }
    )


def _shaped(report: Report | None, shape: str) -> Any:
    if shape == "nothing":
        return None
    if shape == "errors":
        return {sku: entry["errors"] for sku, entry in (report or {}).items() if entry["errors"]}
    if shape == "recorded":
        entries = (report or {}).items()
        return {
            "product_success": {
                sku: {"listing_id": entry.get("listing_id"), "backmarket_id": None, "publication_state": 2}
                for sku, entry in entries
                if not entry["errors"]
            },
            "product_errors": {sku: " ".join(entry["errors"]) for sku, entry in entries if entry["errors"]},
        }
    if report is None:
        return None if shape == "text" else [] if shape == "list" else {}
    if shape == "dict":
        return report
    rows = [{"sku": sku, **entry} for sku, entry in report.items()]
    return rows if shape == "list" else "\n".join(msgspec.json.encode(row).decode() for row in rows)
